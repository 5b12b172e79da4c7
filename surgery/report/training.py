"""The curves of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from surgery.report.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from surgery.runs import RunTables

_PANELS: Final = {
    "reward": "mean reward",
    "loss": "loss",
    "length": "tokens per response",
    "kl": "KL from the initial model",
    "reward.format": "share of well-formed responses",
    "reward.correct": "share of correct responses",
    "token_accuracy": "token accuracy",
    "entropy": "entropy (nats per token)",
    "grad_norm": "gradient norm",
}


def curves(run: RunTables) -> Figure | None:
    """Return the curves of a training run's log, or None where it has no row."""
    log = run.table("log")
    displayed = [name for name in _PANELS if name in log and log[name].notna().any()]
    if "reward" in displayed:
        displayed.remove("loss")  # of GRPO it says nothing: its value is about zero at every step
    if not displayed:
        return None
    rows = -(-len(displayed) // 3)
    figure = new_figure(1.9 * rows)
    panels = figure.subplots(rows, 3, squeeze=False).flat
    for name, panel in zip(displayed, panels, strict=False):
        _line(panel, log, name)
    for panel in figure.axes[len(displayed) :]:
        panel.remove()
    return figure


def _line(panel: Any, log: DataFrame, name: str) -> None:
    values = log[name]
    panel.plot(log["step"], values, linewidth=0.6, alpha=0.4, color="#3366aa")
    width = max(1, len(log) // 25)
    panel.plot(
        log["step"], values.rolling(width, min_periods=1).mean(), linewidth=1.4, color="#3366aa"
    )
    panel.set_title(_PANELS[name], fontsize=8, loc="left")
    panel.set_xlabel("step", fontsize=7)
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
