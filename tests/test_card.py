"""The model card: valid for the Hub, and honest about parents."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import ModelCardData
from huggingface_hub.repocard import RepoCard

from surgery.card import model_card
from surgery.checkpoint.source import AdapterReference
from tests.execute.merging import plan_of, recipe_text

STEPS = "  - transplant: language[mid].mlp\n    from: rl"


@pytest.fixture
def plan(pair):
    return plan_of(recipe_text(pair("qwen2_5_vl"), STEPS))


def data(text):
    card = RepoCard(text, ignore_metadata_errors=False)
    assert isinstance(card.data, object)
    return ModelCardData(**card.data.to_dict())


def test_local_parents_are_no_repositories(plan):
    text = model_card(plan, "name: test")
    result = data(text)
    assert result.base_model is None
    assert result.pipeline_tag == "image-text-to-text"
    assert result.library_name == "transformers"
    assert "language layer 1, mlp: copy from rl (3 tensors)" in text
    assert all(info.fingerprint[:16] in text for info in plan.models.values())


def test_parents_on_the_hub_are_named(plan):
    models = dict(plan.models)
    models["in"] = replace(models["in"], revision="c" * 40)
    models["rl"] = replace(models["rl"], revision="d" * 40 + " + " + "e" * 40)
    references = {
        **plan.recipe.models,
        "in": "hf://org/cold-start@main",
        "rl": AdapterReference("org/base", "org/lora@v1"),
    }
    text = replace(plan, models=models, recipe=replace(plan.recipe, models=references))
    result = data(model_card(text, "name: test"))
    assert result.base_model == ["org/cold-start", "org/base", "org/lora"]


def test_text_models_have_their_own_task(pair):
    plan = plan_of(recipe_text(pair("llama"), STEPS))
    assert data(model_card(plan, "name: test")).pipeline_tag == "text-generation"
