"""Cells to pixels: a scene is nine cells, an image is 84x84, one cell is one visual token.

Everything is drawn from tables in this file (no font file), so a scene is the same picture
on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE: Final = 3
CELL: Final = 28
BACKGROUND: Final = (238, 238, 238)

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (215, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "orange": (240, 145, 20),
    "purple": (150, 50, 180),
    "black": (30, 30, 30),
}
SHAPES: Final = ("circle", "square", "triangle", "diamond", "ring")
DIGITS: Final = "0123456789"
OPERATORS: Final = "+-*"
CHARACTERS: Final = DIGITS + OPERATORS
EMPTY: Final = "empty"

# 5x7 glyphs, one row per entry.
_GLYPHS: Final[dict[str, tuple[str, ...]]] = {
    "0": (" ### ", "#   #", "#  ##", "# # #", "##  #", "#   #", " ### "),
    "1": ("  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "),
    "2": (" ### ", "#   #", "    #", "  ## ", " #   ", "#    ", "#####"),
    "3": (" ### ", "#   #", "    #", "  ## ", "    #", "#   #", " ### "),
    "4": ("   # ", "  ## ", " # # ", "#  # ", "#####", "   # ", "   # "),
    "5": ("#####", "#    ", "#### ", "    #", "    #", "#   #", " ### "),
    "6": ("  ## ", " #   ", "#    ", "#### ", "#   #", "#   #", " ### "),
    "7": ("#####", "    #", "   # ", "  #  ", "  #  ", " #   ", " #   "),
    "8": (" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "),
    "9": (" ### ", "#   #", "#   #", " ####", "    #", "   # ", " ##  "),
    "+": ("     ", "  #  ", "  #  ", "#####", "  #  ", "  #  ", "     "),
    "-": ("     ", "     ", "     ", "#####", "     ", "     ", "     "),
    "*": ("     ", "#   #", " # # ", "  #  ", " # # ", "#   #", "     "),
}
_DOT: Final = 3  # pixels per glyph dot


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: `kind` is a shape, a character or "empty"; `colour` is "" when empty."""

    kind: str = EMPTY
    colour: str = ""

    def __str__(self) -> str:
        return f"{self.colour} {self.kind}" if self.colour else self.kind


@dataclass(frozen=True, slots=True)
class Scene:
    """Nine cells in reading order."""

    cells: tuple[Cell, ...]

    def __str__(self) -> str:
        return ";".join(str(cell) for cell in self.cells)


def digest(text: str) -> int:
    """Return a number that depends only on the text (unlike `hash`, which is salted)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def render(scene: Scene) -> Image.Image:
    """Draw a scene.

    Jitter of position, size and pixel noise are seeded by the scene itself, so equal scenes
    are equal images.

    Args:
        scene: Nine cells in reading order.

    Returns:
        An RGB image of 84x84 pixels.
    """
    rng = np.random.default_rng(digest(str(scene)))
    image = Image.new("RGB", (SIDE * CELL, SIDE * CELL), BACKGROUND)
    pen = ImageDraw.Draw(image)
    for index, cell in enumerate(scene.cells):
        if cell.kind != EMPTY:
            left, top = CELL * (index % SIDE), CELL * (index // SIDE)
            _draw_cell(pen, cell, left, top, rng)
    noise = rng.integers(-9, 10, size=(SIDE * CELL, SIDE * CELL, 3))
    pixels = np.clip(np.asarray(image, dtype=np.int64) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def cell_pixels(image: Image.Image, index: int) -> NDArray[np.uint8]:
    """Return the `UInt8[28, 28, 3]` pixels of one cell."""
    row, column = divmod(index, SIDE)
    pixels = np.asarray(image)
    return pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]


def _draw_cell(
    pen: ImageDraw.ImageDraw, cell: Cell, left: int, top: int, rng: np.random.Generator
) -> None:
    dx, dy = (int(v) for v in rng.integers(-2, 3, size=2))
    if cell.kind in _GLYPHS:
        _draw_glyph(pen, cell, left + 6 + dx, top + 3 + min(dy, 1))
    else:
        radius = int(rng.integers(8, 11))
        _draw_shape(pen, cell, left + CELL // 2 + dx, top + CELL // 2 + dy, radius)


def _draw_glyph(pen: ImageDraw.ImageDraw, cell: Cell, left: int, top: int) -> None:
    for row, line in enumerate(_GLYPHS[cell.kind]):
        for column, mark in enumerate(line):
            if mark == "#":
                x, y = left + column * _DOT, top + row * _DOT
                pen.rectangle((x, y, x + _DOT - 1, y + _DOT - 1), fill=COLOURS[cell.colour])


def _draw_shape(pen: ImageDraw.ImageDraw, cell: Cell, x: int, y: int, r: int) -> None:
    ink = COLOURS[cell.colour]
    box = (x - r, y - r, x + r, y + r)
    match cell.kind:
        case "circle":
            pen.ellipse(box, fill=ink)
        case "ring":
            pen.ellipse(box, outline=ink, width=3)
        case "square":
            pen.rectangle((x - r + 1, y - r + 1, x + r - 1, y + r - 1), fill=ink)
        case "triangle":
            pen.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=ink)
        case "diamond":
            pen.polygon(((x, y - r), (x + r, y), (x, y + r), (x - r, y)), fill=ink)
        case _:
            raise AssertionError(f"no such kind of cell: {cell.kind!r}")
