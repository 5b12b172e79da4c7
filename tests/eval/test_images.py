"""Image files of every kind: the same right pixels to every engine, or a refusal by name."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from eval.endpoint import _data_url
from eval.images import MOST_PIXELS, check_image, load_image, read_header
from eval.prompts import PLAIN, Message, messages
from eval.records import Condition, Picture
from eval.suites.custom import load_custom
from surgery.errors import ExecutionError
from surgery.train.example import Example
from surgery.train.trainer import _dataset
from tests.eval.samples import question

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HIGH, WIDE = 30, 48


def photo(**more: Any) -> Image.Image:
    """Return four fields of one color each: all corners differ, and JPEG keeps their centers."""
    pixels = np.zeros((HIGH, WIDE, 3), np.uint8)
    pixels[:15, :24], pixels[:15, 24:] = (250, 20, 20), (20, 250, 20)
    pixels[15:, :24], pixels[15:, 24:] = (20, 20, 250), (200, 200, 200)
    return Image.fromarray(pixels)


def file(image: Image.Image, kind: str = "PNG", **mode: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **mode)
    return out.getvalue()


def turned(orientation: int, kind: str) -> tuple[bytes, np.ndarray]:
    """Return a photo with an orientation, and its upright pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = ImageOps.exif_transpose(Image.open(BytesIO(file(photo(), exif=exif))))
    mode = {"quality": 100, "subsampling": 0} if kind in ("JPEG", "MPO") else {}
    if kind == "WEBP":
        mode = {"lossless": True}
    exif[0x0112] = orientation
    return file(photo(), kind, exif=exif, **mode), np.asarray(upright.convert("RGB"))


def deep(kind: str, dtype: Any, white: float) -> tuple[bytes, np.ndarray]:
    """Return a ramp from black to white in values that are not 8-bit, and the same in 8."""
    ramp = np.linspace(0, 1, HIGH * WIDE).reshape(HIGH, WIDE)
    grey = np.asarray(ramp * white, dtype)
    expected = np.round(np.asarray(grey, np.float64) * (255 / white)).astype(np.uint8)
    return file(Image.fromarray(grey), kind), np.repeat(expected[..., None], 3, 2)


def transparent(mode: str) -> tuple[bytes, np.ndarray]:
    """The left half is not there: the paper shows through."""
    image = photo().convert("L").convert("RGB") if mode == "LA" else photo()
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 24, HIGH))
    expected = np.asarray(image).copy()
    expected[:, :24] = 255
    if mode == "P":
        palette = Image.new("P", (WIDE, HIGH))
        palette.putpalette([250, 20, 20, 20, 250, 20, 20, 20, 250, 200, 200, 200])
        fields = np.zeros((HIGH, WIDE), np.uint8)
        fields[:15, 24:], fields[15:, :24], fields[15:, 24:] = 1, 2, 3
        palette.putdata(fields.ravel().tolist())
        return file(palette, transparency=bytes([0, 255, 0, 255])), expected
    image = image.convert("L") if mode == "LA" else image
    image.putalpha(alpha)
    return file(image), expected


def cmyk(kind: str) -> tuple[bytes, np.ndarray]:
    """As printers have it; in a JPEG the other way round, with Adobe's mark, as all tools do."""
    mode = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = file(photo().convert("CMYK"), kind, **mode)
    assert (b"Adobe" in data) == (kind == "JPEG")
    return data, np.asarray(photo())


def animated(kind: str) -> tuple[bytes, np.ndarray]:
    """Return three frames, of which the first counts."""
    frames = [photo(), ImageOps.invert(photo()), Image.new("RGB", (WIDE, HIGH))]
    mode = {"lossless": True} if kind == "WEBP" else {}
    data = file(frames[0], kind, save_all=True, append_images=frames[1:], **mode)
    return data, np.asarray(photo())


