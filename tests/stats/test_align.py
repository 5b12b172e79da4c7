from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from surgery.arch.site import Component
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import PlanError, RecipeError
from surgery.recipe import parse_selector
from surgery.stats.align import align
from tests.families import save_tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from surgery.stats.align import Alignment

    Pair = Callable[[str], dict[str, Path]]


def aligned(models: dict[str, Path], select: str | None = None) -> Alignment:
    infos = {}
    for name, path in models.items():
        with open_checkpoint(str(path)) as checkpoint:
            infos[name] = checkpoint.info
    return align(infos, None if select is None else parse_selector(select))


def edited(folder: Path, out: Path, **changes: object) -> Path:
    """Return a copy whose tensors are replaced by `changes`, or omitted where None."""
    tensors = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value  # type: ignore[assignment]
    out.mkdir()
    (out / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(tensors, out / "model.safetensors")
    return out


def test_every_tensor_comes_once(pair: Pair) -> None:
    models = pair("qwen2_5_vl")
    result = aligned(models)
    stored = load_file(models["in"] / "model.safetensors")
    assert len(result.pieces) == len(stored)
    assert sum(piece.numel for piece in result.pieces) == sum(t.numel() for t in stored.values())
    assert result.unmatched == ()
    assert all([*piece.headers] == ["base", "in", "rl"] for piece in result.pieces)


def test_both_spellings_line_up(pair: Pair, tmp_path: Path) -> None:
    models = pair("qwen2_5_vl")
    new = save_tiny("qwen2_5_vl", tmp_path / "v5", as_in_memory=True)
    result = aligned({"in": models["in"], "rl": new})
    assert result.unmatched == ()
    assert len(result.pieces) == len(aligned(models).pieces)
    assert any(p.headers["in"].name != p.headers["rl"].name for p in result.pieces)


def test_a_selector_narrows(pair: Pair) -> None:
    result = aligned(pair("qwen2_5_vl"), "language[mid].attention")
    assert {p.site.component for p in result.pieces} == {Component.LANGUAGE}
    assert {p.site.module for p in result.pieces} == {"attention"}
    with pytest.raises(RecipeError, match="q_porj"):
        aligned(pair("qwen2_5_vl"), "language.attention.q_porj")


def test_what_cannot_be_compared_is_told(pair: Pair, tmp_path: Path) -> None:
    models = pair("qwen2_5_vl")
    tensors = load_file(models["rl"] / "model.safetensors")
    removed, other = [name for name in tensors if name.endswith("q_proj.weight")][:2]
    rl = edited(
        models["rl"], tmp_path / "rl", **{removed: None, other: tensors[other][:-1].clone()}
    )
    result = aligned({**models, "rl": rl})
    assert len(result.unmatched) == 2
    assert "q_proj.weight is missing in rl" in result.unmatched[0]
    assert "in rl, not [" in result.unmatched[1]
    short = [piece for piece in result.pieces if [*piece.headers] == ["base", "in"]]
    assert len(short) == 2  # base..in can still be measured


def test_a_vocabulary_that_grew_is_compared_where_it_can_be(pair: Pair, tmp_path: Path) -> None:
    models = pair("qwen2")
    name = "model.embed_tokens.weight"
    base = load_file(models["base"] / "model.safetensors")[name]
    small = edited(models["base"], tmp_path / "base", **{name: base[:-4].clone()})
    result = aligned({**models, "base": small})
    (embedding,) = [p for p in result.pieces if p.site.component is Component.EMBEDDING]
    assert [*embedding.headers] == ["in", "rl"]
    (text,) = result.unmatched
    assert text.endswith("is [92, 32] in base, not [96, 32]")


def test_cuts_of_what_has_no_layers(pair: Pair) -> None:
    infos = {}
    for name, path in pair("qwen2").items():
        with open_checkpoint(str(path)) as checkpoint:
            infos[name] = checkpoint.info
    with pytest.raises(RecipeError, match=r"vision, which has no layers.* Layers are in: language"):
        align(infos, cuts={Component.VISION: (1, 2)})


def test_other_layer_counts_are_refused(pair: Pair, tmp_path: Path) -> None:
    deep = save_tiny("qwen2", tmp_path / "deep", num_hidden_layers=5)
    with pytest.raises(PlanError, match=r"language has 4 layers in 'in'.*but 5 in 'deep'"):
        aligned({"in": pair("qwen2")["in"], "deep": deep})


def test_nothing_in_common_is_refused(pair: Pair, tmp_path: Path) -> None:
    models = pair("qwen2")
    tensors = load_file(models["rl"] / "model.safetensors")
    halves = {name: t[: t.shape[0] // 2].clone() for name, t in tensors.items()}
    rl = edited(models["rl"], tmp_path / "rl", **halves)
    with pytest.raises(PlanError, match="no tensor in common"):
        aligned({"in": models["in"], "rl": rl})


def test_a_tied_head_is_found_at_the_embedding(tmp_path: Path) -> None:
    tied = save_tiny("qwen2", tmp_path / "tied", tie_word_embeddings=True)
    free = save_tiny("qwen2", tmp_path / "free", tie_word_embeddings=False)
    assert json.loads((tied / "config.json").read_text())["tie_word_embeddings"]
    both = aligned({"a": tied, "b": tied})
    assert Component.HEAD not in {p.site.component for p in both.pieces}  # counted once
    mixed = aligned({"a": tied, "b": free})
    (head,) = [p for p in mixed.pieces if p.site.component is Component.HEAD]
    assert "embed_tokens" in head.headers["a"].name
    assert mixed.unmatched == ()


def test_experts_of_a_stack_are_measured_one_by_one(pair: Pair) -> None:
    models = pair("qwen3_vl_moe")
    result = aligned({"in": models["in"], "rl": models["rl"]}, "language[0].mlp")
    stack = [p for p in result.pieces if p.index is not None]
    assert stack, "the family keeps its experts in stacks"
    stored = load_file(models["in"] / "model.safetensors")
    cached = sum(
        t.numel() for n, t in stored.items() if ".layers.0.mlp." in n and "visual" not in n
    )
    assert sum(p.numel for p in result.pieces) == cached
    assert all(len(p.shape) == 2 and p.name.endswith(f"[{p.index}]") for p in stack)


def test_a_convolution_is_a_matrix_of_its_filters(pair: Pair) -> None:
    result = aligned(pair("qwen2_5_vl"), "vision")
    (patch,) = [p for p in result.pieces if len(p.shape) > 2]
    assert patch.matrix == (patch.shape[0], patch.numel // patch.shape[0])
    assert all((p.matrix is None) == (len(p.shape) < 2) for p in result.pieces)
