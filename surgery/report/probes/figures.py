"""Figures of probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, PercentFormatter

from surgery.report.probes.depth import band, dress, folded, grid_of
from surgery.report.probes.tables import ALL, named, tasks_of, unchanged
from surgery.report.style import GREY, WIDTH, legend, new_figure, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from surgery.runs import RunTables

_SPANS = ("reasoning", "answer")
_SHARES = {
    "image share": "image",
    "text share": "prompt text",
    "response share": "response",
    "sink share": "first token",
}


def ablation(tables: RunTables) -> Figure | None:
    """What it costs to switch off each layer, task by task, with the intact score."""
    if tables.summary["probe"] != "ablation":
        return None
    table = tables.layers
    drops = table[table["metric"].str.endswith(" drop")]
    shown = styles(list(dict.fromkeys(drops["what"])))
    likely = bool((drops["metric"] == "logprob drop").any())
    tasks = tasks_of(drops)
    figure, axes = grid_of(len(tasks))
    for task, at in zip(tasks, axes, strict=False):
        its = named(drops, task=task)
        metric = str(its["metric"].iloc[0]).removesuffix(" drop")
        for one in shown:
            band(at, named(its, what=one.label), one)
        at.axhline(0, color=GREY, linewidth=0.8)
        intact = unchanged(table, task=task, metric=metric)
        n = int(its["n"].max())
        if likely:
            at.set_yscale("symlog", linthresh=1.0)
            at.set_title(f"{_title(task)}: intact {intact:.1f} nats, n = {n}")
        else:
            at.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
            at.set_title(f"{_title(task)}: intact {intact:.0%}, n = {n}")
    dress(axes[: len(tasks)], tables.summary)
    unit = "nats lost (log beyond 1)" if likely else "points lost"
    figure.supylabel(f"{unit}, 95% interval", fontsize=8)
    whats = [one.label for one in shown]
    branch = "" if len(whats) > 1 or whats == ["layer"] else f"'s {whats[0]}"
    figure.supxlabel(f"decoder layer{branch} that is switched off", fontsize=8)
    if len(shown) > 1:
        legend(figure, shown, title="switched off")
    return figure


def vision_swap(tables: RunTables) -> Figure | None:
    """How the answer follows the image that is swapped in, task by task."""
    if tables.summary["probe"] != "vision-swap":
        return None
    table = tables.layers
    names = {
        "change": "another answer", "source": "the source's answer", "target": "the target's answer"
    }  # fmt: skip
    shown = dict(zip(names, styles(list(names.values())), strict=True))
    tasks = tasks_of(table)
    figure, axes = grid_of(len(tasks))
    for task, at in zip(tasks, axes, strict=False):
        swapped = table[table["layer"].notna()]
        for metric, one in shown.items():
            band(at, named(swapped, task=task, metric=metric), one)
        for metric in ("target", "source"):
            level = unchanged(table, task=task, metric=metric)
            if level is not None:
                line = {"linewidth": 0.9, "linestyle": ":", "label": "_null"}
                at.axhline(level, color=shown[metric].colour, **line)  # type: ignore[arg-type]
        at.set_ylim(-0.04, 1.04)
        at.yaxis.set_major_formatter(PercentFormatter(1.0))
        n = int(named(table, task=task, metric="change")["n"].max())
        at.set_title(f"{_title(task)}: n = {n}")
    dress(axes[: len(tasks)], tables.summary)
    figure.supylabel("share of pairs, 95% interval", fontsize=8)
    where = "from this layer on" if table["what"].iloc[0] == "from" else "at this layer only"
    figure.supxlabel(f"decoder layer; the image is the source's {where}", fontsize=8)
    legend(figure, list(shown.values()), "nothing swapped")
    return figure


def attention(tables: RunTables) -> Figure | None:
    """Where attention of the response goes, models overlaid."""
    if tables.summary["probe"] != "attention":
        return None
    table = _all_tasks(tables)
    models = [model for model in dict.fromkeys(table["model"]) if " - " not in model]
    shown = styles(models)
    spans = [span for span in _SPANS if (table["what"] == span).any()] or ["response"]
    figure = new_figure(1.15 * (len(_SHARES) + 1) + 1.0)
    axes = figure.subplots(len(_SHARES) + 1, len(spans), sharex=True, sharey="row", squeeze=False)
    for column, span in enumerate(spans):
        for row, (metric, name) in enumerate({**_SHARES, "entropy": "entropy, nats"}.items()):
            at = axes[row, column]
            for one in shown:
                band(at, named(table, model=one.label, what=span, metric=metric), one)
            if metric != "entropy":
                at.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            if column == 0:
                at.set_ylabel(f"to {name}" if metric != "entropy" else name)
        axes[0, column].set_title(f"from {span} tokens")
        dress(list(axes[:, column]), tables.summary)
    for row in axes:
        row[0].set_ylim(bottom=0)
    figure.supxlabel("decoder layer", fontsize=8)
    legend(figure, shown)
    return figure


def differences(tables: RunTables) -> Figure | None:
    """What changed in attention between models, paired by sample."""
    if tables.summary["probe"] != "attention":
        return None
    table = _all_tasks(tables)
    models = [model for model in dict.fromkeys(table["model"]) if " - " in model]
    if not models:
        return None
    spans = [span for span in _SPANS if (table["what"] == span).any()] or ["response"]
    shown = styles(list(_SHARES.values()))
    figure = new_figure(1.7 * len(models) + 1.0)
    axes = figure.subplots(len(models), len(spans), sharex=True, sharey=True, squeeze=False)
    for row, model in enumerate(models):
        for column, span in enumerate(spans):
            at = axes[row, column]
            for metric, one in zip(_SHARES, shown, strict=True):
                band(at, named(table, model=model, what=span, metric=metric), one)
            at.axhline(0, color=GREY, linewidth=0.8)
            at.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
            at.set_title(f"{model}, from {span} tokens")
    for column in range(len(spans)):
        dress(list(axes[:, column]), tables.summary)
    figure.supylabel("points of attention, 95% interval", fontsize=8)
    figure.supxlabel("decoder layer", fontsize=8)
    legend(figure, shown, title="attention to")
    return figure


def heads(tables: RunTables) -> Figure | None:
    """Attention of the response to the image, head by head; differences beside."""
    table = tables.tables.get("heads")
    if table is None:
        return None
    its = table[(table["metric"] == "image share") & (table["what"] == "response")]
    models = list(dict.fromkeys(its["model"]))
    if its.empty:
        return None
    across = min(3, len(models))
    down = -(-len(models) // across)
    layers = int(its["layer"].max()) + 1
    figure = new_figure(down * max(1.5, min(4.0, 0.1 * layers + 0.9)) + 0.4)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for spare in axes.flat[len(models) :]:
        spare.set_axis_off()
    plain = its[~its["model"].str.contains(" - ", regex=False)]["value"].max()
    apart = its[its["model"].str.contains(" - ", regex=False)]["value"].abs().max()
    for model, at in zip(models, axes.flat, strict=False):
        grid = its[its["model"] == model].pivot_table(index="layer", columns="head", values="value")
        differs = " - " in model
        limits = (-apart, apart) if differs else (0.0, plain)
        image = at.imshow(
            grid.to_numpy(float), aspect="auto", interpolation="nearest", origin="lower",
            cmap="PuOr" if differs else "viridis", vmin=limits[0], vmax=limits[1],
            extent=(-0.5, grid.shape[1] - 0.5, grid.index.min() - 0.5, grid.index.max() + 0.5),
        )  # fmt: skip
        at.xaxis.set_major_locator(MaxNLocator(integer=True))
        at.yaxis.set_major_locator(MaxNLocator(integer=True))
        at.set_title(folded(model, 0.85 * WIDTH / across))
        bar = figure.colorbar(image, ax=at)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    figure.supxlabel("head", fontsize=8)
    figure.supylabel("decoder layer", fontsize=8)
    figure.suptitle("share of the response's attention that goes to the image", fontsize=8)
    return figure


def _title(task: str) -> str:
    return "all tasks" if task == ALL else task


def _all_tasks(tables: RunTables) -> DataFrame:
    """Rows of all tasks together, or of the only one."""
    table = tables.layers
    tasks = tasks_of(table)
    return table[table["task"] == tasks[-1]]
