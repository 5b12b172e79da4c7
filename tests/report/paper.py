"""Figures as they look on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def is_whole(path: Path) -> None:
    """As wide as a page, not empty, and nothing is cut off: the outermost pixels are paper."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
        assert image.size[0] == 1400
        assert image.info.keys() <= {"dpi"}
    assert 0.005 < (pixels < 250).mean() < 0.9
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge > 250).all()