def profiled() -> tuple[bytes, np.ndarray]:
    """Return an image with a colour profile, which is not applied."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return file(photo(), icc_profile=profile), np.asarray(photo())


def late_exif() -> tuple[bytes, np.ndarray]:
    """Return a PNG whose orientation stands behind its pixels."""
    data, expected = turned(6, "PNG")
    start = data.index(b"eXIf") - 4
    (length,) = struct.unpack(">I", data[start : start + 4])
    chunk = data[start : start + length + 12]
    rest = data[:start] + data[start + length + 12 :]
    end = rest.index(b"IEND") - 4
    return rest[:end] + chunk + rest[end:], expected


KINDS: dict[str, Callable[[], tuple[bytes, np.ndarray]]] = {
    "plain png": lambda: (file(photo()), np.asarray(photo())),
    "plain jpeg": lambda: (file(photo(), "JPEG", quality=100, subsampling=0), np.asarray(photo())),
    "bmp": lambda: (file(photo(), "BMP"), np.asarray(photo())),
    "16-bit png": lambda: deep("PNG", np.uint16, 65535),
    "16-bit tiff": lambda: deep("TIFF", np.uint16, 65535),
    "16-bit tiff, big-endian": lambda: deep("TIFF", ">u2", 65535),
    "16-bit pgm": lambda: deep("PPM", np.uint16, 65535),
    "32-bit tiff of 16 bits": lambda: deep("TIFF", np.int32, 65535),
    "32-bit tiff of 8 bits": lambda: deep("TIFF", np.int32, 255),
    "floats to 1": lambda: deep("TIFF", np.float32, 1.0),
    "floats to 255": lambda: deep("TIFF", np.float32, 255.0),
    **{f"orientation {o}": lambda o=o: turned(o, "JPEG") for o in range(1, 9)},
    **{f"{kind} on its side": lambda kind=kind: turned(6, kind)
       for kind in ("PNG", "TIFF", "WEBP", "MPO")},
    "png, orientation last": late_exif,
    "cmyk jpeg": lambda: cmyk("JPEG"),
    "cmyk tiff": lambda: cmyk("TIFF"),
    "rgba": lambda: transparent("RGBA"),
    "grey and alpha": lambda: transparent("LA"),
    "transparent palette": lambda: transparent("P"),
    "palette": lambda: (file(photo().quantize(8)), np.asarray(photo().quantize(8).convert("RGB"))),
    "1-bit": lambda: (file(photo().convert("1")), np.asarray(photo().convert("1").convert("RGB"))),
    "grey": lambda: (file(photo().convert("L")), np.asarray(photo().convert("L").convert("RGB"))),
    "animated png": lambda: animated("PNG"),
    "animated webp": lambda: animated("WEBP"),
    "animated gif": lambda: animated("GIF"),
    "tiff of pages": lambda: animated("TIFF"),
    "profile": profiled,
}  # fmt: skip
LOSSY = 12
"""Return the allowed mean error of a JPEG or of 256 colors."""


def close(value: Any, expected: np.ndarray) -> bool:
    displayed = np.asarray(value.convert("RGB"), int)
    return displayed.shape == expected.shape and np.abs(displayed - expected).mean() < LOSSY / 4


def as_png_is(data: bytes, expected: np.ndarray, lossless: bool) -> None:
    pixels = np.asarray(load_image(data))
    assert pixels.shape == expected.shape
    if lossless:
        np.testing.assert_array_equal(pixels, expected)
    assert close(Image.fromarray(pixels), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_is_shown_the_right_pixels(kind: str, tmp_path: Path) -> None:
    data, expected = KINDS[kind]()
    lossless = not any(word in kind for word in ("jpeg", "orientation", "MPO", "cmyk", "gif"))
    as_png_is(data, expected, lossless)
    image = load_image(data)
    assert (image.mode, image.size) == ("RGB", read_header(data).size)
    # Through a suite, as a user has it; the file's name says nothing.
    sample = suite_of(tmp_path, {"image.png": data})
    turns = messages(sample, Condition.IMAGE, PLAIN)
    (picture,) = [part for part in turns[0].parts if isinstance(part, Picture)]
    local = picture.open()
    assert local.size == image.size == picture.size
    # A reader that knows nothing of all this: a server's, and the trainer's.
    sent = Image.open(BytesIO(b64decode(_data_url(picture).partition(",")[2])))
    assert sent.format in ("PNG", "JPEG")
    assert _data_url(picture).startswith(f"data:image/{sent.format.lower()};")
    turn = {"role": "user", "content": [{"type": "image"}]}
    example = Example("e", (turn,), (picture.data,), "")
    (trained,) = _dataset([example])[0]["images"]
    bare = messages(question("q", Picture(data), prompt=""), Condition.IMAGE, PLAIN)[0].parts[0]
    assert isinstance(bare, Picture)
    for other in (local, sent.convert("RGB"), trained, bare.open(), Picture(data).open()):
        assert other.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(other), np.asarray(image))


def suite_of(folder: Path, files: dict[str, bytes], column: str = "image") -> Any:
    """Return the first sample of a suite about these files."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    rows = [{"id": name, "prompt": "?", "answer": "7", column: name} for name in files]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "suite.yaml").write_text("name: s\nrows: rows.jsonl\n")
    return load_custom(folder / "suite.yaml", None, 0).tasks[0].samples[0]


