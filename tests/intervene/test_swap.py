"""Another image's keys and values: laws, and a plain procedure of one layer at a time as oracle."""

from __future__ import annotations

import pytest
import torch

from surgery.arch.vision import image_grids
from surgery.errors import ArchitectureError, ExecutionError
from surgery.intervene import Decoder, ImageTokens, Mode, VisionSwap, Watch, seen_once
from surgery.intervene.images import fitted
from tests.intervene.made import IMAGES, TEXTS, VISION, build, tiled
from tests.intervene.test_ablation import hooks_of

LAYERS = 4
OTHERS = [(seed + 10, high, wide) for seed, high, wide in IMAGES]
SWAPPABLE = [family for family in VISION if not family.startswith("qwen3_5")]


@pytest.fixture(params=SWAPPABLE)
def made(request: pytest.FixtureRequest):
    return build(request.param, LAYERS)


def looked(made, source):
    watch = Watch(ImageTokens.of(made.model, source))
    with watch.applied(Decoder.of(made.model)), torch.inference_mode():
        made.model(**source, use_cache=False)
    return watch.seen


def swapped(made, target, source, layers, mode) -> list[list[int]]:
    seen = looked(made, source).on(ImageTokens.of(made.model, target))
    swap = VisionSwap(layers, mode, seen)
    with seen_once(made.model, len(layers)), swap.applied(Decoder.of(made.model)):
        return made.say(tiled(target, len(layers)))


def plainly(made, target, source, layer: int, mode: Mode) -> list[int]:
    """The reference's procedure: capture the source's keys and values, then one layer at a time."""
    token = made.model.config.image_token_id
    text = "text_model" if made.family in ("idefics3", "smolvlm") else "language_model"
    layers = getattr(made.model.model, text).layers
    kept: dict[tuple[int, str], torch.Tensor] = {}
    handles = []
    at = source["input_ids"][0] == token
    for index, module in enumerate(layers):
        for name in ("k_proj", "v_proj"):

            def keep(_, __, output, place=(index, name)):
                kept.setdefault(place, output[0, at])

            handles.append(getattr(module.self_attn, name).register_forward_hook(keep))
    with torch.inference_mode():
        made.model(**source)
    for handle in handles:
        handle.remove()
    handles = []
    to = target["input_ids"][0] == token
    for index, module in enumerate(layers):
        if not (index == layer or (mode is Mode.FROM and index > layer)):
            continue
        for name in ("k_proj", "v_proj"):

            def give(_, __, output, place=(index, name)):
                if output.shape[1] > 1:
                    output = output.clone()
                    output[0, to] = kept[place]
                return output

            handles.append(getattr(module.self_attn, name).register_forward_hook(give))
    (said,) = made.say(target)
    for handle in handles:
        handle.remove()
    return said


@pytest.mark.parametrize("mode", Mode)
def test_one_batch_says_what_the_plain_procedure_says(made, mode: Mode) -> None:
    together = swapped(
        made, made.inputs(TEXTS, IMAGES), made.inputs(TEXTS, OTHERS), [None, *range(LAYERS)], mode
    )
    differ = 0
    for row, (text, image, other) in enumerate(zip(TEXTS, IMAGES, OTHERS, strict=True)):
        target, source = made.inputs([text], [image]), made.inputs([text], [other])
        assert together[row] == made.say(target)[0]
        for layer in range(LAYERS):
            said = together[(layer + 1) * len(TEXTS) + row]
            assert said == plainly(made, target, source, layer, mode), (layer, row)
            differ += said != together[row]
    assert differ > 0


def test_from_the_first_layer_on_it_answers_as_the_source_does(made) -> None:
    target, source = made.inputs(TEXTS, IMAGES), made.inputs(TEXTS, OTHERS)
    assert made.say(target) != made.say(source)
    assert swapped(made, target, source, [0], Mode.FROM) == made.say(source)


@pytest.mark.parametrize("mode", Mode)
def test_an_image_swapped_with_itself_changes_nothing(made, mode: Mode) -> None:
    target = made.inputs(TEXTS, IMAGES)
    said = swapped(made, target, target, list(range(LAYERS)), mode)
    assert said == made.say(target) * LAYERS
    assert hooks_of(made.model) == 0


def test_only_the_last_is_from_the_last() -> None:
    made = build("qwen2_5_vl", LAYERS)
    target, source = made.inputs(TEXTS, IMAGES), made.inputs(TEXTS, OTHERS)
    last = [LAYERS - 1]
    assert swapped(made, target, source, last, Mode.ONLY) == swapped(
        made, target, source, last, Mode.FROM
    )


def test_decoding_reads_what_prefill_kept() -> None:
    """No hook acts on new tokens, so their own keys are never touched."""
    made = build("llava", LAYERS)
    target, source = made.inputs(TEXTS, IMAGES), made.inputs(TEXTS, OTHERS)
    seen = looked(made, source).on(ImageTokens.of(made.model, target))
    swap = VisionSwap([0], Mode.FROM, seen)
    steps = []
    give = swap._give
    swap._give = lambda *args: steps.append(give(*args) is not None) or give(*args)
    with swap.applied(Decoder.of(made.model)):
        made.say(target, 3)
    assert steps == [True] * 2 * LAYERS + [False] * 2 * LAYERS * 2


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "glm4v"])
def test_grids_of_different_size_are_interpolated(family: str) -> None:
    made = build(family, LAYERS)
    target = made.inputs(TEXTS, [(1, 2, 4), (2, 3, 3), (3, 2, 2)])
    source = made.inputs(TEXTS, [(1, 4, 2), (2, 1, 2), (3, 2, 2)])
    assert image_grids(made.model.config.to_dict(), source) == [(4, 2), (1, 2), (2, 2)]
    said = swapped(made, target, source, [None, 0], Mode.FROM)
    assert said[:3] == made.say(target)
    assert said[5] == said[2]  # the same image
    assert said[3:] != said[:3]


def test_interpolation_is_the_plane_s() -> None:
    """A value that grows along rows and columns is met again, at the new places."""

    def plane(high: int, wide: int) -> torch.Tensor:
        rows = (torch.arange(high) + 0.5) / high
        columns = (torch.arange(wide) + 0.5) / wide
        grid = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([*grid, torch.ones(high, wide)], -1).reshape(high * wide, 3)

    def tokens(*grids: tuple[int, int]) -> ImageTokens:
        counts = tuple(high * wide for high, wide in grids)
        nowhere = torch.empty(0, dtype=torch.long)
        return ImageTokens(nowhere, nowhere, counts, grids)

    source, target = [(8, 6), (3, 3)], [(4, 3), (3, 3)]
    values = torch.cat([plane(*grid) for grid in source])
    (found,) = fitted([values], tokens(*source), tokens(*target))
    torch.testing.assert_close(found, torch.cat([plane(*grid) for grid in target]))


def test_images_without_a_plane_must_be_alike() -> None:
    nowhere = torch.empty(0, dtype=torch.long)
    five, four = (ImageTokens(nowhere, nowhere, (n,), (None,)) for n in (5, 4))
    with pytest.raises(ExecutionError, match=r"one image has 5 tokens and the other 4.*resize"):
        fitted([torch.zeros(5, 2)], five, four)
    (same,) = fitted([torch.zeros(5, 2)], five, five)
    assert same.shape == (5, 2)


def test_linear_attention_is_refused() -> None:
    made = build("qwen3_5", LAYERS)
    with pytest.raises(ArchitectureError, match=r"layers 0, 1, 2 have no k_proj and v_proj"):
        looked(made, made.inputs(TEXTS, OTHERS))
    assert hooks_of(made.model) == 0
