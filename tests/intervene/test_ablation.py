"""Layers off, all in one batch: what one at a time gives, and what removing the layer gives."""

from __future__ import annotations

import copy

import pytest
import torch

from surgery.errors import ArchitectureError, ExecutionError
from surgery.intervene import Ablation, Branch, Decoder, Intact, Off, seen_once
from tests.intervene.made import IMAGES, TEXTS, VISION, build, tiled

LAYERS = 4
DEEPSTACK = {"qwen3_vl": 2}  # features of the vision tower enter behind the first layers


def all_offs() -> list[Off | None]:
    return [None, *(Off(layer, branch) for branch in Branch for layer in range(LAYERS))]


@pytest.fixture(params=VISION)
def model_case(request: pytest.FixtureRequest):
    return build(request.param, LAYERS)


def hooks_of(model: torch.nn.Module) -> int:
    """Hooks in the decoder's layers; transformers itself keeps some in vision towers."""
    inside = [module for layer in Decoder.of(model).layers for module in layer.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in inside)


def test_one_batch_says_what_one_at_a_time_says(model_case) -> None:
    decoder, inputs = Decoder.of(model_case.model), model_case.inputs(TEXTS, IMAGES)
    offs, intact = all_offs(), model_case.say(inputs)
    with seen_once(model_case.model, len(offs)), Ablation(offs).applied(decoder):
        together = model_case.say(tiled(inputs, len(offs)))
    assert together[: len(TEXTS)] == intact
    for block, off in enumerate(offs):
        for row, (text, image) in enumerate(zip(TEXTS, IMAGES, strict=True)):
            with Ablation([off]).applied(decoder):
                (alone,) = model_case.say(model_case.inputs([text], [image]))
            assert together[block * len(TEXTS) + row] == alone, (off, row)
    assert (
        sum(output != intact[i % len(TEXTS)] for i, output in enumerate(together)) > len(offs) / 2
    )
    assert hooks_of(model_case.model) == 0


def test_sharing_changes_nothing_but_the_work(model_case) -> None:
    decoder, inputs = Decoder.of(model_case.model), tiled(model_case.inputs(TEXTS, IMAGES), 13)
    rows: list[int] = []
    count = decoder.layers[1].register_forward_hook(lambda *call: rows.append(len(call[1][0])))
    results = []
    for sharing in (True, False):
        with Ablation(all_offs(), sharing=sharing).applied(decoder), torch.inference_mode():
            results.append(model_case.model(**inputs, use_cache=False).logits)
    count.remove()
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
    # At layer 1: the intact row, what was off in layer 0 (three ways), and two branches of layer 1.
    assert rows == [6 * len(TEXTS), 13 * len(TEXTS)]


@pytest.mark.parametrize(
    "family", ["qwen2_5_vl", "qwen3_vl", "llava", "internvl", "gemma3", "glm4v"]
)
def test_a_layer_off_is_a_layer_removed(family: str) -> None:
    output = build(family, LAYERS)
    inputs = output.inputs(TEXTS, IMAGES)
    offs = [Off(layer) for layer in range(LAYERS)]
    with seen_once(output.model, LAYERS), Ablation(offs).applied(Decoder.of(output.model)):
        together = output.say(tiled(inputs, LAYERS))
    for layer in range(DEEPSTACK.get(family, 0), LAYERS):
        removed = type(output)(without(output.model, layer), family)
        rows = slice(layer * len(TEXTS), (layer + 1) * len(TEXTS))
        assert together[rows] == removed.say(inputs), layer


def without(model, layer: int):
    """A copy that has one decoder layer less."""
    shorter = copy.deepcopy(model)
    text = shorter.model.language_model
    del text.layers[layer]
    for config in {id(c): c for c in (text.config, shorter.config.get_text_config())}.values():
        config.num_hidden_layers = len(text.layers)
        if getattr(config, "layer_types", None):
            config.layer_types = [*config.layer_types[:layer], *config.layer_types[layer + 1 :]]
    for index, module in enumerate(text.layers):
        module.self_attn.layer_idx = index
    return shorter


def test_branches_add_up() -> None:
    """Off in both branches is off as a whole, in a layer whose branches follow one another."""
    output = build("qwen2_5_vl", LAYERS)
    decoder, inputs = Decoder.of(output.model), output.inputs(TEXTS, IMAGES)

    class Both(Ablation):
        def _blocks(self, off: Off) -> list[int]:
            return [0] if off.layer == 2 and off.branch is not Branch.LAYER else []

    with Both([Off(2, Branch.ATTENTION)]).applied(decoder), torch.inference_mode():
        both = output.model(**inputs, use_cache=False).logits
    with Ablation([Off(2)]).applied(decoder), torch.inference_mode():
        whole = output.model(**inputs, use_cache=False).logits
    torch.testing.assert_close(both, whole, rtol=0, atol=0)


def test_the_vision_tower_runs_once(model_case) -> None:
    calls = []
    holder = model_case.model.base_model
    names = ("visual", "vision_tower", "vision_model")
    tower = next(getattr(holder, name) for name in names if hasattr(holder, name))
    hook = tower.register_forward_hook(lambda *_: calls.append(1))
    pixels = []
    first = next(p for p in tower.modules() if isinstance(p, (torch.nn.Conv2d, torch.nn.Conv3d)))
    shape = first.register_forward_hook(lambda *call: pixels.append(len(call[2])))
    inputs = model_case.inputs(TEXTS, IMAGES)
    model_case.say(inputs, 1)
    with seen_once(model_case.model, 5), Intact(5).applied(Decoder.of(model_case.model)):
        model_case.say(tiled(inputs, 5), 1)
    hook.remove()
    shape.remove()
    assert len(calls) == 2
    assert pixels[0] == pixels[1]  # not five times as many
    assert "get_image_features" not in vars(model_case.model.base_model)


def test_hooks_are_gone_after_an_exception() -> None:
    output = build("llava", LAYERS)
    decoder = Decoder.of(output.model)
    with (
        pytest.raises(RuntimeError, match="mid-way"),
        seen_once(output.model, 13),
        Ablation(all_offs()).applied(decoder),
    ):
        assert hooks_of(output.model) == 4 * LAYERS
        raise RuntimeError("mid-way")
    assert hooks_of(output.model) == 0
    assert "get_image_features" not in vars(output.model.base_model)


def test_hooks_are_gone_when_they_cannot_be_set() -> None:
    output = build("llava", LAYERS)

    class Broken(Ablation):
        def _inside(self, layer: int, decoder: Decoder):
            if layer == 2:
                raise ExecutionError("no")
            return super()._inside(layer, decoder)

    with (
        pytest.raises(ExecutionError),
        Broken(all_offs()).applied(Decoder.of(output.model)),
    ):
        pass
    assert hooks_of(output.model) == 0


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="no layer"):
        model = torch.nn.Linear(2, 2)
        model.config = build("llava", 2).model.config
        Decoder.of(model)
