"""The decoding of image files, the same for every engine, for training and for probes.

What is shown is 8-bit RGB: the first frame of an animation or a file of pages, turned as its EXIF
says, transparent parts white, 16-bit values divided by 257. Colour profiles are not applied, as
transformers and vLLM do not apply them. A file that cannot be read so is refused by name.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from surgery.errors import ExecutionError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

MOST_PIXELS: Final = 178_956_970
"""The limit for one image; Pillow treats more as an attack on the memory."""
FORMATS: Final = frozenset(
    {"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO",
     "QOI"}
)  # fmt: skip
"""Pillow's names. Other formats run programs (EPS), have no signature (TGA), or are no images."""

_BROKEN: Final = (
    OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError, EOFError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""Exceptions of Pillow's plugins for broken files."""
_FILTERS: Final = RLock()
_ORIENTATION: Final = 0x0112
_TURNS: Final = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270",
                 "TRANSVERSE", "ROTATE_90")  # fmt: skip
"""The transpositions that undo orientations 2 to 8; from 5 on they swap width and height."""
_MAY_TURN: Final = (b"eXIf", b"Exif", b"EXIF", b"Orientation", b"Raw profile")
"""Every PNG with an orientation has one of these; asking Pillow would decode the whole file."""
_RANGES: Final = {"F": (1.0, 255.0), "I": (255.0, 65535.0)}
"""Candidates for the value of white, by mode; the first that no value exceeds is used."""
_CONVERT: Final = "Convert it to PNG or JPEG"
_BROKEN_START: Final = "a broken or truncated image"
_FOREIGN: Final = (
    (b"\x89PNG", _BROKEN_START, "Get the file again"),
    (b"\xff\xd8", _BROKEN_START, "Get the file again"),
    (b"GIF8", _BROKEN_START, "Get the file again"),
    (b"RIFF", _BROKEN_START, "Get the file again"),
    (b"%PDF", "a PDF", _CONVERT),
    (b"%!PS", "PostScript", _CONVERT),
    (b"version https://git-lfs", "a pointer of Git LFS", "Fetch the file with 'git lfs pull'"),
    (b"PK\x03\x04", "a zip archive", "Unpack it"),
    (b"\x1f\x8b", "a gzip archive", "Unpack it"),
    (b"\x1a\x45\xdf\xa3", "a video", "Take a frame of it"),
    (b"<!doctype html", "a web page", "Perhaps a download failed: get the file again"),
    (b"<html", "a web page", "Perhaps a download failed: get the file again"),
)
_BRANDS: Final = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF"}


@dataclass(frozen=True)
class Header:
    """Facts about an image file from its header.

    Attributes:
        size: Width and height in pixels, as the image is shown.
        odd: Whether a reader that knows nothing of orientation, transparency and deep values
            shows other pixels than `load_image`.
        sendable: Whether the file can go to a server as it is: PNG or JPEG, nothing odd about it.
    """

    size: tuple[int, int]
    odd: bool
    sendable: bool


def read_header(data: bytes) -> Header:
    """Return the facts in an image file's header.

    Raises:
        ExecutionError: If it is no image that is read here; says why.
    """
    with _open(data) as image:
        turn = _orientation(image, data)
        width, height = image.size
        odd = turn > 1 or image.has_transparency_data or _is_deep(image)
        plain = image.format == "JPEG" and image.mode != "CMYK"
        plain = plain or (image.format == "PNG" and image.n_frames == 1)
        return Header((height, width) if turn > 4 else (width, height), odd, plain and not odd)


def load_image(data: bytes) -> Image.Image:
    """Return an image file's pixels in 8-bit RGB, as every model is shown them.

    Raises:
        ExecutionError: If it is no image that is read here, or broken; says why.
    """
    from PIL import Image

    with _open(data) as image:
        turn = _orientation(image, data)
        pixels = _shallow(image)
        if turn > 1:
            pixels = pixels.transpose(Image.Transpose[_TURNS[turn - 2]])
        if not pixels.has_transparency_data:
            return pixels.convert("RGB")
        overlay = pixels.convert("RGBA")
        background = Image.new("RGBA", overlay.size, (255, 255, 255, 255))
        return Image.alpha_composite(background, overlay).convert("RGB")


