"""Every figure of a run, by the run's kind and the figure's name."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from surgery.checkpoint.sibling import put
from surgery.errors import SurgeryError, did_you_mean
from surgery.runs import RunKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from surgery.runs import RunTables

_STATS: Final = {
    "profile": "surgery.report.stats.profiles:profile",
    "modules": "surgery.report.stats.maps:modules",
    "spectra": "surgery.report.stats.spectra:spectra",
    "sparsity": "surgery.report.stats.profiles:sparsity",
    "subspaces": "surgery.report.stats.profiles:subspaces",
    "drift": "surgery.report.stats.profiles:drift",
}
FIGURES: Final[Mapping[RunKind, Mapping[str, str]]] = {
    RunKind.STATISTICS: _STATS,
    RunKind.EVALUATION: {
        name: f"surgery.report.scores.figures:{name}" for name in ("scores", "recovery", "layers")
    },
    RunKind.ABLATION: {"ablation": "surgery.report.probes.figures:ablation"},
    RunKind.SWAP: {"vision-swap": "surgery.report.probes.figures:vision_swap"},
    RunKind.ATTENTION: {
        "attention": "surgery.report.probes.figures:attention",
        "differences": "surgery.report.probes.figures:differences",
        "heads": "surgery.report.probes.figures:heads",
    },
    RunKind.PROFILE: {
        "profile": "surgery.report.probes.profile:curves",
        "correlations": "surgery.report.probes.profile:agreement",
    },
    RunKind.TRAINING: {"curves": "surgery.report.training:curves"},
}
"""By kind of run, figure name to the function that draws it; None where the tables lack its data.

The first of a kind is what `figure` draws by default.
"""

# What would make the same figure another file on another day.
_METADATA: Final[Mapping[str, dict[str, None]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def figure(run: RunTables, name: str | None = None) -> Figure:
    """Draw one figure of a run.

    Args:
        run: The run.
        name: The figure; the first of the run's kind by default.

    Raises:
        SurgeryError: If the run's kind has no such figure, or the run lacks what it shows.
    """
    from matplotlib import style

    from surgery.report.literal import literal
    from surgery.report.style import RC

    names = FIGURES.get(run.kind, {})
    if not names:
        raise SurgeryError(f"a run of kind {run.kind.label} has no figure. Use its tables.")
    name = name or next(iter(names))
    if name not in names:
        raise SurgeryError(
            f"a {run.kind.label} run has no figure {name!r}.{did_you_mean(name, names)}"
        )
    with style.context(["default", RC]):  # type: ignore[list-item]
        chart = _function(names[name])(run)
    if chart is None:
        raise SurgeryError(
            f"this {run.kind.label} run has nothing that the figure {name!r} shows. "
            f"Figures of such runs: {', '.join(names)}."
        )
    return literal(chart)


def write_figures(run: RunTables, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw every figure for which the run has data. Same tables, same bytes.

    A figure that an earlier run drew and this one does not is removed. The user's own matplotlib
    settings have no effect and are the same afterwards.

    Args:
        run: The run.
        folder: Made where it does not exist.
        formats: `png`, `svg` or both.

    Returns:
        The files, in the order of `FIGURES`.

    Raises:
        SurgeryError: If a format is none of these.
    """
    from matplotlib import style

    from surgery.report.literal import literal
    from surgery.report.style import RC

    for suffix in formats:
        if suffix not in _METADATA:
            raise SurgeryError(
                f"no figure format {suffix!r}. Expected any of {', '.join(_METADATA)}."
            )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with style.context(["default", RC]):  # type: ignore[list-item]
        for name, home in FIGURES.get(run.kind, {}).items():
            for suffix in _METADATA:
                path = folder / f"{name}.{suffix}"
                # A figure that was drawn before is laid out a little differently.
                chart = _function(home)(run) if suffix in formats else None
                if chart is None:
                    path.unlink(missing_ok=True)
                    continue
                options: dict[str, Any] = {"format": suffix, "metadata": _METADATA[suffix]}
                written.append(put(path, partial(literal(chart).savefig, **options)))
    return written


def _function(home: str) -> Callable[[Any], Figure | None]:
    """Return a drawing function; matplotlib is loaded when the first figure is drawn."""
    module, _, name = home.partition(":")
    function: Callable[[Any], Figure | None] = getattr(import_module(module), name)
    return function
