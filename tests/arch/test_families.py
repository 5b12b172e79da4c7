"""The proof: every tensor of every family has exactly one site, however it is spelled."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
import transformers
from safetensors import safe_open

from surgery.arch import FAMILIES as TABLE
from surgery.arch import ArchitectureWarning, Component, Module, resolve
from tests.families import FAMILIES, TINY, build_tiny, save_tiny, spell_v4

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from surgery.arch import Architecture

# These hold one tensor per expert on disk and all of them in one in memory.
FUSED_IN_MEMORY = {"mixtral", "qwen2_moe", "qwen3_moe", "qwen3_5_moe", "glm4v_moe"}
MULTIMODAL = {name for name, tiny in FAMILIES.items() if "vision_config" in tiny.config}
V4 = sorted(name for name, tiny in FAMILIES.items() if tiny.v4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each family's checkpoint, written once."""
    root, output = tmp_path_factory.mktemp("tiny"), {}

    def folder(family: str) -> Path:
        if family not in output:
            output[family] = save_tiny(family, root / family)
        return output[family]

    return folder


def read(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Configuration and tensor names of a checkpoint in one file."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        return json.loads((folder / "config.json").read_text()), list(file.keys())


def resolved(folder: Path) -> Architecture:
    return resolve(*read(folder))


def canonical(architecture: Architecture) -> set[str]:
    return {site.canonical for site in architecture.sites.values()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_exactly_one_site(family: str, saved: Any) -> None:
    config, names = read(saved(family))
    architecture = resolve(config, names)
    assert list(architecture.sites) == names
    assert len(set(architecture.sites.values())) == len(names)
    assert len(canonical(architecture)) == len(names)
    assert not [n for n, s in architecture.sites.items() if s.component is Component.OTHER]
    assert architecture.guessed == ()
    assert {architecture.names()[s] for s in architecture.sites.values()} == set(names)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_has_attention_mlp_and_nothing_unnamed(family: str, saved: Any) -> None:
    architecture = resolved(saved(family))
    modules: dict[tuple[Component, int], set[Module]] = {}
    for site in architecture.sites.values():
        if site.layer is not None:
            modules.setdefault((site.component, site.layer), set()).add(site.module)
    blocks = {Module.ATTENTION, Module.MLP, Module.NORM}
    assert all(module == blocks for module in modules.values()), modules


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_counts_are_the_configurations(family: str, saved: Any) -> None:
    config, names = read(saved(family))
    text, vision = config.get("text_config", config), config.get("vision_config", {})
    expected = {Component.LANGUAGE: text["num_hidden_layers"]}
    if family in MULTIMODAL:
        expected[Component.VISION] = vision.get("num_hidden_layers") or vision["depth"]
    assert dict(resolve(config, names).layers) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_the_model_are_all_there(family: str, saved: Any) -> None:
    architecture = resolved(saved(family))
    result = {site.component for site in architecture.sites.values()}
    expected = {Component.EMBEDDING, Component.LANGUAGE, Component.NORM}
    expected |= {Component.VISION, Component.PROJECTOR} if family in MULTIMODAL else set()
    expected |= set() if architecture.tied_head else {Component.HEAD}
    assert result == expected
    outside = {
        site.canonical
        for site in architecture.sites.values()
        if site.component in (Component.EMBEDDING, Component.NORM, Component.HEAD)
    }
    assert outside - {"head.other.lm_head.weight"} == {
        "embedding.embedding.embed_tokens.weight",
        "norm.norm.norm.weight",
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_head_is_what_transformers_does(family: str, saved: Any) -> None:
    model = TINY[family]()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert resolved(saved(family)).tied_head is tied


@pytest.mark.parametrize("family", V4)
def test_the_names_of_transformers_4_line_up(family: str, saved: Any, tmp_path: Path) -> None:
    now = resolved(saved(family))
    then = resolved(spell_v4(family, saved(family), tmp_path / "v4"))
    assert canonical(then) == canonical(now)
    assert then.layers == now.layers
    assert then.tied_head == now.tied_head


@pytest.mark.parametrize("family", V4)
def test_names_of_transformers_4_are_names_it_reads(
    family: str, saved: Any, tmp_path: Path
) -> None:
    folder = spell_v4(family, saved(family), tmp_path / "v4")
    assert set(read(folder)[1]) != set(TINY[family]().state_dict())
    model_class = getattr(transformers, FAMILIES[family].model_class)
    _, report = model_class.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


@pytest.mark.parametrize("family", FAMILIES)
def test_names_in_memory_line_up(family: str, saved: Any) -> None:
    config, _ = read(saved(family))
    on_disk = resolved(saved(family))
    model = TINY[family]()
    live = resolve(config, model.state_dict())
    assert live.guessed == ()
    assert live.layers == on_disk.layers
    fused = {s for s in live.sites.values() if "experts" in s.leaf.split(".")}
    if family in FUSED_IN_MEMORY:
        assert {s.leaf for s in fused} == {"experts.gate_up_proj", "experts.down_proj"}
        disk = {s for s in on_disk.sites.values() if "experts" not in s.leaf.split(".")}
        assert set(live.sites.values()) - fused == disk
    else:
        # A tied head has a name in memory and none on disk.
        head = {"head.other.lm_head.weight"} if on_disk.tied_head else set()
        assert canonical(live) - head == canonical(on_disk)
    assert set(dict(model.named_parameters())) <= set(live.sites)


@pytest.mark.parametrize("family", FAMILIES)
def test_bare_model_without_head_lines_up(family: str, saved: Any) -> None:
    config, _ = read(saved(family))
    model = TINY[family]()
    bare = resolve(config, model.base_model.state_dict())
    whole = resolve(config, model.state_dict())
    assert bare.guessed == ()
    assert canonical(bare) == canonical(whole) - {"head.other.lm_head.weight"}


@pytest.mark.parametrize("family", sorted(name for name in V4 if "vl" not in name))
def test_the_names_in_memory_of_4_52_to_4_57_line_up(family: str, saved: Any) -> None:
    config, _ = read(saved(family))
    live = resolve(config, TINY[family]().state_dict())
    spelled = []
    for name in live.sites:
        tower = re.sub(r"^model\.vision_tower\.", "model.vision_tower.vision_model.", name)
        spelled.append(re.sub(r"^model\.language_model\.", "model.language_model.model.", tower))
    assert canonical(resolve(config, spelled)) == canonical(live)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tiny_models_run(family: str) -> None:
    with torch.no_grad():
        logits = TINY[family]()(input_ids=torch.tensor([[1, 5, 6, 7]])).logits
    assert logits.shape == (1, 4, 96)
    assert torch.isfinite(logits).all()


def test_the_seed_decides_every_tensor() -> None:
    item, again = TINY["qwen2_5_vl"]().state_dict(), TINY["qwen2_5_vl"]().state_dict()
    other = build_tiny("qwen2_5_vl", seed=1).state_dict()
    assert all(torch.equal(item[name], again[name]) for name in item)
    assert not [name for name in item if torch.equal(item[name], other[name])]


def test_overrides_are_merged_key_by_key() -> None:
    model = build_tiny("qwen2_5_vl", tie_word_embeddings=True, text_config={"num_hidden_layers": 6})
    assert model.config.tie_word_embeddings
    assert model.config.text_config.num_hidden_layers == 6
    assert model.config.text_config.hidden_size == 32


@pytest.mark.parametrize("family", sorted(MULTIMODAL))
def test_saved_as_in_memory_lines_up(family: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path / "memory", as_in_memory=True)
    architecture = resolved(folder)
    assert architecture.guessed == ()
    assert dict(architecture.layers).keys() == {Component.LANGUAGE, Component.VISION}


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "glm4v", "idefics3", "qwen3_moe"])
def test_unknown_family_is_found_by_structure(family: str, saved: Any) -> None:
    config, names = read(saved(family))
    known_names = resolve(config, names)
    config["model_type"] = "something_new"
    with pytest.warns(ArchitectureWarning, match="something_new"):
        guessed = resolve(config, names)
    assert guessed.family == "unknown"
    assert guessed.layers == known_names.layers
    assert guessed.tied_head == known_names.tied_head
    for name, site in known_names.sites.items():
        if site.component not in (Component.VISION, Component.PROJECTOR):
            assert guessed.sites[name] == site, name
        elif site.component is Component.VISION:
            assert guessed.sites[name].component is Component.VISION, name
            assert guessed.sites[name].layer == site.layer, name
    assert any("language" in sentence for sentence in guessed.guessed)


def test_table_is_consistent() -> None:
    types = [kind for family in TABLE for kind in family.model_types]
    assert len(types) == len(set(types))
    for family in TABLE:
        patterns = [rule.pattern for rule in family.rules]
        assert len(patterns) == len(set(patterns)), family.name
        assert all(pattern.count("#") <= 1 for pattern in patterns), family.name
        assert Component.LANGUAGE in family.counts


def test_table_names_classes_that_exist() -> None:
    for family in TABLE:
        for name in family.architectures:
            with warnings.catch_warnings(action="ignore"):
                assert hasattr(transformers, name), name
