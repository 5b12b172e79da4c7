"""Attention shares against the weights that eager attention returns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from surgery.errors import ExecutionError
from surgery.intervene import Decoder
from surgery.intervene.attention import KINDS, Regions, TokenKind, _masked, kinds_of, observed
from tests.intervene.made import IMAGES, TEXTS, VISION, build

LAYERS = 4
LONG = [5, 9, 20, 33, 34, 35, 36, 37, 50, 51, 52, 53]


def look(output, inputs, response: int = 6, **more):
    ids = inputs["input_ids"][0]
    kinds = kinds_of(ids, output.model.config.image_token_id, len(ids) - response)
    spans = torch.zeros(3, len(ids), dtype=torch.bool)
    spans[0, -response:] = True
    spans[1, -response : -response // 2] = True
    regions = Regions(kinds, spans)
    decoder = Decoder.of(output.model)
    with torch.inference_mode(), observed(output.model, decoder, regions, **more) as result:
        logits = output.model(**inputs).logits
    return result, regions, logits


@pytest.mark.parametrize("family", VISION)
def test_shares_are_those_of_eager_weights(family: str) -> None:
    output = build(family, LAYERS)
    inputs = output.inputs([LONG], [(1, 2, 3)])
    with torch.inference_mode():
        plain = output.model(**inputs).logits
    assert output.model.config.get_text_config()._attn_implementation == "sdpa"
    result, regions, logits = look(output, inputs, chunk=4 * 4 * 18 * 4)  # two queries at a time
    assert torch.equal(logits, plain)
    output.model.set_attn_implementation("eager")
    with torch.inference_mode():
        weights = list(output.model(**inputs, output_attentions=True).attentions)
    for layer in range(LAYERS):
        if result.shares[layer].isnan().all():
            assert family.startswith("qwen3_5")  # linear attention
            continue
        item = weights.pop(0)[0]
        for span in (0, 1):
            rows = item[:, regions.spans[span]]
            for place in range(len(KINDS)):
                expected = rows[..., regions.kinds == place].sum(-1).mean(1)
                torch.testing.assert_close(
                    result.shares[layer, :, span, place], expected, rtol=1e-4, atol=2e-6
                )
            entropy = torch.special.entr(rows).sum(-1).mean(1)
            torch.testing.assert_close(
                result.entropy[layer, :, span], entropy, rtol=1e-4, atol=1e-5
            )
        torch.testing.assert_close(
            result.shares[layer, :, :2].sum(-1), torch.ones(item.shape[0], 2), rtol=0, atol=1e-5
        )
        assert result.shares[layer, :, 2].isnan().all()  # a span without a token
    again, _, _ = look(output, inputs)  # eager, in one chunk
    torch.testing.assert_close(again.shares, result.shares, equal_nan=True, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("window", [None, 1, 3, 9])
def test_without_a_mask_a_query_sees_what_is_before_it_and_in_its_window(
    window: int | None,
) -> None:
    part, places = torch.tensor([0, 2, 5]), torch.arange(7)
    masked = _masked(torch.zeros(2, 3, 7), None, part, places, window)
    for row, query in enumerate(part.tolist()):
        first = 0 if window is None else max(0, query - window + 1)
        calls = [first <= key <= query for key in range(7)]
        assert (masked[:, row] == 0).tolist() == [calls] * 2


def test_nothing_is_left_behind() -> None:
    output = build("llava", LAYERS)
    inputs = output.inputs([LONG], [(1, 2, 2)])
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    look(output, inputs)
    with pytest.raises(ExecutionError, match="one whole sequence at a time"):
        look(output, output.inputs(TEXTS, IMAGES))
    assert output.model.config.get_text_config()._attn_implementation == "sdpa"
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


def test_other_models_are_not_touched() -> None:
    """One of the same class runs, and another is observed, in the block of the first."""
    output, other = build("llava", LAYERS), build("llava", LAYERS)
    inputs = output.inputs([LONG], [(1, 2, 3)])
    ids = inputs["input_ids"][0]
    kinds = kinds_of(ids, output.model.config.image_token_id, len(ids) - 6)
    spans = torch.zeros(1, len(ids), dtype=torch.bool)
    spans[0, -6:] = True
    regions = Regions(kinds, spans)
    alone, _, plain = look(output, inputs)
    with (
        torch.inference_mode(),
        observed(output.model, Decoder.of(output.model), regions) as result,
    ):
        assert other.model.config.get_text_config()._attn_implementation == "sdpa"
        assert torch.equal(other.model(**inputs).logits, plain)
        within, _, _ = look(other, inputs)
        output.model(**inputs)
        more = other.inputs(TEXTS, IMAGES)  # padded rows: observed, they would be refused
        other.model(**more)
    torch.testing.assert_close(within.shares, alone.shares, equal_nan=True)
    torch.testing.assert_close(result.shares[:, :, 0], alone.shares[:, :, 0])


def test_attention_that_goes_another_way_is_refused() -> None:
    output = build("llava", LAYERS)
    regions = Regions(torch.zeros(4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool))
    with (
        pytest.raises(ExecutionError, match="attention interface"),
        observed(output.model, Decoder.of(output.model), regions),
    ):
        pass


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.data())
def test_every_token_is_of_one_kind(ids: list[int], data: st.DataObject) -> None:
    prompt = data.draw(st.integers(1, len(ids)))
    kinds = kinds_of(torch.tensor(ids), 3, prompt)
    for place, (token, kind) in enumerate(zip(ids, kinds.tolist(), strict=True)):
        expected = TokenKind.RESPONSE
        if place < prompt:
            expected = TokenKind.IMAGE if token == 3 else TokenKind.TEXT
        assert KINDS[kind] is (TokenKind.SINK if place == 0 else expected)


def test_memory_does_not_grow_with_the_square_of_the_length() -> None:
    """Never are more weights in memory than a chunk allows."""
    output = build("llava", 2, max_position_embeddings=4096)
    text = (LONG * 200)[:2000]
    largest = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest.append(out.untyped_storage().nbytes())
            return out

    with Watch():
        result, _, _ = look(
            output, output.inputs([text], [(1, 2, 2)]), response=1500, chunk=1 << 20
        )
    assert torch.allclose(result.shares[:, :, 0].sum(-1), torch.ones(()))
    assert max(largest) < 4 << 20  # all weights of one layer would be 4 * 4 * 2004 * 2004: 64 MB
