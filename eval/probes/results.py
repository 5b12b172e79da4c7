"""Results of probes: tables of layers and heads, and the records they were made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from surgery.errors import ExecutionError
from surgery.runs import RunKind, RunTables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas import DataFrame

    from eval.statistics.intervals import Interval

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
        cls, place: tuple[str, int | None, str, str], metric: str, interval: Interval, n: int
    ) -> Self:
        """Return a row from model, layer, what and task, and an interval."""
        return cls(*place, metric, interval.value, interval.low, interval.high, n)


def table(rows: Sequence[Any], kind: type[Any] = LayerValue) -> DataFrame:
    """Rows as a table; a layer that is None is empty."""
    from pandas import DataFrame

    columns = [field.name for field in fields(kind)]
    frame = DataFrame([asdict(row) for row in rows], columns=columns)
    return frame.astype({"layer": "Int64"})


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
