"""A checkpoint's own Python files: listed so that merges copy them, and never imported.

A configuration with `auto_map` names classes in files next to it, or in another
repository. Loaders run those only with `trust_remote_code=True`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.folder import read_file
from surgery.reading import is_file, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CLASS: Final = re.compile(
    r"(?:(?P<repository>[\w.-]+/[\w.-]+)--)?(?P<module>[\w-]+(?:[./][\w-]+)*)\.\w+", re.ASCII
)
_LONGEST: Final = 1000
"""Letters of a class's name, more than any path may have in practice."""
_MODULE: Final = re.compile(r"[\w-]+\.py")
_IMPORT: Final = re.compile(
    rb"^[ \t]*from[ \t]+(\.+)((?:\w[\w.]*)?)[ \t]+import[ \t]*(\([^()]*\)|[^\n]*)"
    rb"|^[ \t]*import[ \t]+(\.)([\w.]+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class CustomCode:
    """The Python code that a checkpoint's files name.

    Attributes:
        files: Its files in the folder, with `/`.
        missing: Files that are named and not in the folder.
        repositories: `org/name` of code that is named in other repositories.
    """

    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.missing or self.repositories)


def find_code(folder: Path, names: Iterable[str], *, with_siblings: bool = True) -> CustomCode:
    """Find the code that a checkpoint's configurations name, and what it imports relatively.

    Args:
        folder: The checkpoint's folder.
        names: Files in it; the configurations among them are read.
        with_siblings: Whether other Python files in the folder of a named file belong to it.

    Raises:
        CheckpointError: If a Python file cannot be read, or points outside the folder.
    """
    configs = [_parse(folder, name) for name in names if name.endswith("config.json")]
    classes = [match for config in configs for match in _classes(config)]
    repositories = {match["repository"] for match in classes if match["repository"]}
    references = {match["module"] for match in classes if not match["repository"]}
    modules = {f"{module.replace('.', '/')}.py" for module in references}
    present = {module for module in modules if is_file(folder / module)}
    siblings = {path.name for path in folder.glob("*.py") if _MODULE.fullmatch(path.name)}
    siblings = (
        {name for name in siblings if is_file(folder / name)}
        if present and with_siblings
        else set()
    )
    return CustomCode(
        files=tuple(sorted(_with_imports(folder, present | siblings))),
        missing=tuple(sorted(modules - present)),
        repositories=tuple(sorted(repositories)),
    )


def _parse(folder: Path, name: str) -> object:
    """Return what a JSON file says; nothing where it cannot be read, which others report."""
    if not is_file(folder / name):
        return None
    try:
        return parse_json(read_file(folder, name))
    except ValueError:
        return None


def _classes(value: object, *, in_auto_map: bool = False) -> Iterator[re.Match[str]]:
    """Yield every class that a configuration, or a part of one, names in an `auto_map`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _classes(inner, in_auto_map=in_auto_map or key == "auto_map")
    elif isinstance(value, list):
        for inner in value:
            yield from _classes(inner, in_auto_map=in_auto_map)
    elif in_auto_map and isinstance(value, str) and (match := _CLASS.fullmatch(value[:_LONGEST])):
        yield match


def _with_imports(folder: Path, files: Iterable[str]) -> set[str]:
    """Return Python files with all that they import relatively, as far as it is in the folder."""
    result: set[str] = set()
    pending = list(files)
    while pending:
        name = pending.pop()
        if name in result:
            continue
        result.add(name)
        candidates = _import_candidates(name, read_file(folder, name))
        pending += [candidate for candidate in candidates if is_file(folder / candidate)]
    return result


def _import_candidates(name: str, source: bytes) -> Iterator[str]:
    """Yield the files that a module's relative imports may mean.

    A pattern searches the text: Python's parser can crash on untrusted input.
    """
    for match in _IMPORT.finditer(source):
        dots, module, names = match[1] or match[4], match[2] or match[5] or b"", match[3] or b""
        parents = PurePosixPath(name).parents
        if len(dots) > len(parents):
            continue  # it points outside the folder
        place = parents[len(dots) - 1]
        for part in filter(None, module.decode().split(".")):
            place /= part
            yield f"{place}.py"
            yield f"{place}/__init__.py"
        for part in re.findall(rb"\w+", names):
            yield f"{place / part.decode()}.py"
            yield f"{place / part.decode()}/__init__.py"
