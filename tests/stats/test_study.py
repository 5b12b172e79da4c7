"""Whole studies of real checkpoints: what was planted is found, and nothing else."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.main import get_command

from surgery import specimen
from surgery.checkpoint.open import open_checkpoint
from surgery.cli.main import build
from surgery.errors import CheckpointError, ExecutionError, SurgeryError
from surgery.recipe import parse_selector
from surgery.runs import read_run, write_run
from surgery.stats.options import Options, SpectrumKind
from surgery.stats.study import Study
from tests.checkpoint.test_adapter import train
from tests.families import save_tiny
from tests.support.files import lasting
from tests.waiting import forked, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from surgery.runs import RunTables
    from tests.hub import Hub

    Pair = Callable[[str], dict[str, Path]]

ROOT = Path(__file__).parents[2]


def studied(models: dict[str, Any], out: Path | None = None, **options: Any) -> RunTables:
    opened = {name: open_checkpoint(str(path)) for name, path in models.items()}
    try:
        return Study(opened, Options(**options), out).run()
    finally:
        for checkpoint in opened.values():
            checkpoint.close()


def changed(folder: Path, out: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """A copy of a checkpoint with every tensor put through `change`."""
    tensors = load_file(folder / "model.safetensors")
    out.mkdir(parents=True)
    (out / "config.json").write_bytes((folder / "config.json").read_bytes())
    new = {name: change(name, tensor).contiguous() for name, tensor in tensors.items()}
    save_file(new, out / "model.safetensors")
    return out


def plant(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A rank-one update of the attention of layers 6 to 8 of the decoder."""
    if not any(f"model.layers.{i}.self_attn" in name for i in (6, 7, 8)) or tensor.dim() < 2:
        return tensor
    remaining, right = torch.linspace(1, 2, tensor.shape[0]), torch.linspace(-1, 1, tensor.shape[1])
    return (tensor.float() + 0.05 * torch.outer(remaining, right)).to(tensor.dtype)


def test_a_planted_update_is_found_and_nothing_else(tmp_path: Path) -> None:
    rl = changed(specimen.path("in"), tmp_path / "rl", plant)
    stats = studied({"in": specimen.path("in"), "rl": rl}, spectrum=SpectrumKind.FULL, top=4)
    layers = stats.layers[stats.layers.group == "attention"]
    hit = layers[(layers.component == "language") & layers.layer.isin([6, 7, 8])]
    assert len(hit) == 3
    assert (hit.relative_delta > 0.1).all()
    # rank one, as it was made, up to the rounding to bf16
    matrices = stats.tensors[stats.tensors.tensor.str.contains(r"\.[678]\.attention.*weight")]
    assert (matrices.stable_rank < 1.001).all()
    assert (matrices.top_energy > 0.999).all()
    assert (matrices.random_stable_rank > 10).all()
    rest = stats.layers[(stats.layers.group != "all") & ~stats.layers.index.isin(hit.index)]
    assert len(rest) > 20
    assert (rest.delta_norm == 0).all()
    assert (rest.changed == 0).all()
    untouched = stats.tensors[~stats.tensors.tensor.isin(matrices.tensor)]
    assert untouched.spectral_norm.max() == 0
    assert untouched[["rotation_left_max", "rotation_right_max"]].max().max() == 0


def test_identical_checkpoints_differ_in_nothing() -> None:
    same = specimen.path("rl")
    stats = studied({"a": same, "b": same, "c": same}, spectrum=SpectrumKind.TOP, top=4)
    assert (stats.tensors.delta_norm == 0).all()
    assert (stats.tensors[["changed", "changed_1e5", "changed_bf16"]] == 0).all().all()
    assert (stats.tensors.cosine == 1).all()
    assert stats.tensors.spectral_shift.max() == 0
    assert stats.updates.cosine.isna().all()  # two updates that are none have no angle


