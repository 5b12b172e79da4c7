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
    """Draw the loss from ablating each layer, task by task, with the intact score."""
    if tables.summary["probe"] != "ablation":
        return None
    table = tables.layers
    drops = table[table["metric"].str.endswith(" drop")]
    series = styles(list(dict.fromkeys(drops["what"])))
    likely = bool((drops["metric"] == "logprob drop").any())
    tasks = tasks_of(drops)
    figure, axes = grid_of(len(tasks))
    for task, panel in zip(tasks, axes, strict=False):
        subset = named(drops, task=task)
        metric = str(subset["metric"].iloc[0]).removesuffix(" drop")
        for look in series:
            band(panel, named(subset, what=look.label), look)
        panel.axhline(0, color=GREY, linewidth=0.8)
        intact = unchanged(table, task=task, metric=metric)
        n = int(subset["n"].max())
        if likely:
            panel.set_yscale("symlog", linthresh=1.0)
            panel.set_title(f"{_title(task)}: intact {intact:.1f} nats, n = {n}")
        else:
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
            panel.set_title(f"{_title(task)}: intact {intact:.0%}, n = {n}")
    dress(axes[: len(tasks)], tables.summary)
    unit = "nats lost (log beyond 1)" if likely else "percentage points lost"
    figure.supylabel(f"{unit}, 95% interval", fontsize=8)
    whats = [look.label for look in series]
    branch = "" if len(whats) > 1 or whats == ["layer"] else f"'s {whats[0]}"
    figure.supxlabel(f"ablated decoder layer{branch}", fontsize=8)
    if len(series) > 1:
        legend(figure, series, title="ablated part")
    return figure


def vision_swap(tables: RunTables) -> Figure | None:
    """Draw the share of answers that follow the swapped image, task by task."""
    if tables.summary["probe"] != "vision-swap":
        return None
    table = tables.layers
    names = {
        "change": "another answer", "source": "the source's answer", "target": "the target's answer"
    }  # fmt: skip
    looks = dict(zip(names, styles(list(names.values())), strict=True))
    tasks = tasks_of(table)
    figure, axes = grid_of(len(tasks))
    for task, panel in zip(tasks, axes, strict=False):
        swapped = table[table["layer"].notna()]
        for metric, look in looks.items():
            band(panel, named(swapped, task=task, metric=metric), look)
        for metric in ("target", "source"):
            level = unchanged(table, task=task, metric=metric)
            if level is not None:
                line = {"linewidth": 0.9, "linestyle": ":", "label": "_null"}
                panel.axhline(level, color=looks[metric].colour, **line)  # type: ignore[arg-type]
        panel.set_ylim(-0.04, 1.04)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        n = int(named(table, task=task, metric="change")["n"].max())
        panel.set_title(f"{_title(task)}: n = {n}")
    dress(axes[: len(tasks)], tables.summary)
    figure.supylabel("share of pairs, 95% interval", fontsize=8)
    mode_label = "from this layer on" if table["what"].iloc[0] == "from" else "at this layer only"
    figure.supxlabel(f"decoder layer; source image {mode_label}", fontsize=8)
    legend(figure, list(looks.values()), "no swap")
    return figure


def attention(tables: RunTables) -> Figure | None:
    """Draw the attention of the response, models overlaid."""
    if tables.summary["probe"] != "attention":
        return None
    table = _all_tasks(tables)
    models = [model for model in dict.fromkeys(table["model"]) if " - " not in model]
    series = styles(models)
    spans = [span for span in _SPANS if (table["what"] == span).any()] or ["response"]
    figure = new_figure(1.15 * (len(_SHARES) + 1) + 1.0)
    axes = figure.subplots(len(_SHARES) + 1, len(spans), sharex=True, sharey="row", squeeze=False)
    for column, span in enumerate(spans):
        for row, (metric, name) in enumerate({**_SHARES, "entropy": "entropy, nats"}.items()):
            panel = axes[row, column]
            for look in series:
                band(panel, named(table, model=look.label, what=span, metric=metric), look)
            if metric != "entropy":
                panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            if column == 0:
                panel.set_ylabel(f"to {name}" if metric != "entropy" else name)
        axes[0, column].set_title(f"from {span} tokens")
        dress(list(axes[:, column]), tables.summary)
    for row in axes:
        row[0].set_ylim(bottom=0)
    figure.supxlabel("decoder layer", fontsize=8)
    legend(figure, series)
    return figure


def differences(tables: RunTables) -> Figure | None:
    """Draw the change of attention between models, paired by sample."""
    if tables.summary["probe"] != "attention":
        return None
    table = _all_tasks(tables)
    models = [model for model in dict.fromkeys(table["model"]) if " - " in model]
    if not models:
        return None
    spans = [span for span in _SPANS if (table["what"] == span).any()] or ["response"]
    series = styles(list(_SHARES.values()))
    figure = new_figure(1.7 * len(models) + 1.0)
    axes = figure.subplots(len(models), len(spans), sharex=True, sharey=True, squeeze=False)
    for row, model in enumerate(models):
        for column, span in enumerate(spans):
            panel = axes[row, column]
            for metric, look in zip(_SHARES, series, strict=True):
                band(panel, named(table, model=model, what=span, metric=metric), look)
            panel.axhline(0, color=GREY, linewidth=0.8)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
            panel.set_title(f"{model}, from {span} tokens")
    for column in range(len(spans)):
        dress(list(axes[:, column]), tables.summary)
    figure.supylabel("percentage points,\n95% interval", fontsize=8)
    figure.supxlabel("decoder layer", fontsize=8)
    legend(figure, series, title="change of attention to")
    return figure


def heads(tables: RunTables) -> Figure | None:
    """Draw attention of the response to the image by head, and differences next to it."""
    table = tables.tables.get("heads")
    if table is None:
        return None
    attentions = table[(table["metric"] == "image share") & (table["what"] == "response")]
    models = list(dict.fromkeys(attentions["model"]))
    if attentions.empty:
        return None
    across = min(3, len(models))
    down = -(-len(models) // across)
    layers = int(attentions["layer"].max()) + 1
    figure = new_figure(down * max(1.5, min(4.0, 0.1 * layers + 0.9)) + 0.4)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for unused in axes.flat[len(models) :]:
        unused.set_axis_off()
    plain = attentions[~attentions["model"].str.contains(" - ", regex=False)]["value"].max()
    largest = attentions[attentions["model"].str.contains(" - ", regex=False)]["value"].abs().max()
    for model, panel in zip(models, axes.flat, strict=False):
        grid = attentions[attentions["model"] == model].pivot_table(
            index="layer", columns="head", values="value"
        )
        differs = " - " in model
        limits = (-largest, largest) if differs else (0.0, plain)
        image = panel.imshow(
            grid.to_numpy(float), aspect="auto", interpolation="nearest", origin="lower",
            cmap="PuOr" if differs else "viridis", vmin=limits[0], vmax=limits[1],
            extent=(-0.5, grid.shape[1] - 0.5, grid.index.min() - 0.5, grid.index.max() + 0.5),
        )  # fmt: skip
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(folded(model, 0.85 * WIDTH / across))
        bar = figure.colorbar(image, ax=panel)
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
