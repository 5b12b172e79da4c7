"""Frozen regions: by selectors, in every family, in every trainer's format."""

from __future__ import annotations

import re
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn

from surgery.arch.site import Component
from surgery.errors import RecipeError, SurgeryError
from surgery.recipe import parse_selector
from surgery.train.export import as_lora, as_regex
from surgery.train.model import skeleton
from surgery.train.region import FrozenRegion, freeze, frozen_region
from tests.families import TINY, build_tiny

SELECTORS = ("language[late]", "vision", "language[1:3].mlp", "embedding", "norm, language[0]")


@pytest.fixture(scope="module", params=sorted(TINY))
def empty(request: pytest.FixtureRequest) -> Any:
    """A family's model on the meta device, as the command makes it."""
    config = build_tiny(request.param).config.to_dict()
    return skeleton(config)


def regions(model: Any) -> list[FrozenRegion]:
    results = []
    for text in SELECTORS:
        try:
            results.append(frozen_region(model, [parse_selector(text)]))
        except RecipeError as error:
            assert "matches no tensor" in str(error)  # a text-only family has no vision
    assert len(results) >= 4
    return results


def test_the_regex_finds_exactly_what_is_frozen(empty: Any) -> None:
    names = [name for name, _ in empty.named_parameters()]
    for region in regions(empty):
        pattern = re.compile(as_regex(region.frozen, region.trained))
        assert [n for n in names if pattern.search(n)] == list(region.frozen)
        wrapped = [f"module.{name}" for name in names]
        assert [n for n in wrapped if pattern.search(n)] == [f"module.{n}" for n in region.frozen]


def test_peft_adapts_the_linear_layers_that_learn_and_no_other(empty: Any) -> None:
    """By PEFT's own rule for which modules it takes."""
    modules = dict(empty.named_modules())
    for region in regions(empty):
        config = peft.LoraConfig(**as_lora(empty, region))
        taken = {name for name in modules if name and check_target_module_exists(config, name)}
        sites = region.architecture.sites
        expected = {
            name
            for name, module in modules.items()
            if isinstance(module, nn.Linear)
            and f"{name}.weight" in region.trained
            and sites[f"{name}.weight"].component is not Component.HEAD
        }
        assert taken == expected


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "qwen3_vl", "gemma3"])
def test_an_adapter_made_from_it_trains_that_and_leaves_the_rest(family: str) -> None:
    """The model itself, wrapped by PEFT and stepped once."""
    model = build_tiny(family)
    region = frozen_region(model, [parse_selector("vision, projector, language[late]")])
    lora = as_lora(model, region)
    assert lora["layers_to_transform"] == [0, 1]
    wrapped = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **lora))
    learning = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    layers = {int(match[1]) for name in learning if (match := re.search(r"layers\.(\d+)\.", name))}
    assert learning and layers == {0, 1}
    assert all("lora_" in name and "vision" not in name and "visual" not in name
               for name in learning)  # fmt: skip


def test_names_freeze_a_model_of_plain_transformers() -> None:
    model = build_tiny("qwen2_5_vl").train()
    region = frozen_region(
        model, [parse_selector("vision, language[mid]"), parse_selector("embedding")]
    )
    freeze(model, region)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=0.01, weight_decay=0.5)
    tokens = torch.arange(3, 20)[None]
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}
    assert changed.isdisjoint(region.frozen)
    assert {n for n in region.trained if "visual" not in n} == changed


def test_frozen_and_trained_share_nothing_and_leave_nothing_out(empty: Any) -> None:
    names = [name for name, _ in empty.named_parameters()]
    for region in regions(empty):
        assert sorted([*region.frozen, *region.trained]) == sorted(names)
        other = frozen_region(empty, [parse_selector("language[late]")], inverse=True)
        same = frozen_region(empty, [parse_selector("language[late]")])
        assert set(other.trained) <= set(same.frozen)


def test_a_tied_head_goes_with_the_embedding_and_it_says_so() -> None:
    model = build_tiny(
        "qwen2_5_vl", tie_word_embeddings=True, text_config={"tie_word_embeddings": True}
    )
    for text in ("embedding", "head"):
        region = frozen_region(model, [parse_selector(text)])
        assert region.frozen == ("model.language_model.embed_tokens.weight",)
        assert "head (lm_head.weight) are one tensor (tied), so neither learns" in region.notes()[0]
    learning = frozen_region(model, [parse_selector("head")], inverse=True)
    assert learning.trained == ("model.language_model.embed_tokens.weight",)
    assert "both learn" in learning.notes()[0]
    assert not frozen_region(model, [parse_selector("embedding, head")]).notes()
    untied = build_tiny("qwen2_5_vl")
    assert not frozen_region(untied, [parse_selector("embedding")]).notes()


def test_freezing_everything_is_refused() -> None:
    model = build_tiny("qwen2_5_vl")
    with pytest.raises(RecipeError, match="leaves no parameter to train"):
        frozen_region(model, [parse_selector("*")])


def test_an_unknown_model_type_is_refused() -> None:
    with pytest.raises(SurgeryError, match="no model of type 'nosuch'"):
        skeleton({"model_type": "nosuch"})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_set_of_names_has_a_regex_of_its_own(data: st.DataObject) -> None:
    part = st.sampled_from(["a", "b", "layers", "0", "1", "10", "q+k"])
    name = st.lists(part, min_size=1, max_size=4).map(lambda parts: ".".join([*parts, "weight"]))
    names = data.draw(st.lists(name, min_size=2, max_size=12, unique=True))
    frozen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    rest = [n for n in names if n not in frozen]
    pattern = re.compile(as_regex(frozen, rest))
    assert {n for n in names if pattern.search(n)} == set(frozen)
