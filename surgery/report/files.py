"""Figures into files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from matplotlib import style

from surgery.checkpoint.sibling import put
from surgery.report.literal import literal
from surgery.report.stats.style import RC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure


def write_pngs(drawings: Mapping[str, Callable[[], Figure | None]], folder: Path) -> list[Path]:
    """Draw figures. A user's own matplotlib settings do not count.

    Args:
        drawings: File name to what draws it, or gives None where there is nothing to show.
        folder: Where; what an earlier run drew and this one does not is removed.

    Returns:
        The files.
    """
    written = []
    with style.context(["default", RC]):  # type: ignore[list-item]
        for name, draw in drawings.items():
            path = folder / f"{name}.png"
            figure = draw()
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            save = partial(literal(figure).savefig, format="png", metadata={"Software": None})
            written.append(put(path, save))
    return written
