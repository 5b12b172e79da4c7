"""Logs of other harnesses as records: lm-eval, lmms-eval, Inspect, VLMEvalKit.

| log | recognized by | question | outcome |
|---|---|---|---|
| lm-eval, lmms-eval | `samples_TASK_DATE.jsonl` | `doc_hash` or `doc_id` | a binary metric |
| Inspect | `.eval` | sample `id`, one record per epoch | a scorer's C or I, 0 or 1 |
| VLMEvalKit | `.csv` or `.tsv` with `index` and `hit` | `index` | `hit` |

Scores are taken from the logs; responses are not regraded.
"""

from __future__ import annotations

import csv
import os
import re
import struct
import zipfile
from itertools import takewhile
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from eval.graded import Graded
from eval.records import Condition, Metric
from surgery.errors import SurgeryError, did_you_mean, first_line
from surgery.reading import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_TABLES: Final = frozenset({".csv", ".tsv"})
_DATE: Final = re.compile(r"_\d{4}-\d\d-\d\dT[\d.:-]+$")
_LARGEST: Final = 1 << 26
"""Bytes of one sample in an Inspect log, unpacked: a small archive cannot fill the memory."""
_ZSTANDARD: Final = 93  # the compression method's number in a zip file
_NAME_LENGTH: Final = 26  # its offset in a member's header (APPNOTE.TXT 4.3.7)
_GRADES: Final = {"C": True, "I": False, "N": False}
_RESERVED: Final = frozenset({"doc_id"})


def read_logs(logs: Mapping[str, Sequence[Path]], measure: str | None = None) -> list[Graded]:
    """Return the records of several models' logs.

    Args:
        logs: Logs of each model, by name: files, or folders of lm-eval samples.
        measure: As for `read_log`.

    Raises:
        SurgeryError: If a log cannot be read or holds no score, or a model has two tables.
    """
    files = {
        name: [log for path in paths for log in _logs_in(path)] for name, paths in logs.items()
    }
    task = _common_ending([log.stem for group in files.values() for log in group])
    records = []
    for name, group in files.items():
        if sum(log.suffix in _TABLES for log in group) > 1:
            raise SurgeryError(
                f"{name!r} has several tables, which do not name their tasks. Compare one table of "
                f"each model at a time."
            )
        log_records = [record for log in group for record in read_log(log, name, measure, task)]
        if not log_records:
            raise SurgeryError(
                f"the logs of {name!r} hold no score: the evaluation failed, or was not scored."
            )
        records += log_records
    return records


def _common_ending(stems: Sequence[str]) -> str:
    """Return what all names end in: VLMEvalKit calls a table MODEL_BENCHMARK."""
    letters = takewhile(
        lambda column: len(set(column)) == 1, zip(*(stem[::-1] for stem in stems), strict=False)
    )
    return "".join(column[0] for column in letters)[::-1].strip("_-. ") or "table"


def read_log(
    path: Path, variant: str, measure: str | None = None, task: str = "table"
) -> list[Graded]:
    """Return the records of another harness's log.

    Args:
        path: The log.
        variant: Name of the model.
        measure: Metric or scorer, for lm-eval with its filter: `exact_match`,
            `exact_match,strict-match`; the first binary one by default.
        task: Task of a table, which does not name it.

    Raises:
        SurgeryError: If it is no such log, cannot be read, or has no such metric.
    """
    try:
        if path.suffix == ".eval":
            return list(_inspect(path, variant, measure))
        if path.suffix == ".jsonl":
            return list(_lm_eval(path, variant, measure))
        if path.suffix in _TABLES:
            return list(_hits(path, variant, task))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, csv.Error) as error:
        raise SurgeryError(f"{path} cannot be read: {first_line(error)[:200]}.") from None
    raise SurgeryError(
        f"{path} is no log that can be compared. Expected lm-eval's samples_*.jsonl, an Inspect "
        f".eval file, or a .csv or .tsv with the columns index and hit."
    )


def _logs_in(path: Path) -> list[Path]:
    """Return a log, or all lm-eval samples in a folder.

    Raises:
        SurgeryError: If a folder has none.
    """
    if not path.is_dir():
        return [path]
    logs = sorted(path.rglob("samples_*.jsonl"))
    if not logs:
        raise SurgeryError(f"{path} has no samples_*.jsonl. Run lm-eval with --log_samples.")
    return logs


def _plain(name: str) -> str:
    """Return a name from a log without characters that a terminal would act on."""
    return re.sub(r"[^\w .,:/@+-]+", "-", name)[:80]


def _record(variant: str, task: str, sample: str, right: bool, **more: Any) -> Graded:
    return Graded(
        variant=variant, suite=task, task=task, metric=Metric.ACCURACY, sample=sample,
        condition=Condition.TEXT, repeat=more.pop("repeat", 0), key=f"{variant}/{task}/{sample}",
        cluster=sample, categories={}, correct=right, **more,
    )  # fmt: skip


