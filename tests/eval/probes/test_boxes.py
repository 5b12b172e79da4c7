"""Boxes on every scale that models answer in, and what a run says of scales, sizes and pairs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.engines.resizing import Shrinkage, find_shrinkage, output_size
from eval.generation import Generation
from eval.probes.boxes import SCALES, Frame, Scale, frame_of, iou
from eval.probes.pairs import ImagePair
from eval.probes.swap import Swapped, resized, unknown_note, with_frames
from eval.prompts import PLAIN
from eval.questions import questions
from eval.records import Metric
from surgery.errors import ExecutionError
from surgery.processor import load_processor
from surgery.specimen import path
from tests.cli.probing import call
from tests.eval.samples import picture, question, suite
from tests.families import FAMILIES
from tests.processors import save_whole

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (640, 480)
RESIZED_SIZE = (252, 196)
BOX = (32.0, 240.0, 192.0, 432.0)
"""A twentieth and a half, three and nine tenths of the image."""
SPELLED = {
    Scale.PIXELS: "[32, 240, 192, 432]",
    Scale.RESIZED: "[13, 98, 76, 176]",
    Scale.GRID: '{"bbox_2d": [50, 500, 300, 900]}',
    Scale.GRID_YX: "[500, 50, 900, 300]",
    Scale.UNIT: "(0.05, 0.5, 0.3, 0.9)",
}


def pair(target: tuple[int, int] = SIZE, source: tuple[int, int] = SIZE) -> ImagePair:
    """Return a box on an image, and another place on another."""
    images = question("q", picture(size=target)), question("q", picture(size=source))
    wide, high = source[0] / SIZE[0], source[1] / SIZE[1]
    other = (330 * wide, 250 * high, 630 * wide, 470 * high)
    return ImagePair(*images, boxes=(BOX, other))


class Processor:
    """A processor that resizes every image to a fixed size, or cuts it into tiles."""

    class image_processor:  # noqa: N801 - an instance would do the same
        patch_size = 14

        def __new__(cls, images: Any, return_tensors: str) -> Any:
            import torch

            (image,) = images
            wide, high = RESIZED_SIZE if image.size == SIZE else (140, 140)
            return {"image_grid_thw": torch.tensor([[1, high // 14, wide // 14]])}


@pytest.mark.parametrize("scale", Scale)
def test_one_box_on_every_scale(scale: Scale) -> None:
    (output,) = with_frames([pair()], scale, Processor)
    for answers in Scale:
        assert output.says(SPELLED[answers], source=False) == (answers is scale)
        assert not output.says(SPELLED[answers], source=True)
    assert output.alike(SPELLED[scale], SPELLED[scale])


@given(
    st.sampled_from(Scale),
    st.tuples(*[st.integers(0, 400)] * 2), st.tuples(*[st.integers(1, 400)] * 2),
    st.tuples(*[st.integers(28, 3000)] * 2), st.tuples(*[st.integers(28, 3000)] * 2),
)  # fmt: skip
def test_a_frame_brings_back_what_it_was_made_of(
    scale: Scale, corner: Any, sides: Any, size: Any, displayed_size: Any
) -> None:
    frame = frame_of(scale, size, displayed_size)
    box = (corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1])
    across, down = frame.width / size[0], frame.height / size[1]
    output = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    if scale is Scale.GRID_YX:
        output = (output[1], output[0], output[3], output[2])
    assert frame.on(output, size) == pytest.approx(box)
    assert iou(frame.on(output, size), box) == pytest.approx(1)


def test_the_images_may_differ_in_size() -> None:
    """A swapped answer counts on the target's tokens, an answer about the source on its own."""
    (output,) = with_frames([pair(source=(1280, 960))], Scale.RESIZED, Processor)
    assert output.says(SPELLED[Scale.RESIZED], source=False)
    entries = [330 / 640, 250 / 480, 630 / 640, 470 / 480]
    on_target = [x * side for x, side in zip(entries, RESIZED_SIZE * 2, strict=True)]
    on_source = [x * side for x, side in zip(entries, (140, 140) * 2, strict=True)]
    assert output.says(str(on_target), source=True)
    assert output.says(str(on_source), source=True, about_source=True)
    assert not output.says(str(on_source), source=True)


def test_a_resized_source_takes_its_box_along() -> None:
    (output,) = resized([pair(source=(1280, 960))])
    assert output.source.images[0].size == SIZE
    assert output.boxes == (BOX, (330, 250, 630, 470))
    (same,) = resized([pair()])
    assert same.boxes == pair().boxes


def test_every_known_scale_is_a_family_s() -> None:
    types = {tiny.model_type for tiny in FAMILIES.values()}
    known_names = types & SCALES.keys()
    assert {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "internvl"} <= known_names
    assert SCALES["qwen2_5_vl"] is Scale.RESIZED
    assert SCALES["qwen2_vl"] is SCALES["qwen3_vl"] is Scale.GRID