def test_a_lora_adapter_has_its_rank(tmp_path: Path) -> None:
    base = save_tiny("qwen2_5_vl", tmp_path / "base", dtype=torch.float32)
    adapter = train(base, tmp_path / "lora", target_modules=["q_proj", "down_proj"], r=3)
    stats = studied(
        {"base": base, "lora": f"{base} + {adapter}"}, spectrum=SpectrumKind.FULL, top=8
    )
    table = stats.tensors[stats.tensors.spectrum == "full"]
    touched = table[table.delta_norm > 0]
    assert set(touched.leaf) == {"q_proj.weight", "down_proj.weight"}
    for row in touched.itertuples():
        values = stats.spectra[f"{row.tensor}/base..lora/delta"]
        assert values[2] > 1e-2 * values[0]
        assert values[3:].max() < 1e-5 * values[0]


def test_an_adapter_scaled_otherwise_is_measured_again(tmp_path: Path) -> None:
    base = save_tiny("qwen2_5_vl", tmp_path / "base", dtype=torch.float32)
    adapter = train(base, tmp_path / "lora", target_modules=["q_proj"], r=2)
    models, out = {"base": base, "lora": f"{base} + {adapter}"}, tmp_path / "out"
    once = studied(models, out, spectrum=SpectrumKind.NONE)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["lora_alpha"] *= 10
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    again = studied(models, out, spectrum=SpectrumKind.NONE)
    ratio = again.tensors.delta_norm.max() / once.tensors.delta_norm.max()
    assert ratio == pytest.approx(10, rel=1e-4)


def test_a_change_from_one_end_of_float32_to_the_other(tmp_path: Path) -> None:
    base = save_tiny("qwen2", tmp_path / "base", dtype=torch.float32)
    ends = [
        changed(base, tmp_path / str(sign), lambda _, t, s=sign: torch.full_like(t, s * 3e38))
        for sign in (1, -1)
    ]
    stats = studied({"a": ends[0], "b": ends[1]}, spectrum=SpectrumKind.FULL, top=2)
    assert stats.summary["nonfinite"] == []
    assert stats.tensors.max_abs_delta.tolist() == pytest.approx([6e38] * len(stats.tensors))
    matrices = stats.tensors.dropna(subset=["spectral_norm"])
    assert matrices.spectral_norm.tolist() == pytest.approx(matrices.delta_norm.tolist())


def test_the_same_whatever_the_threads(pair: Pair, tmp_path: Path) -> None:
    for workers in (1, 3):
        run = studied(pair("llava"), spectrum=SpectrumKind.NONE, workers=workers)
        write_run(run, tmp_path / str(workers))
    assert lasting(tmp_path / "1") == lasting(tmp_path / "3")


def test_a_nan_is_named_and_spoils_nothing_else(pair: Pair, tmp_path: Path) -> None:
    models = pair("qwen2_5_vl")

    def break_(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name.endswith("model.layers.1.self_attn.q_proj.weight"):
            tensor[0, 0] = float("nan")
        return tensor

    rl = changed(models["rl"], tmp_path / "rl", break_)
    stats = studied({**models, "rl": rl}, spectrum=SpectrumKind.FULL, top=4)
    (name,) = stats.summary["nonfinite"]
    rows = stats.tensors[stats.tensors.tensor == name].set_index("pair")
    assert rows.loc["in..rl", "nonfinite_after"] == 1
    lines = ["delta_norm", "cosine", "spectral_norm"]
    assert np.isnan(rows.loc["in..rl", lines].astype(float)).all()
    assert np.isfinite(rows.loc["base..in", lines].astype(float)).all()
    layers = stats.layers.query("component == 'language' and layer == 1 and group == 'all'")
    layers = layers.set_index("pair")
    assert list(layers.nonfinite_tensors[["base..in", "in..rl", "base..rl"]]) == [0, 1, 1]
    assert np.isfinite(layers.delta_norm).all()
    json.dumps(stats.summary, allow_nan=False)


def test_mixed_types_and_spellings(pair: Pair, tmp_path: Path) -> None:
    models = pair("qwen2_5_vl")
    precise = changed(models["in"], tmp_path / "f32", lambda _, t: t.float())
    new = save_tiny("qwen2_5_vl", tmp_path / "v5", seed=2, as_in_memory=True)
    plain = studied(models, spectrum=SpectrumKind.NONE)
    mixed = studied({**models, "in": precise, "rl": new}, spectrum=SpectrumKind.NONE)
    assert set(mixed.tensors.dtype_before) == {"bfloat16", "float32"}
    both = plain.tensors.merge(mixed.tensors, on=["tensor", "pair"], suffixes=("", "_mixed"))
    assert len(both) == len(plain.tensors)
    for name in ("delta_norm", "cosine", "changed", "rounding_norm"):
        assert np.allclose(both[name], both[f"{name}_mixed"], rtol=1e-6), name


def test_models_on_the_hub(hub: Hub, pair: Pair) -> None:
    models = pair("qwen2")
    commits = {name: hub.add(f"lab/{name}", folder) for name, folder in models.items()}
    local = studied(models, spectrum=SpectrumKind.NONE)
    entries = studied({name: f"lab/{name}@main" for name in models}, spectrum=SpectrumKind.NONE)
    pd.testing.assert_frame_equal(local.tensors, entries.tensors)
    assert entries.summary["models"]["rl"]["revision"] == commits["rl"]


def test_a_fork_is_compared_too(pair: Pair) -> None:
    models = pair("qwen2")
    stats = studied(models, pairs=("base..in", "base..rl"), spectrum=SpectrumKind.NONE)
    assert set(stats.updates["first"]) == {"base..in"}
    assert set(stats.updates["second"]) == {"base..rl"}
    row = stats.updates.iloc[0]
    base, in_, rl = (load_file(models[n] / "model.safetensors") for n in ("base", "in", "rl"))
    name = "model.embed_tokens.weight"
    row = stats.updates[stats.updates.component == "embedding"].iloc[0]
    first, second = ((m[name].double() - base[name].double()).flatten() for m in (in_, rl))
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=0).item()
    assert row.cosine == pytest.approx(cosine, abs=1e-6)


