"""Which figures there are, and how they get into files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from matplotlib import style

from surgery.checkpoint.sibling import put
from surgery.errors import SurgeryError
from surgery.report.literal import literal
from surgery.report.stats.maps import modules
from surgery.report.stats.profiles import drift, profile, sparsity, subspaces
from surgery.report.stats.spectra import spectra
from surgery.report.stats.style import RC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from surgery.report.stats.tables import Tables

FIGURES: Mapping[str, Callable[[Tables], Figure | None]] = {
    "profile": profile,
    "modules": modules,
    "spectra": spectra,
    "sparsity": sparsity,
    "subspaces": subspaces,
    "drift": drift,
}
"""File name to the function that draws it, or None where the tables lack what it shows."""

# What would make the same figure another file on another day.
_METADATA: Mapping[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def write_figures(tables: Tables, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw every figure for which the tables have data. Same tables, same bytes.

    What an earlier run drew and this one does not is removed.

    Args:
        tables: What to draw.
        folder: Where; made if it is not there.
        formats: `png`, `svg` or both.

    Returns:
        The files, in the order of `FIGURES`.

    Raises:
        SurgeryError: If a format is none of these.
    """
    for wanted in formats:
        if wanted not in _METADATA:
            raise SurgeryError(
                f"no figure format {wanted!r}. Expected any of {', '.join(_METADATA)}."
            )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    # A user's own matplotlib settings do not count, and are as before afterwards.
    with style.context(["default", RC]):  # type: ignore[list-item]
        for name, draw in FIGURES.items():
            for wanted in _METADATA:
                path = folder / f"{name}.{wanted}"
                # A figure that was drawn before is laid out a little differently.
                figure = draw(tables) if wanted in formats else None
                if figure is None:
                    path.unlink(missing_ok=True)
                    continue
                how: dict[str, Any] = {"format": wanted, "metadata": _METADATA[wanted]}
                written.append(put(path, partial(literal(figure).savefig, **how)))
    return written
