"""Tables of probes that never were, as large or as small as a test wants them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eval.probes.attention import Head
from eval.probes.results import LayerValue, probe_run, table
from surgery.arch.regions import regions
from surgery.runs import RunKind, RunTables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TASKS = ("read", "count")
SPANS = ("response", "reasoning", "answer")
SHARES = ("sink share", "image share", "text share", "response share")


def _summary(probe: str, layers: int) -> dict[str, Any]:
    spans = {str(name): [span.start, span.stop] for name, span in regions(layers).items()}
    return {"probe": probe, "layers": layers, "regions": spans}


def _with_all(tasks: Sequence[str]) -> list[str]:
    return [*tasks, "all"] if len(tasks) > 1 else list(tasks)


def _number(rng: np.random.Generator, centre: float = 0.4, scale: float = 0.3) -> tuple[Any, ...]:
    value, (below, above) = centre + scale * rng.uniform(-1, 1), scale * rng.uniform(0.1, 0.5, 2)
    return value, value - below, value + above


def ablated(
    tasks: Sequence[str] = TASKS,
    layers: int = 9,
    *,
    whats: Sequence[str] = ("layer",),
    likely: bool = False,
    only: Sequence[int] | None = None,
) -> RunTables:
    """As of `probe ablation`; `only` some layers, `likely` for log-probabilities."""
    rng, rows = np.random.default_rng(1), []
    metric, scale = ("logprob", 40.0) if likely else ("accuracy", 0.3)
    for task in _with_all(tasks):
        centre = -20.0 if likely else 0.6
        level = _number(rng, centre, scale)  # of one intact model, whichever layer is ablated
        for kind in whats:
            rows.append(LayerValue("in", None, kind, task, metric, *level, 5))
            for layer in range(layers) if only is None else only:
                place = ("in", layer, kind, task)
                rows.append(LayerValue(*place, metric, *_number(rng, centre, scale), 5))
                rows.append(LayerValue(*place, f"{metric} drop", *_number(rng, 0.1, scale), 5))
    return probe_run(table(rows), _summary("ablation", layers))


def swapped(tasks: Sequence[str] = TASKS, layers: int = 9, *, mode: str = "from") -> RunTables:
    """As of `probe vision-swap`."""
    rng, rows = np.random.default_rng(2), []
    for task in _with_all(tasks):
        n = 6 * (len(tasks) if task == "all" else 1)
        for layer in (None, *range(layers)):
            for metric in ("change", "source", "target"):
                for known_names in ("", ", known"):
                    if layer is not None or metric != "change":
                        place = ("rl", layer, mode, task, f"{metric}{known_names}")
                        rows.append(LayerValue(*place, *_number(rng), n - 2 * bool(known_names)))
    return probe_run(table(rows), _summary("vision-swap", layers))


def attended(
    models: Sequence[str] = ("in", "rl"),
    layers: int = 9,
    *,
    tasks: Sequence[str] = TASKS,
    spans: Sequence[str] = SPANS,
    metrics: Sequence[str] = (*SHARES, "entropy"),
) -> RunTables:
    """As of `probe attention`; all models are compared with the first."""
    rng, rows = np.random.default_rng(3), []
    for model in compared(models):
        for task in _with_all(tasks):
            for metric in metrics:
                for layer in range(layers):
                    for span in spans:
                        number = _number(rng, 0.0 if " - " in model else 0.4, 0.2)
                        rows.append(LayerValue(model, layer, span, task, metric, *number, 7))
    return probe_run(table(rows), _summary("attention", layers))


def headed(models: Sequence[str] = ("in", "rl"), layers: int = 9, heads: int = 4) -> pd.DataFrame:
    """As of `heads.csv`."""
    rng = np.random.default_rng(4)
    rows = [
        Head(model, layer, head, span, metric, *_number(rng, -0.1 * (" - " in model), 0.1), 7)
        for model in compared(models)
        for metric in SHARES
        for layer in range(layers)
        for head in range(heads)
        for span in SPANS
    ]
    return table(rows, Head)


def with_heads(run: RunTables, heads: pd.DataFrame | None = None) -> RunTables:
    """The run with a table of single heads, where there is one."""
    return run if heads is None else replace(run, tables={**run.tables, "heads": heads})


def compared(models: Sequence[str]) -> Iterator[str]:
    yield from models
    yield from (f"{other} - {models[0]}" for other in models[1:])


def lined(names: Sequence[str], layers: int = 9) -> RunTables:
    """Columns with these names, and a correlation of every two, some of which are certain."""
    rng = np.random.default_rng(5)
    columns = {name: rng.normal(size=layers) for name in names}
    rows = []
    for place, a in enumerate(names):
        for b in names[place + 1 :]:
            rho = rng.uniform(-1, 1)
            rows.append((a, b, rho, rho - 0.5, rho + 0.5, 0.1, 0.2, layers))
    correlations = pd.DataFrame(rows, columns=["a", "b", "rho", "low", "high", "p", "p_holm", "n"])
    table_ = pd.DataFrame({"layer": range(layers), **columns})
    tables = {"layers": table_, "correlations": correlations}
    return RunTables(RunKind.PROFILE, _summary("profile", layers), tables)
