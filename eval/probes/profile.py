"""The findings of several runs about each decoder layer side by side, and their correlations."""

from __future__ import annotations

from itertools import combinations
from math import nan
from typing import TYPE_CHECKING, Final

from eval.statistics.correlation import rank_correlation
from eval.statistics.significance import holm
from eval.sweep.results import load_results
from surgery.errors import ExecutionError
from surgery.runs import RunKind, RunTables, kinds_of, read_run, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pandas import DataFrame, Series

UPDATE: Final = "update"
_ALL: Final = "all"


def profile(runs: Sequence[Path]) -> RunTables:
    """Line up what runs found, layer by layer.

    Args:
        runs: Folders of `surgery stats`, `surgery probe` and `surgery sweep` (of single layers).

    Returns:
        Tables `layers`, one row per layer and a column for each thing that was found, and
        `correlations`, one row per two columns: `a`, `b`, `rho` with its 95% interval, `p`,
        `p_holm` (over all pairs of an update and something else), `n`.

    Raises:
        ExecutionError: If a folder is none of these, has nothing by layer, or is of a model with
            another number of layers.
    """
    from pandas import DataFrame

    from surgery.arch.regions import regions

    columns: dict[str, Series[float]] = {}
    counts: dict[Path, int] = {}
    for run in runs:
        found, counts[run] = _columns(run)
        if not found:
            raise ExecutionError(f"{run} has no per-layer results.")
        for name, column in found.items():
            longer = (name, f"{name} ({run.name})")
            columns[next((item for item in longer if item not in columns), f"{name} ({run})")] = (
                column
            )
    first = runs[0]
    for run, count in counts.items():
        if count != counts[first]:
            raise ExecutionError(
                f"{run} is about {count} decoder layers, {first} about {counts[first]}. Only runs "
                f"of one architecture can be aligned."
            )
    count = counts[first]
    layers = DataFrame(columns).reindex(range(count))
    correlations = _correlations(layers)
    summary = {
        "layers": count,
        "regions": {name: [span.start, span.stop] for name, span in regions(count).items()},
        "runs": [str(run) for run in runs],
        "versions": versions("numpy", "scipy"),
    }
    tables = {"layers": layers.rename_axis("layer").reset_index(), "correlations": correlations}
    return RunTables(RunKind.PROFILE, summary, tables)


def _correlations(layers: DataFrame) -> DataFrame:
    """Of every two columns; those with an update are corrected for being many."""
    from pandas import DataFrame

    pairs = [(a, b, rank_correlation(layers[a], layers[b])) for a, b in combinations(layers, 2)]
    p_values = [
        correlation.p if a.startswith(UPDATE) != b.startswith(UPDATE) else nan
        for a, b, correlation in pairs
    ]
    return DataFrame(
        [
            (
                a,
                b,
                correlation.value,
                correlation.low,
                correlation.high,
                correlation.p,
                corrected,
                correlation.n,
            )
            for (a, b, correlation), corrected in zip(pairs, holm(p_values), strict=True)
        ],
        columns=["a", "b", "rho", "low", "high", "p", "p_holm", "n"],
    )


def _columns(folder: Path) -> tuple[dict[str, Series[float]], int]:
    """Return what a run measured layer by layer, and the number of its model's layers."""
    try:
        if RunKind.EVALUATION in kinds_of(folder):
            columns = dict(_of_sweep(load_results(folder)))
            last = max((int(column.index.max()) for column in columns.values()), default=-1)
            return columns, last + 1
        run = read_run(folder)
        if run.kind not in _KINDS:
            raise ExecutionError(
                f"{folder} holds the results of '{run.kind.command}', which has no per-layer "
                f"results. Give folders of 'surgery stats', 'surgery probe' or 'surgery sweep'."
            )
        if run.kind is RunKind.STATISTICS:
            bounds = run.summary["regions"]["language"]
            return dict(_of_stats(run)), max(stop for _, stop in bounds.values())
        return dict(_KINDS[run.kind](run)), int(run.summary["layers"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExecutionError(
            f"{folder} holds an incomplete run ({type(error).__name__}: {error}). Run its "
            f"command again with the same --out."
        ) from None


def _of_stats(run: RunTables) -> Iterator[tuple[str, Series[float]]]:
    """Yield the relative size of every update, decoder layer by decoder layer."""
    table = run.layers
    selected = (
        (table["component"] == "language") & (table["group"] == _ALL) & table["layer"].notna()
    )
    for pair, rows in table[selected].groupby("pair", sort=False):
        yield f"{UPDATE} {pair}", _by_layer(rows, "relative_delta")


def _of_ablation(run: RunTables) -> Iterator[tuple[str, Series[float]]]:
    drops = run.layers[run.layers["metric"].str.endswith(" drop")]
    for (branch, task, metric), rows in drops.groupby(["what", "task", "metric"], sort=False):
        score = " logprob" if metric == "logprob drop" else ""
        yield f"ablation{score} {branch}: {task}", _by_layer(rows)


def _of_swap(run: RunTables) -> Iterator[tuple[str, Series[float]]]:
    for (mode, task), rows in run.layers.groupby(["what", "task"], sort=False):
        metric = "source" if mode == "from" else "change"
        rates = rows[rows["metric"] == metric]
        column = _by_layer(rates[rates["layer"].notna()])
        if mode == "from":
            whole = column.reindex(range(run.summary["layers"]))
            column = _lost(whole, rates[rates["layer"].isna()]["value"])
        yield f"swap {mode}: {task}", column


def _of_attention(run: RunTables) -> Iterator[tuple[str, Series[float]]]:
    table = run.layers
    shares = table[(table["metric"] == "image share") & (table["what"] == "response")]
    tasks = list(dict.fromkeys(shares["task"]))
    task = _ALL if _ALL in tasks or not tasks else tasks[0]
    for model, rows in shares[shares["task"] == task].groupby("model", sort=False):
        yield f"attention to image, {model}", _by_layer(rows)


_KINDS: Final[Mapping[RunKind, Callable[[RunTables], Iterator[tuple[str, Series[float]]]]]] = {
    RunKind.ABLATION: _of_ablation,
    RunKind.SWAP: _of_swap,
    RunKind.ATTENTION: _of_attention,
    RunKind.STATISTICS: _of_stats,
}


def _of_sweep(run: RunTables) -> Iterator[tuple[str, Series[float]]]:
    """Return the effect of each layer of the donor alone."""
    traits = {variant["name"]: variant["traits"] for variant in run.summary["variants"]}
    table = run.table("pairs")
    layers = [
        traits[name].get("layer") if traits[name].get("component") == "language" else None
        for name in table["variant"]
    ]
    table = table.assign(layer=layers).dropna(subset=["layer"])
    for (task, measure), rows in table.groupby(["task", "measure"], sort=False):
        name = f"transplant {measure}: {str(task).removesuffix(f' {measure}')}"
        yield name, _by_layer(rows, "difference")


def _by_layer(rows: DataFrame, column: str = "value") -> Series[float]:
    return rows.astype({"layer": int}).set_index("layer")[column]


def _lost(column: Series[float], unswapped: Series[float]) -> Series[float]:
    """Return a layer's effect on the image: the rate from it on minus that from the next on."""
    last = float(unswapped.iloc[0]) if len(unswapped) else 0.0
    return column - column.shift(-1, fill_value=last)