def _lm_eval(path: Path, variant: str, measure: str | None) -> Iterator[Graded]:
    task = _plain(_DATE.sub("", path.stem.removeprefix("samples_")))
    name, _, wanted_filter = (measure or "").partition(",")
    selected_filter: str | None = wanted_filter or None
    sample_ids: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        values = parse_json(line)
        if not isinstance(values, dict) or "doc_id" not in values:
            raise ValueError(f"line {number} has no doc_id")
        line_filter = str(values.get("filter", ""))
        selected_filter = line_filter if selected_filter is None else selected_filter
        if line_filter and line_filter != selected_filter:
            continue
        name = name or _first_measure(values, path)
        sample = str(values.get("doc_hash") or values["doc_id"])
        if sample in sample_ids:
            sample = f"{sample}/{values['doc_id']}"
        sample_ids.add(sample)
        yield _record(
            variant, task, sample, _is_right(values, name, f"{path}, line {number}"),
            gold=str(values.get("target", "")), text=_text(values.get("resps")),
            answer=_text(values.get("filtered_resps")),
        )  # fmt: skip
    if not sample_ids:
        raise ValueError(f"it has no sample of filter {selected_filter!r}")


def _measures(values: Mapping[str, Any]) -> list[str]:
    """Return the binary metrics of a line, those that it lists first."""
    listed = values.get("metrics")
    names = [*(listed if isinstance(listed, list) else []), *values]
    return [
        name
        for name in dict.fromkeys(map(str, names))
        if name not in _RESERVED and _is_binary(values.get(name))
    ]


def _first_measure(values: Mapping[str, Any], path: Path) -> str:
    names = _measures(values)
    if not names:
        raise SurgeryError(f"{path} has no binary metric (0 or 1), so it cannot be compared.")
    return names[0]


def _is_binary(value: object) -> bool:
    return isinstance(value, int | float) and value in (0, 1)


def _is_right(values: Mapping[str, Any], name: str, location: str) -> bool:
    if name not in values:
        near = did_you_mean(name, _measures(values))
        raise SurgeryError(f"{location} has no metric {name!r}.{near}")
    if not _is_binary(values[name]):
        alternatives = [other for other in _measures(values) if other != name]
        hint = f" Binary metrics here: {', '.join(alternatives)}." if alternatives else ""
        raise SurgeryError(
            f"{location}: {name} is {str(values[name])[:40]!r}; only binary metrics (0 or 1) can "
            f"be compared.{hint}"
        )
    return bool(values[name])


def _text(value: object) -> str:
    """Return the first text in nested lists."""
    while isinstance(value, list):
        value = value[0] if value else ""
    return "" if value is None else str(value)


def _inspect(path: Path, variant: str, scorer: str | None) -> Iterator[Graded]:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        header = _member(archive, file, "header.json")
        task = _plain(str(header.get("eval", {}).get("task", path.stem)))
        names = sorted(n for n in archive.namelist() if re.fullmatch(r"samples/[^/]+\.json", n))
        if not names:
            raise ValueError("it holds no samples; the evaluation did not finish")
        for name in names:
            sample = _member(archive, file, name)
            scores = sample.get("scores") or {}
            if not scores:
                continue  # a sample that failed has no score
            scorer_name = scorer or next(iter(scores))
            if scorer_name not in scores:
                raise SurgeryError(
                    f"{path}: no scorer {scorer_name!r}.{did_you_mean(scorer_name, scores)}"
                )
            score = scores[scorer_name]
            right = _GRADES.get(str(score.get("value")), score.get("value"))
            yield _record(
                variant, task, str(sample.get("id")),
                _is_right({scorer_name: right}, scorer_name, f"{path}, {name}"),
                repeat=int(sample.get("epoch", 1)) - 1, gold=_text(sample.get("target")),
                text=str((sample.get("output") or {}).get("completion", "")),
                answer=_text(score.get("answer")),
            )  # fmt: skip


def _member(archive: zipfile.ZipFile, file: BinaryIO, name: str) -> dict[str, Any]:
    if name not in archive.namelist():
        raise ValueError(f"it has no {name}")
    info = archive.getinfo(name)
    if info.file_size > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST >> 20} MiB")
    data = _unpacked(file, info) if info.compress_type == _ZSTANDARD else archive.read(info)
    values = parse_json(data.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{name} is no JSON object")
    return values


def _unpacked(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """Return a member compressed with Zstandard, which zipfile reads from Python 3.14 on."""
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError:
        raise SurgeryError(
            "Inspect compresses its logs with Zstandard, and zstandard is not installed: "
            "pip install 'vlm-surgery[inspect]'."
        ) from None
    file.seek(info.header_offset + _NAME_LENGTH)
    lengths = file.read(4)  # of the member's name and its extra field, which precede the data
    file.seek(sum(struct.unpack("<HH", lengths)), os.SEEK_CUR)
    try:
        with ZstdDecompressor().stream_reader(file.read(info.compress_size)) as reader:
            return bytes(reader.read(_LARGEST))
    except ZstdError as error:
        raise ValueError(f"{info.filename}: {error}") from None


def _hits(path: Path, variant: str, task: str) -> Iterator[Graded]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        missing = {"index", "hit"} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"it has no column {', '.join(sorted(missing))}")
        for number, row in enumerate(rows, start=2):
            hit = float(row["hit"] or "nan")
            yield _record(
                variant, _plain(task), str(row["index"]),
                _is_right({"hit": hit}, "hit", f"{path}, line {number}"),
                gold=row.get("answer") or "", text=row.get("prediction") or "",
            )  # fmt: skip
