from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.checkpoint import adapter as adapter_module
from surgery.checkpoint.dtype import DType
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.source import AdapterReference, Checkpoint
from surgery.errors import CheckpointError
from tests.checkpoint.files import entry, raw
from tests.families import build_tiny, save_tiny, spell_v4

if TYPE_CHECKING:
    from pathlib import Path

FAMILY = "qwen2_5_vl"
ATTENTION = ["q_proj", "v_proj"]
CASES: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": [*ATTENTION, "down_proj"]},
    "everywhere": {"target_modules": "all-linear", "r": 2},
    "vision and its convolution": {"target_modules": r".*visual.*\.(qkv|proj)", "r": 3},
    "convolution with dora": {"target_modules": r".*patch_embed\.proj", "use_dora": True},
    "patterns": {
        "target_modules": ATTENTION,
        "rank_pattern": {r"layers\.1\.self_attn\.q_proj": 2, "v_proj": 5},
        "alpha_pattern": {r"layers\.[02]\.self_attn\.q_proj": 3},
    },
    "stabilised": {"target_modules": ATTENTION, "use_rslora": True},
    "dora": {"target_modules": [*ATTENTION, "up_proj"], "use_dora": True},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "whole modules": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "biases": {"target_modules": ATTENTION, "bias": "lora_only"},
}


def train(base: Path, out: Path, **options: Any) -> Path:
    """Return an adapter with every weight changed, and PEFT's merge of it."""
    import peft
    from transformers import AutoModelForImageTextToText

    draw = torch.Generator().manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
        wrapped = peft.get_peft_model(
            model, peft.LoraConfig(**{"r": 4, "lora_alpha": 8, **options})
        )
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    noise = torch.randn(parameter.shape, generator=draw) * 0.1
                    parameter.add_(noise.to(parameter.dtype))
        wrapped.save_pretrained(out)
        wrapped.merge_and_unload().save_pretrained(out / "merged")
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(
        FAMILY,
        tmp_path_factory.mktemp("base") / "m",
        dtype=torch.float32,
        tie_word_embeddings=False,
    )


def read(checkpoint: Checkpoint, name: str, step: int | None = None) -> torch.Tensor:
    header = checkpoint.info.tensors[name]
    buffer = bytearray(header.nbytes)
    view = memoryview(buffer)
    for start in range(0, header.nbytes, step or header.nbytes):
        checkpoint.read_into(name, start, view[start : start + (step or header.nbytes)])
    dtype = getattr(torch, header.dtype.torch_name)
    return torch.frombuffer(buffer, dtype=dtype).reshape(header.shape)


def opened(base: Path, adapter: Path) -> Checkpoint:
    return open_checkpoint(AdapterReference(str(base), str(adapter)))


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_forms_what_peft_merges(options: dict[str, Any], base: Path, tmp_path: Path) -> None:
    adapter = train(base, tmp_path / "a", **options)
    before = load_file(base / "model.safetensors")
    merged = load_file(adapter / "merged" / "model.safetensors")
    with opened(base, adapter) as checkpoint:
        assert checkpoint.info.tensors.keys() == merged.keys()
        for name, expected in merged.items():
            result = read(checkpoint, name)
            torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)
            if name not in checkpoint.info.formed:
                assert torch.equal(result, before[name])
                assert checkpoint.file_range(name) is not None
            else:
                assert checkpoint.file_range(name) is None
        changed = {name for name in merged if not torch.equal(merged[name], before[name])}
        assert changed
        assert changed <= checkpoint.info.formed


def test_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    base = save_tiny(FAMILY, tmp_path / "base")
    adapter = train(base, tmp_path / "a", target_modules=[*ATTENTION, "down_proj"])
    before = load_file(base / "model.safetensors")
    merged = load_file(adapter / "merged" / "model.safetensors")
    with opened(base, adapter) as checkpoint:
        for name in checkpoint.info.formed:
            result, expected = read(checkpoint, name).float(), merged[name].float()
            # PEFT rounds the product and then the sum, so it is off by a unit of the larger.
            largest = torch.maximum(torch.maximum(result.abs(), expected.abs()), before[name].abs())
            assert ((result - expected).abs() <= largest * 2**-7).all()


def test_bits_do_not_depend_on_how_they_are_read(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_module, "_BLOCK_ELEMENTS", 100)
    adapter = train(base, tmp_path / "a", target_modules=["embed_tokens", "down_proj"])
    with opened(base, adapter) as checkpoint:
        for name in checkpoint.info.formed:
            whole = read(checkpoint, name)
            for step in (7, 64, 1000):
                assert torch.equal(read(checkpoint, name, step), whole)
        with pytest.raises(ValueError, match="bytes"):
            checkpoint.read_into(name, 1, memoryview(bytearray(whole.nbytes)))


def test_other_spellings_of_the_base_are_found(base: Path, tmp_path: Path) -> None:
    adapter = train(base, tmp_path / "a", target_modules=["q_proj", "qkv"])
    old = spell_v4(FAMILY, base, tmp_path / "v4")
    new = save_tiny(
        FAMILY, tmp_path / "v5", dtype=torch.float32, as_in_memory=True, tie_word_embeddings=False
    )
    merged = load_file(adapter / "merged" / "model.safetensors")
    expected = {round(float(t.double().sum()), 9) for t in merged.values()}
    spelled = set()
    for folder in (base, old, new):
        with opened(folder, adapter) as checkpoint:
            assert len(checkpoint.info.formed) == 4 + 2  # decoder layers + vision blocks
            spelled.add(min(checkpoint.info.formed))
            for name in checkpoint.info.formed:
                total = float(read(checkpoint, name).double().sum())
                assert min(abs(total - item) for item in expected) < 1e-4
    assert len(spelled) >= 2