def encode_png(image: Image.Image) -> bytes:
    """Return an image as a PNG."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def check_image(data: bytes) -> Header:
    """Decode a file and discard its pixels; a JPEG at an eighth of its size.

    Takes about 2 ms per million pixels of a JPEG and 25 ms of a PNG.

    Raises:
        ExecutionError: If it is no image that is read here, or broken; says why.
    """
    header = read_header(data)
    with _open(data) as image:
        if header.sendable and image.format == "JPEG":
            image.draft("RGB", (1, 1))  # all of the file is read, few pixels are made
            image.load()
        else:
            _shallow(image)
            image.convert("RGB")
    return header


@contextmanager
def _open(data: bytes) -> Iterator[Any]:
    """Open a file of a supported format; every Pillow error becomes one `ExecutionError`."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ExecutionError("is an empty file. Get the file again.")
    try:
        # Filters of warnings are the process's: one thread at a time may change them.
        with _FILTERS, warnings.catch_warnings():
            # MOST_PIXELS limits the size, and odd metadata does no harm.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as image:
                _check(image)
                yield image
    except UnidentifiedImageError:
        kind, remedy = _identify(data)
        raise ExecutionError(f"is {kind}. {remedy}.") from None
    except Image.DecompressionBombError:
        raise ExecutionError(
            f"has more than {MOST_PIXELS // 10**6} million pixels. Scale it down."
        ) from None
    except _BROKEN as error:
        reason = first_line(error).rstrip(".")
        raise ExecutionError(
            f"is a broken or truncated image ({reason}). Get the file again."
        ) from None


def _check(image: Any) -> None:
    width, height = image.size
    if image.format not in FORMATS:
        raise ExecutionError(f"is a file of the format {image.format}. {_CONVERT}.")
    if width * height > MOST_PIXELS:
        raise ExecutionError(
            f"has {width} x {height} pixels, more than {MOST_PIXELS // 10**6} million. "
            "Scale it down."
        )
    if not width * height:
        raise ExecutionError("has no pixels. Get the file again.")


def _orientation(image: Any, data: bytes) -> int:
    """Return the EXIF orientation: 1 if upright, and for TIFF, which Pillow itself rotates."""
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and not any(mark in data for mark in _MAY_TURN):
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN:  # broken metadata, intact pixels
        return 1
    return orientation if isinstance(orientation, int) and 1 < orientation <= 8 else 1


def _is_deep(image: Any) -> bool:
    """Check that values are deeper than 8 bits; Pillow's own conversion would clip them."""
    return image.mode in _RANGES or image.mode.startswith("I;")


def _shallow(image: Image.Image) -> Image.Image:
    """Convert an image to 8 bits per value; refuse one with an unknown value range."""
    import numpy as np
    from PIL import Image

    if not _is_deep(image):
        return image
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    ranges = _RANGES.get(image.mode, (65535.0,))
    whole = next((white for white in ranges if low >= 0 and high <= white), None)
    if whole is None:  # or some value is no number
        kind = "32-bit floating-point" if image.mode == "F" else "32-bit"
        raise ExecutionError(
            f"has {kind} values from {low:g} to {high:g}, which do not say where black and white "
            f"are. Save it with 8 bits per value."
        )
    grey = np.round(values * np.float32(255 / whole)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one value of a 16-bit PNG
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _identify(data: bytes) -> tuple[str, str]:
    """Return the kind of a file that Pillow cannot identify, and what to do about it."""
    start = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, name, remedy in _FOREIGN:
        if start.startswith(mark.lower()):
            return name, remedy
    if data[4:8] == b"ftyp":
        return f"a file of the format {_BRANDS.get(data[8:11], 'MP4, a video')}", _CONVERT
    return "an SVG drawing" if b"<svg" in start else "no image of a known format", _CONVERT