def test_tiles_have_no_resized_image(tmp_path: Path) -> None:
    processor = load_processor(save_whole("llava_next", tmp_path))
    with pytest.raises(ExecutionError, match="cuts images into tiles"):
        with_frames([pair()], Scale.RESIZED, processor)
    (output,) = with_frames([pair()], Scale.GRID, processor)
    assert output.frames == (Frame(1000, 1000), Frame(1000, 1000))


# Sizes


@pytest.mark.parametrize(
    "family", ["qwen2_5_vl", "glm4v", "gemma3", "llava", "llava_next", "internvl"]
)
def test_shrunk_images_are_counted(family: str, tmp_path: Path) -> None:
    """By arithmetic, and as the processor itself shows them."""
    folder = save_whole(family, tmp_path)
    sizes = [(28, 28), (56, 56), (224, 224), (300, 200), (640, 480), (400, 90)]
    requests = suite(Metric.VISION, *(question(str(s), picture(size=s)) for s in sizes))
    asks = list(questions([requests], PLAIN, Generation()))  # blank images are not counted
    processor = load_processor(folder)
    displayed = {size: output_size(processor, size) for size in sizes}
    small = [s for s, t in displayed.items() if t and t[0] * t[1] < 0.9 * s[0] * s[1]]
    shrinkage = find_shrinkage(folder, asks)
    if family in ("llava_next", "internvl"):  # tiles: nothing is said
        assert shrinkage is None
        return
    assert shrinkage is not None
    assert small
    assert (shrinkage.count, shrinkage.total) == (len(small), len(sizes))
    assert (shrinkage.largest, shrinkage.output) == ((640, 480), displayed[640, 480])
    assert f"shrinks {len(small)} of 6 images, the largest from 640x480 to" in shrinkage.note
    assert find_shrinkage(folder, asks[:1]) is None or family in ("gemma3", "llava")


def test_the_limit_is_named() -> None:
    note = Shrinkage("Qwen2VLImageProcessor", 50176, 2, 3, (640, 640), (224, 224)).note
    assert note == (
        "The model's own Qwen2VLImageProcessor (at most 50,176 pixels) shrinks 2 of 3 images, the "
        "largest from 640x640 to 224x224 pixels."
    )


# Pairs


def test_a_model_that_knows_no_pair_is_told() -> None:
    def swapped_row(layer: int | None, known_names: bool | None) -> Swapped:
        return Swapped(pair(), layer, "", False, False, None, known_names)

    assert "none of the 2 pairs" in unknown_note(
        [swapped_row(None, False), swapped_row(None, None), swapped_row(1, True)]
    )
    assert unknown_note([swapped_row(None, False), swapped_row(None, True)]) == ""
    assert unknown_note([]) == ""


def test_a_run_says_scale_sizes_and_what_is_not_known(tmp_path: Path) -> None:
    """From the command line, on the specimen, which knows nothing of these images."""
    folder = tmp_path / "pairs" / "grounding"
    folder.mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        (folder / name).write_bytes(picture(colour, (384, 384)).data)
    meta = {"target_bbox_xyxy": [10, 10, 90, 90], "source_bbox_xyxy": [200, 200, 300, 300]}
    row = {"id": "1", "target_image": "a.png", "source_image": "b.png", "prompt": "Where?",
           "meta": meta}  # fmt: skip
    (folder / "data.jsonl").write_text(json.dumps(row))
    model = path("rl")
    for boxes, scale, reason in (
        ((), "resized", "as qwen2_5_vl answers"), (("--boxes", "grid-1000"), "grid-1000", "--boxes")
    ):  # fmt: skip
        out = tmp_path / scale
        done = call(tmp_path, "probe", "vision-swap", model, "--pairs", folder.parent, "--out", out,
                    "--layers", "0", "--max-new-tokens", 4, *boxes)  # fmt: skip
        summary = json.loads((out / "run.json").read_text())
        assert summary["boxes"] == scale
        output = done.stderr
        assert f"on the scale '{scale}'" in output
        assert reason in output
        assert "none of the 1 pairs" in output
        assert "shrinks 2 of 2 images, the largest from 384x384 to 196x196 pixels" in output
        assert [note in output for note in summary["notes"]] == [True] * 3


def test_an_evaluation_says_what_was_shrunk(tmp_path: Path) -> None:
    rows = [{"id": name, "prompt": "?", "answer": "7", "image": f"{name}.png"} for name in "ab"]
    for name, size in (("a", (1500, 1000)), ("b", (84, 84))):
        (tmp_path / f"{name}.png").write_bytes(picture(size=size).data)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suite.yaml").write_text("name: s\nrows: rows.jsonl\nmax_new_tokens: 2\n")
    for _ in range(2):  # the second time everything is there already
        done = call(tmp_path, "eval", path("rl"), "--suite", "suite.yaml", "--out", "run")
        assert "shrinks 1 of 2 images, the largest from 1175x783 to 252x168" in done.stdout
    limit, note = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]
    assert "max_pixels (921,600) shrinks 1 of 2 images" in limit
    assert "the largest from 1500x1000 to 1175x783 pixels" in limit
    assert "(at most 50,176 pixels)" in note