def test_info_is_the_bases_with_its_own_name(base: Path, tmp_path: Path) -> None:
    adapter = train(base, tmp_path / "a", target_modules=["q_proj"])
    with opened(base, adapter) as checkpoint, open_checkpoint(str(base)) as plain:
        assert checkpoint.info.reference == f"{base} + {adapter}"
        assert checkpoint.info.revision is None
        assert checkpoint.info.tensors == plain.info.tensors
        assert checkpoint.info.fingerprint != plain.info.fingerprint


def edit(adapter: Path, **changes: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(base: Path, adapter: Path, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        opened(base, adapter)


@pytest.fixture
def plain(base: Path, tmp_path: Path) -> Path:
    """A small adapter of q_proj in two layers, made without PEFT."""
    (tmp_path / "a").mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    put(tmp_path / "a", base)
    return tmp_path / "a"


def put(adapter: Path, base: Path, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    module = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
    name = next(
        n for n in load_file(base / "model.safetensors") if n.endswith("0.self_attn.q_proj.weight")
    )
    out, width = load_file(base / "model.safetensors")[name].shape
    tensors = {
        f"{module}.lora_A.weight": torch.ones(2, width),
        f"{module}.lora_B.weight": torch.ones(out, 2),
        **more,
    }
    save_file(tensors, adapter / "adapter_model.safetensors")
    return tensors


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA'"),
        ({"target_parameters": ["x"]}, "bare parameters.*merge_and_unload"),
        ({"trainable_token_indices": [1]}, "uses trainable tokens"),
        ({"lora_bias": True}, "uses a bias in the LoRA layers"),
        ({"layer_replication": [[0, 1]]}, "uses replicated layers"),
        ({"r": 0}, "r is 0; expected a rank"),
        ({"r": "8"}, "r is '8'; expected a rank"),
        ({"lora_alpha": None}, "lora_alpha is None; expected a number"),
        ({"rank_pattern": {"(a+)+b": 3}}, "too complicated"),
        ({"rank_pattern": {"(": 3}}, "rank_pattern '\\('"),
        ({"rank_pattern": [3]}, "rank_pattern must be an object"),
        ({"r": 3}, "but adapter_config.json says its rank is 3"),
        ({"use_dora": True}, "has no magnitude vector"),
        ({"fan_in_fan_out": True}, "is square, so it is unclear"),
    ],
    ids=str,
)
def test_configurations_that_cannot_be_merged(
    changes: dict[str, Any], words: str, base: Path, plain: Path
) -> None:
    edit(plain, **changes)
    refused(base, plain, words)


def test_tensors_that_do_not_belong(base: Path, plain: Path) -> None:
    opened(base, plain).close()
    put(plain, base, **{"base_model.model.lm_haed.weight": torch.ones(2)})
    refused(base, plain, "1 of the adapter's tensors have no counterpart.*'lm_haed.weight'")
    put(plain, base, **{"base_model.model.lm_head.weight": torch.ones(2)})
    refused(base, plain, r"is \[2\], but the base's 'lm_head.weight' is .*vocabulary was enlarged")
    tensors = put(plain, base)
    del tensors[next(n for n in tensors if "lora_B" in n)]
    save_file(tensors, plain / "adapter_model.safetensors")
    refused(base, plain, "needs both A and B")


def test_another_bases_adapter(base: Path, plain: Path) -> None:
    tensors = {
        name: torch.ones(t.shape[0] + ("lora_B" in name), t.shape[1])
        for name, t in put(plain, base).items()
    }
    save_file(tensors, plain / "adapter_model.safetensors")
    refused(base, plain, "The adapter was trained on another base")


def test_a_head_that_a_tied_base_does_not_have(plain: Path, tmp_path: Path) -> None:
    tied = save_tiny(FAMILY, tmp_path / "tied", tie_word_embeddings=True)
    put(plain, tied, **{"base_model.model.lm_head.weight": torch.ones(2)})
    refused(tied, plain, "has no output head of its own")


def test_damaged_and_missing_files(base: Path, plain: Path) -> None:
    weights = plain / "adapter_model.safetensors"
    weights.write_bytes(raw({"a": entry("F8_E4M3", [1], 0, 1)}, b"x"))
    refused(base, plain, "is quantised")
    weights.unlink()
    refused(base, plain, r"adapter_model\.safetensors: is missing")
    (plain / "adapter_model.bin").write_bytes(b"")
    refused(base, plain, r"adapter_model\.bin, a pickle, which is never opened")


def test_the_tiny_model_is_what_the_tests_take_it_for(base: Path) -> None:
    model = build_tiny(FAMILY, tie_word_embeddings=False)
    assert any(name.endswith("lm_head.weight") for name in model.state_dict())
    with open_checkpoint(str(base)) as checkpoint:
        assert {t.dtype for t in checkpoint.info.tensors.values()} == {DType.F32}


def test_base_plus_adapter_as_text(base: Path, tmp_path: Path) -> None:
    adapter = train(base, tmp_path / "a", target_modules=["q_proj"])
    with open_checkpoint(f"{base} + {adapter}") as text, opened(base, adapter) as object_:
        assert text.info == object_.info
        assert text.info.formed
    (odd := tmp_path / "x + y").mkdir()  # a folder that exists is a folder
    with pytest.raises(CheckpointError, match=r"x \+ y"):
        open_checkpoint(str(odd))