def test_a_file_that_became_shorter_is_told(pair: Pair, tmp_path: Path) -> None:
    models = {n: changed(p, tmp_path / n, lambda _, t: t) for n, p in pair("qwen2").items()}
    opened = {n: open_checkpoint(str(p)) for n, p in models.items()}
    study = Study(opened, Options(spectrum=SpectrumKind.NONE))
    weights = models["rl"] / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(CheckpointError, match="was truncated"):
        study.run()


def test_no_gpu_is_told(pair: Pair) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ExecutionError, match="device 'cuda' cannot be used here"):
        studied(pair("qwen2"), device="cuda")


def test_what_was_measured_is_not_measured_again(pair: Pair, tmp_path: Path) -> None:
    models, out = pair("qwen2_5_vl"), tmp_path / "out"
    first = studied(models, out, spectrum=SpectrumKind.TOP, top=4)
    opened = {name: open_checkpoint(str(path)) for name, path in models.items()}
    again = Study(opened, Options(spectrum=SpectrumKind.TOP, top=4), out)
    assert again.todo == ()
    pd.testing.assert_frame_equal(again.run().tensors, first.tensors)
    narrowed = Options(
        spectrum=SpectrumKind.TOP, top=4, selector=parse_selector("vision"), workers=1
    )
    assert Study(opened, narrowed, out).todo == ()
    assert Study(opened, Options(spectrum=SpectrumKind.TOP, top=5), out).todo
    weights = models["rl"] / "model.safetensors"
    os.utime(weights)  # another time: perhaps other weights
    assert Study({**opened, "rl": open_checkpoint(str(models["rl"]))}, again.options, out).todo
    for checkpoint in opened.values():
        checkpoint.close()


def measure(out: Path) -> None:
    """Run `surgery stats` on the specimen."""
    stages = [f"--{stage}=specimen:{stage}" for stage in ("base", "in", "rl")]
    options = ["--out", str(out), "--spectrum", "full", "--top", "4", "--quiet"]
    get_command(build())(["stats", *stages, *options], standalone_mode=False)


def test_killed_and_started_again_it_gives_the_same(tmp_path: Path) -> None:
    measure(tmp_path / "a")
    for parts in (1, 40, 80):
        process = forked(measure, tmp_path / "b")
        until(lambda parts=parts: len(list((tmp_path / "b").rglob("*.npz"))) >= parts, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with pytest.raises(SurgeryError, match="has not ended"):
            read_run(tmp_path / "b")
    measure(tmp_path / "b")
    output = lasting(tmp_path / "a")
    assert {"tensors.csv", "layers.csv", "updates.csv", "spectra.npz", "run.json"} <= output.keys()
    assert output == lasting(tmp_path / "b")
