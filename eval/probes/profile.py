"""What every kind of run says about each decoder layer, side by side, and how far they agree."""

from __future__ import annotations

import json
from functools import partial
from itertools import combinations
from math import nan
from typing import TYPE_CHECKING, Final

from eval.probes import results
from eval.statistics.correlation import rank_correlation
from eval.statistics.significance import holm
from eval.sweep import results as sweeps
from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError
from surgery.reading import is_file, read_json
from surgery.runs import RunKind, RunTables, claimed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pandas import DataFrame, Series

UPDATE: Final = "update"
_STATS: Final = "summary.json"
_RUNS: Final = (results.SUMMARY, sweeps.SUMMARY, _STATS)
_ALL: Final = "all"


def write_profile(run: RunTables, folder: Path) -> None:
    """Write `profile.csv`, `correlations.csv` and `profile.json`.

    Args:
        run: What `profile` returns.
        folder: The run's folder.

    Raises:
        ExecutionError: If a file cannot be written, or the folder holds anything else.
    """
    text = json.dumps(run.summary, indent=2) + "\n"
    with claimed(folder, RunKind.PROFILE), filesystem_errors(folder):
        for name, table in (("profile", run.layers), ("correlations", run.correlations)):
            put(folder / f"{name}.csv", partial(table.to_csv, index=False, lineterminator="\n"))
        put(folder / "profile.json", lambda path: path.write_text(text, encoding="utf-8"))


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
            raise ExecutionError(f"{run} holds nothing that is told layer by layer.")
        for name, column in found.items():
            longer = (name, f"{name} ({run.name})")
            columns[next((one for one in longer if one not in columns), f"{name} ({run})")] = column
    first = runs[0]
    for run, count in counts.items():
        if count != counts[first]:
            raise ExecutionError(
                f"{run} is about {count} decoder layers, {first} about {counts[first]}. Only runs "
                f"of one architecture can be lined up."
            )
    count = counts[first]
    layers = DataFrame(columns).reindex(range(count))
    correlations = _correlations(layers)
    summary = {
        "layers": count,
        "regions": {name: [span.start, span.stop] for name, span in regions(count).items()},
        "runs": [str(run) for run in runs],
    }
    tables = {"layers": layers.rename_axis("layer").reset_index(), "correlations": correlations}
    return RunTables(RunKind.PROFILE, summary, tables)


def _correlations(layers: DataFrame) -> DataFrame:
    """Of every two columns; those with an update are corrected for being many."""
    from pandas import DataFrame

    pairs = [(a, b, rank_correlation(layers[a], layers[b])) for a, b in combinations(layers, 2)]
    asked = [its.p if a.startswith(UPDATE) != b.startswith(UPDATE) else nan for a, b, its in pairs]
    return DataFrame(
        [
            (a, b, its.value, its.low, its.high, its.p, corrected, its.n)
            for (a, b, its), corrected in zip(pairs, holm(asked), strict=True)
        ],
        columns=["a", "b", "rho", "low", "high", "p", "p_holm", "n"],
    )


def _columns(run: Path) -> tuple[dict[str, Series[float]], int]:
    """What a run says layer by layer, maybe of some alone, and how many its model has."""
    try:
        if is_file(run / results.SUMMARY):
            found = results.load_probe(run)
            return dict(_of_probe(found)), int(found.summary["layers"])
        if is_file(run / sweeps.SUMMARY):
            columns = dict(_of_sweep(sweeps.load_results(run)))
            last = max((int(column.index.max()) for column in columns.values()), default=-1)
            return columns, last + 1
        if is_file(run / _STATS):
            regions = read_json(run / _STATS)["regions"]
            return dict(_of_stats(run)), max(stop for _, stop in regions["language"].values())
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ExecutionError(
            f"{run} holds a run that is not whole ({type(error).__name__}: {error}). Run its "
            f"command again with the same --out."
        ) from None
    raise ExecutionError(
        f"{run} is no run: it holds none of {', '.join(_RUNS[:-1])} and {_RUNS[-1]}. Give "
        f"folders of 'surgery stats', 'surgery probe' or 'surgery sweep'."
    )


def _of_stats(run: Path) -> Iterator[tuple[str, Series[float]]]:
    """Relative size of the update of every decoder layer."""
    from pandas import read_csv

    table = read_csv(run / "layers.csv")
    wanted = (table["component"] == "language") & (table["group"] == _ALL) & table["layer"].notna()
    for pair, rows in table[wanted].groupby("pair", sort=False):
        yield f"{UPDATE} {pair}", _by_layer(rows, "relative_delta")


def _of_probe(found: RunTables) -> Iterator[tuple[str, Series[float]]]:
    table, probe = found.layers, found.summary["probe"]
    if probe == "ablation":
        drops = table[table["metric"].str.endswith(" drop")]
        for (what, task, metric), rows in drops.groupby(["what", "task", "metric"], sort=False):
            kind = " logprob" if metric == "logprob drop" else ""
            yield f"ablation{kind} {what}: {task}", _by_layer(rows)
    elif probe == "vision-swap":
        for (mode, task), rows in table.groupby(["what", "task"], sort=False):
            metric = "source" if mode == "from" else "change"
            its = rows[rows["metric"] == metric]
            column = _by_layer(its[its["layer"].notna()])
            if mode == "from":
                whole = column.reindex(range(found.summary["layers"]))
                column = _lost(whole, its[its["layer"].isna()]["value"])
            yield f"swap {mode}: {task}", column
    else:
        shares = table[(table["metric"] == "image share") & (table["what"] == "response")]
        tasks = list(dict.fromkeys(shares["task"]))
        task = _ALL if _ALL in tasks or not tasks else tasks[0]
        for model, rows in shares[shares["task"] == task].groupby("model", sort=False):
            yield f"attention to image, {model}", _by_layer(rows)


def _of_sweep(found: RunTables) -> Iterator[tuple[str, Series[float]]]:
    """What one layer of the donor alone adds."""
    traits = {variant["name"]: variant["traits"] for variant in found.summary["variants"]}
    table = found.table("pairs")
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
    """What a layer itself hands on of the image: the rate from it on, less that from the next."""
    last = float(unswapped.iloc[0]) if len(unswapped) else 0.0
    return column - column.shift(-1, fill_value=last)
