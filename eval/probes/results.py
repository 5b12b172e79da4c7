"""Results of probes: tables of layers and heads, and the records they were made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError
from surgery.reading import read_json
from surgery.runs import RunKind, RunTables
from surgery.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pandas import DataFrame

    from eval.statistics.intervals import Interval

LAYERS: Final = "layers.csv"
HEADS: Final = "heads.csv"
RECORDS: Final = "records.jsonl"
SUMMARY: Final = "probe.json"
PROBES: Final = (RunKind.ABLATION, RunKind.SWAP, RunKind.ATTENTION)


@dataclass(frozen=True)
class LayerValue:
    """One number about one layer.

    Attributes:
        model: The model, or `A - B` for a paired difference between two.
        layer: Which decoder layer, from 0; None for the model as it is.
        what: What was done there, or looked at: `layer`, `attention`, `mlp`; `from`, `only`;
            `response`, `reasoning`, `answer`.
        task: The task, or `all`: all tasks together.
        metric: What the number is.
        value: The number; nan when there is no sample.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: Samples that it is worked out from.
    """

    model: str
    layer: int | None
    what: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(
        cls, place: tuple[str, int | None, str, str], metric: str, found: Interval, n: int
    ) -> Self:
        """A row from model, layer, what and task, and an interval."""
        return cls(*place, metric, found.value, found.low, found.high, n)


def table(rows: Sequence[Any], kind: type[Any] = LayerValue) -> DataFrame:
    """Rows as a table; a layer that is None is empty."""
    from pandas import DataFrame

    columns = [field.name for field in fields(kind)]
    made = DataFrame([asdict(row) for row in rows], columns=columns)
    return made.astype({"layer": "Int64"})


def probe_run(
    layers: DataFrame, summary: Mapping[str, Any], heads: DataFrame | None = None
) -> RunTables:
    """Return a probe's results.

    Args:
        layers: One row per model, layer, task and metric.
        summary: `probe` (which one), `models`, `layers` (how many), `regions`, settings, versions.
        heads: One row per model, layer, head, span and metric, where single heads were observed.
    """
    kind = next((kind for kind in PROBES if kind.label == summary.get("probe")), None)
    if kind is None:
        raise ExecutionError(
            f"there is no probe {summary.get('probe')!r}. "
            f"Expected one of {', '.join(kind.label for kind in PROBES)}."
        )
    tables = {"layers": layers} if heads is None else {"layers": layers, "heads": heads}
    return RunTables(kind, summary, tables)


def write_probe(run: RunTables, folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write tables, `records.jsonl` and `probe.json`; each appears whole or not at all.

    Args:
        run: The results.
        folder: The run's folder.
        records: What the tables were made from, one line each.

    Raises:
        ExecutionError: If a file cannot be written.
    """
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    text = json.dumps(run.summary, indent=2, ensure_ascii=False)
    lines, text = well_formed(lines), well_formed(f"{text}\n")
    with filesystem_errors(folder):
        put(folder / RECORDS, lambda path: path.write_text(lines, encoding="utf-8"))
        for name, each in run.tables.items():
            save = partial(each.to_csv, index=False, lineterminator="\n")
            put(folder / f"{name}.csv", save)
        put(folder / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))


def load_probe(folder: Path) -> RunTables:
    """Return a probe's results.

    Raises:
        ExecutionError: If there are none, or they cannot be read.
    """
    try:
        summary = read_json(folder / SUMMARY)
        layers = _read(folder / LAYERS)
        heads = _read(folder / HEADS) if (folder / HEADS).is_file() else None
        return probe_run(layers.astype({"layer": "Int64"}), summary, heads)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ExecutionError(
            f"{folder} holds no probe that can be read ({error}). Run 'surgery probe' again with "
            f"the same --out: responses are kept."
        ) from None


def _read(path: Path) -> DataFrame:
    """A table in which names are text, whatever they look like, `1` and `NA` too."""
    from pandas import read_csv

    text = dict.fromkeys(("model", "what", "task", "metric"), str)
    return read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