def test_a_file_that_every_reader_shows_alike_stays_as_it_is(tmp_path: Path) -> None:
    for kind in ("plain png", "plain jpeg", "grey", "palette", "1-bit", "profile"):
        data, _ = KINDS[kind]()
        assert suite_of(tmp_path, {"x": data}).images[0].data == data
        assert b64decode(_data_url(Picture(data)).partition(",")[2]) == data


@pytest.mark.parametrize("kind", ["orientation 6", "16-bit png", "rgba", "transparent palette"])
def test_other_pixels_are_another_question(kind: str, tmp_path: Path) -> None:
    """Responses from before orientation and depth were handled are not reused.

    The sample is the file's, by which descriptions are found; what is asked is the pixels'.
    """
    data, _ = KINDS[kind]()
    sample = suite_of(tmp_path, {"x": data})
    assert sample.images[0].digest == sha256(data).hexdigest()
    (turn,) = messages(sample, Condition.IMAGE, PLAIN)
    as_stored = Message(turn.role, tuple(
        sample.images[0] if isinstance(part, Picture) else part for part in turn.parts
    ))  # fmt: skip
    assert turn.digest != as_stored.digest


def huge(width: int, height: int) -> bytes:
    """Return a small PNG that claims so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


PNG, JPEG = file(photo()), file(photo(), "JPEG")
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is an empty file"),
    "text": (b"hello", "is no image of a known format"),
    "png, cut short": (PNG[: len(PNG) // 2], "is a broken or truncated image"),
    "png, cut in its header": (PNG[:12], "is a broken or truncated image"),
    "png, a chunk broken": (PNG[:45] + b"\0\0\0\0" + PNG[49:], "is a broken or truncated image"),
    "jpeg, cut short": (JPEG[:-60], "is a broken or truncated image"),
    "jpeg, cut in its header": (JPEG[:30], "is a broken or truncated image"),
    "gif, cut short": (file(photo(), "GIF")[:-40], "is a broken or truncated image"),
    "webp, cut short": (file(photo(), "WEBP")[:-20], "is a broken or truncated image"),
    "bmp, cut short": (file(photo(), "BMP")[:-100], "is a broken or truncated image"),
    "tiff, cut short": (file(photo(), "TIFF")[:-900], "is a broken or truncated image"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "bare svg": (b'\xef\xbb\xbf <svg width="3"/>', "is an SVG drawing"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "is a PDF"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "format EPS"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "of the format HEIC"),
    "mp4": (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(40), "MP4, a video"),
    "web page": (b"<!DOCTYPE html><html><svg/></html>", "is a web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "bomb": (huge(20_000, 20_000), "million"),
    "small bomb": (huge(14_000, 13_000), "million"),
    "floats of any range": (deep("TIFF", np.float32, 4000.0)[0], "floating-point values from 0 to"),
    "no number": (file(Image.fromarray(np.full((3, 3), np.nan, np.float32)), "TIFF"), "black and"),
    "32 bits": (deep("TIFF", np.int32, 2**31 - 1)[0], "32-bit values from 0 to"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_shown_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    data, reason = REFUSED[kind]
    with pytest.raises(ExecutionError, match=reason) as raised:
        suite_of(tmp_path, {"good.png": PNG, "bad.png": data})
    text = str(raised.value)
    assert "rows.jsonl:2: 'image': 'bad.png'" in text
    assert "\n" not in text
    with pytest.raises(ExecutionError, match="sample 'q' cannot be read: it"):
        messages(question("q", Picture(data)), Condition.BLANK, PLAIN) and messages(
            question("q", Picture(data)), Condition.IMAGE, PLAIN, 10
        )


def test_large_images_are_no_attack() -> None:
    """Images for which Pillow warns, so that a test would fail, get no message."""
    side = int(MOST_PIXELS**0.5) - 1
    assert read_header(huge(side, side)).size == (side, side)


@given(data=st.data())
def test_broken_files_are_right_or_refused(data: Any) -> None:
    """Bytes changed, cut and inserted anywhere: never another error than the refusal."""
    whole = data.draw(st.sampled_from(SEEDS))
    place = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.sampled_from([place, place + 1, place + 4, place + 200, len(whole)]))
    broken = whole[:place] + data.draw(st.binary(max_size=8)) + whole[end:]
    try:
        header = check_image(broken)
        assert load_image(broken).size == header.size
    except ExecutionError as error:
        assert "\n" not in str(error)


SEEDS = [make()[0] for make in KINDS.values()]
