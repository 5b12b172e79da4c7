"""Rows of a benchmark: from the Hub through the datasets library, or from a folder like it.

Images are decoded once, to find broken images before anything is asked; their files go into samples
as they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eval.images import check_image
from eval.records import Picture
from surgery.errors import ExecutionError
from surgery.reading import is_folder, parse_json, read_bytes, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_LARGEST: Final = 100_000_000  # bytes of one image's file
_LARGEST_ROWS: Final = 2**30  # bytes of a jsonl file


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        values: Its columns.
        where: What to call it in an error.
        folder: Where paths of images start; None where images are in the row itself.
    """

    values: Mapping[str, Any]
    where: str
    folder: Path | None = None

    def __getitem__(self, column: str) -> Any:
        """Return the value of a column.

        Raises:
            ExecutionError: If there is none.
        """
        if column not in self.values:
            raise ExecutionError(
                f"{self.where} has no column {column!r}; it has {', '.join(self.values)}."
            )
        return self.values[column]

    def text(self, column: str) -> str:
        """Return a column as text; "" if it is empty."""
        value = self[column]
        result = "" if value is None else str(value).strip()
        try:
            result.encode()
        except UnicodeEncodeError:
            raise ExecutionError(f"{self.where}: {column!r} holds half a character.") from None
        return result

    def optional(self, column: str) -> str:
        """Return a column as text; "" if it is empty or there is none."""
        return self.text(column) if column in self.values else ""

    def pictures(self, *columns: str) -> tuple[Picture, ...]:
        """Return the images of columns, without empty columns.

        Raises:
            ExecutionError: If one is not an image, or its path points outside the folder.
        """
        images: list[Picture] = []
        for column in columns:
            value = self.values.get(column)
            for image in value if isinstance(value, list) else [value]:
                if image is not None and image != "":
                    images.append(self._picture(column, image))
        return tuple(images)

    def _picture(self, column: str, value: Any) -> Picture:
        place = f"{self.where}: {column!r}"
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            return _readable(value["bytes"], place)
        if isinstance(value, bytes):
            return _readable(value, place)
        path = value.get("path") if isinstance(value, dict) else value
        if not isinstance(path, str) or self.folder is None:
            raise ExecutionError(f"{place} holds no image.")
        return _readable(_bytes(self.folder, path, place), f"{place}: {path!r}")


def _readable(data: bytes, location: str) -> Picture:
    """Return an image that every engine can decode."""
    try:
        check_image(data)
    except ExecutionError as error:
        raise ExecutionError(f"{location} {error}") from None
    return Picture(data)


def _bytes(folder: Path, name: str, location: str) -> bytes:
    """Return a file inside the folder."""
    root = folder.resolve()
    try:
        path = (root / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise ExecutionError(f"{location}: {name!r} is no path: {error}.") from None
    if not path.is_relative_to(root):
        raise ExecutionError(f"{location}: {name!r} points outside {folder}.")
    try:
        return read_bytes(path, _LARGEST)
    except OSError as error:
        raise ExecutionError(f"{location}: {name!r} cannot be read: {error.strerror}.") from None


@dataclass(frozen=True)
class Rows:
    """A benchmark's rows; images are only read of those that are asked for.

    Attributes:
        light: Every row without its images.
        whole: A row with them, by its index.
    """

    light: Sequence[Row]
    whole: Callable[[int], Row]


def hub_rows(hub: str, configs: Sequence[str], split: str, images: Sequence[str]) -> Rows:
    """Rows from the Hub, through the datasets library and its cache.

    Args:
        hub: The data set's id, `org/name`, with `@revision` if one is wanted.
        configs: Its configurations, one after another; empty for the only one.
        split: Which part.
        images: Columns that hold images.

    Raises:
        ExecutionError: If it cannot be loaded.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    name, _, revision = hub.partition("@")
    parts = []
    for config in configs or [None]:  # type: ignore[list-item]
        try:
            parts.append(
                load_dataset(
                    name,
                    config,
                    split=split,
                    revision=revision or None,
                    trust_remote_code=False,
                )
            )
        except (DatasetNotFoundError, OSError, ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())[:200]
            raise ExecutionError(
                f"the data set {hub} could not be loaded from the Hub: {text}. With a local copy, "
                f"name its folder with --data."
            ) from None
    return _of_datasets(parts, images, None, hub)


def local_rows(
    folder: Path, patterns: Sequence[str], configs: Sequence[str], images: Sequence[str]
) -> Rows:
    """Rows from a folder: a copy of the Hub's files, or parquet or jsonl files right in it.

    Args:
        folder: The folder.
        patterns: Where the Hub keeps the split's files, as globs; `{config}` stands for each
            configuration.
        configs: The configurations.
        images: Columns that hold images, or in a jsonl file paths of images inside the folder.

    Raises:
        ExecutionError: If there is no such file, or one cannot be read.
    """
    if not is_folder(folder):
        raise ExecutionError(f"there is no folder {folder}.")
    names = [pattern.format(config=config) for pattern in patterns for config in configs or [""]]
    files = [path for name in names for path in sorted(folder.glob(name))]
    for fallback in ("*.parquet", "*.jsonl"):
        files = files or sorted(folder.glob(fallback))
    if not files:
        raise ExecutionError(
            f"{folder} holds no {' or '.join(patterns)}, and no .parquet or .jsonl file."
        )
    if files[0].suffix == ".jsonl":
        return _of_lines(files, folder)
    from datasets import Dataset, disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        parts = [Dataset.from_parquet(str(file)) for file in files]
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error.__cause__ or error).split())[:200]
        raise ExecutionError(f"{folder} cannot be read as parquet: {text}.") from None
    finally:
        enable_progress_bars()
    return _of_datasets(parts, images, folder, str(folder))


def _of_datasets(
    parts: Sequence[Any], images: Sequence[str], folder: Path | None, location: str
) -> Rows:
    from datasets import Image

    light: list[Row] = []
    places: list[tuple[int, int]] = []
    stored: list[Any] = []
    for part in parts:
        for column in images:
            if isinstance(part.features.get(column), Image):
                part = part.cast_column(column, Image(decode=False))  # noqa: PLW2901
        stored.append(part)
        bare = part.remove_columns([name for name in images if name in part.column_names])
        for index, values in enumerate(bare):
            light.append(Row(values, f"{location}, row {len(light)}", folder))
            places.append((len(stored) - 1, index))

    def whole(index: int) -> Row:
        number, row = places[index]
        return Row(stored[number][row], light[index].where, folder)

    return Rows(light, whole)


def _of_lines(files: Sequence[Path], folder: Path) -> Rows:
    rows = [row for file in files for row in json_rows(file, folder)]
    return Rows(rows, rows.__getitem__)


def json_rows(file: Path, folder: Path) -> Iterator[Row]:
    """Rows of a jsonl file.

    Args:
        file: The file.
        folder: Where paths of images start.

    Raises:
        ExecutionError: If it cannot be read, or a line is not a JSON object.
    """
    try:
        text = read_text(file, _LARGEST_ROWS)
    except (OSError, ValueError) as error:
        raise ExecutionError(f"{file} cannot be read: {error}.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
        except ValueError as error:
            raise ExecutionError(f"{file}:{number} is not JSON: {error}.") from None
        if not isinstance(values, dict):
            raise ExecutionError(f"{file}:{number} is not a JSON object, one sample per line.")
        yield Row(values, f"{file}:{number}", folder)
