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
OTHER_IMAGES = [(seed + 10, high, wide) for seed, high, wide in IMAGES]
SWAPPABLE = [family for family in VISION if not family.startswith("qwen3_5")]


@pytest.fixture(params=SWAPPABLE)
def model_case(request: pytest.FixtureRequest):
    return build(request.param, LAYERS)


def looked(output, source):
    watch = Watch(ImageTokens.of(output.model, source))
    with watch.applied(Decoder.of(output.model)), torch.inference_mode():
        output.model(**source, use_cache=False)
    return watch.seen


def swapped(output, target, source, layers, mode) -> list[list[int]]:
    calls = looked(output, source).on(ImageTokens.of(output.model, target))
    swap = VisionSwap(layers, mode, calls)
    with seen_once(output.model, len(layers)), swap.applied(Decoder.of(output.model)):
        return output.say(tiled(target, len(layers)))


def plainly(created, target, source, layer: int, mode: Mode) -> list[int]:
    """The reference's procedure: capture the source's keys and values, then one layer at a time."""
    token = created.model.config.image_token_id
    text = "text_model" if created.family in ("idefics3", "smolvlm") else "language_model"
    layers = getattr(created.model.model, text).layers
    stored: dict[tuple[int, str], torch.Tensor] = {}
    handles = []
    position = source["input_ids"][0] == token
    for index, module in enumerate(layers):
        for name in ("k_proj", "v_proj"):

            def keep(_, __, output, place=(index, name)):
                stored.setdefault(place, output[0, position])

            handles.append(getattr(module.self_attn, name).register_forward_hook(keep))
    with torch.inference_mode():
        created.model(**source)
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
                    output[0, to] = stored[place]
                return output

            handles.append(getattr(module.self_attn, name).register_forward_hook(give))
    (answers,) = created.say(target)
    for handle in handles:
        handle.remove()
    return answers


@pytest.mark.parametrize("mode", Mode)
def test_one_batch_says_what_the_plain_procedure_says(model_case, mode: Mode) -> None:
    together = swapped(
        model_case,
        model_case.inputs(TEXTS, IMAGES),
        model_case.inputs(TEXTS, OTHER_IMAGES),
        [None, *range(LAYERS)],
        mode,
    )
    differ = 0
    for row, (text, image, other) in enumerate(zip(TEXTS, IMAGES, OTHER_IMAGES, strict=True)):
        target, source = model_case.inputs([text], [image]), model_case.inputs([text], [other])
        assert together[row] == model_case.say(target)[0]
        for layer in range(LAYERS):
            output = together[(layer + 1) * len(TEXTS) + row]
            assert output == plainly(model_case, target, source, layer, mode), (layer, row)
            differ += output != together[row]
    assert differ > 0


def test_from_the_first_layer_on_it_answers_as_the_source_does(model_case) -> None:
    target, source = model_case.inputs(TEXTS, IMAGES), model_case.inputs(TEXTS, OTHER_IMAGES)
    assert model_case.say(target) != model_case.say(source)
    assert swapped(model_case, target, source, [0], Mode.FROM) == model_case.say(source)


@pytest.mark.parametrize("mode", Mode)
def test_an_image_swapped_with_itself_changes_nothing(model_case, mode: Mode) -> None:
    target = model_case.inputs(TEXTS, IMAGES)
    output = swapped(model_case, target, target, list(range(LAYERS)), mode)
    assert output == model_case.say(target) * LAYERS
    assert hooks_of(model_case.model) == 0


def test_only_the_last_is_from_the_last() -> None:
    output = build("qwen2_5_vl", LAYERS)
    target, source = output.inputs(TEXTS, IMAGES), output.inputs(TEXTS, OTHER_IMAGES)
    last = [LAYERS - 1]
    assert swapped(output, target, source, last, Mode.ONLY) == swapped(
        output, target, source, last, Mode.FROM
    )


def test_decoding_reads_what_prefill_kept() -> None:
    """No hook acts on new tokens, so their own keys are never touched."""
    output = build("llava", LAYERS)
    target, source = output.inputs(TEXTS, IMAGES), output.inputs(TEXTS, OTHER_IMAGES)
    calls = looked(output, source).on(ImageTokens.of(output.model, target))
    swap = VisionSwap([0], Mode.FROM, calls)
    steps = []
    give = swap._give
    swap._give = lambda *args: steps.append(give(*args) is not None) or give(*args)
    with swap.applied(Decoder.of(output.model)):
        output.say(target, 3)
    assert steps == [True] * 2 * LAYERS + [False] * 2 * LAYERS * 2


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "glm4v"])
def test_grids_of_different_size_are_interpolated(family: str) -> None:
    output = build(family, LAYERS)
    target = output.inputs(TEXTS, [(1, 2, 4), (2, 3, 3), (3, 2, 2)])
    source = output.inputs(TEXTS, [(1, 4, 2), (2, 1, 2), (3, 2, 2)])
    assert image_grids(output.model.config.to_dict(), source) == [(4, 2), (1, 2), (2, 2)]
    answers = swapped(output, target, source, [None, 0], Mode.FROM)
    assert answers[:3] == output.say(target)
    assert answers[5] == answers[2]  # the same image
    assert answers[3:] != answers[:3]


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
    (result,) = fitted([values], tokens(*source), tokens(*target))
    torch.testing.assert_close(result, torch.cat([plane(*grid) for grid in target]))


def test_images_without_a_plane_must_be_alike() -> None:
    nowhere = torch.empty(0, dtype=torch.long)
    five, four = (ImageTokens(nowhere, nowhere, (n,), (None,)) for n in (5, 4))
    with pytest.raises(ExecutionError, match=r"one image has 5 tokens and the other 4.*resize"):
        fitted([torch.zeros(5, 2)], five, four)
    (same,) = fitted([torch.zeros(5, 2)], five, five)
    assert same.shape == (5, 2)


def test_linear_attention_is_refused() -> None:
    output = build("qwen3_5", LAYERS)
    with pytest.raises(ArchitectureError, match=r"layers 0, 1, 2 have no k_proj and v_proj"):
        looked(output, output.inputs(TEXTS, OTHER_IMAGES))
    assert hooks_of(output.model) == 0
