"""Forgeries that must not pass: ledgers, foreign files, pickles, broken ties, infinities."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.checkpoint.open import open_checkpoint
from surgery.errors import CheckpointError, ExecutionError, PlanError, RecipeError
from surgery.execute.tensor import compute
from surgery.execute.verify import verify
from surgery.live import transplanted
from tests.execute.merging import merge, plan_of, recipe_text, tensors
from tests.families import build_tiny, save_tiny

SLERP = "  - interpolate: language[1]\n    from: rl\n    method: slerp\n    t: 0.3"
MOVE = "  - transplant: language[1]\n    from: rl"


@pytest.fixture
def out(pair, tmp_path):
    merge(recipe_text(pair("llama"), SLERP), tmp_path / "out")
    return tmp_path / "out"


def forge(out, change):
    """Edit the ledger as somebody who knows its rules would."""
    path = out / "surgery.json"
    ledger = json.loads(path.read_text())
    change(ledger)
    path.write_text(json.dumps(ledger))


def faults(out):
    return {fault.where for fault in verify(out).faults}


def test_foreign_files_are_faults(out):
    for name in ("adapter_config.json", "pytorch_model.bin", "modeling.py"):
        (out / name).write_text("{}")
    assert faults(out) == {"adapter_config.json", "pytorch_model.bin", "modeling.py"}


def test_a_config_forged_in_both_places_is_a_fault(out):
    from hashlib import sha256

    config = json.loads((out / "config.json").read_text()) | {"auto_map": {"AutoModel": "x.Y"}}
    (out / "config.json").write_text(json.dumps(config))
    digest = sha256((out / "config.json").read_bytes()).hexdigest()

    def change(ledger):
        next(f for f in ledger["files"] if f["name"] == "config.json")["sha256"] = digest

    forge(out, change)
    assert faults(out) == {"config.json"}


def test_forged_parameters_fingerprints_and_models_are_faults(out, pair):
    def parameters(ledger):
        for tensor in ledger["tensors"]:
            if tensor["method"] == "slerp":
                tensor["parameters"]["t"] = 0.9

    forge(out, parameters)
    assert faults(out)
    assert all(".layers.1." in fault for fault in faults(out))

    merge(recipe_text(pair("llama"), SLERP), out, overwrite=True)
    forge(out, lambda ledger: ledger["models"]["rl"].update(fingerprint="0" * 64))
    assert faults(out) == {"rl"}

    merge(recipe_text(pair("llama"), SLERP), out, overwrite=True)
    forge(out, lambda ledger: ledger["models"]["rl"].update(reference="Qwen/other"))
    assert faults(out) == {"rl"}


@pytest.mark.parametrize("name", ["../in/config.json", "/etc/passwd", "", "a/../../b"])
def test_a_ledger_that_points_outside_is_refused(out, name):
    forge(out, lambda ledger: ledger["files"][0].update(name=name))
    with pytest.raises(CheckpointError, match="expected a path inside the folder"):
        verify(out)


def test_an_unknown_engine_is_refused(out):
    forge(out, lambda ledger: ledger.update(engine="zzz"))
    with pytest.raises(CheckpointError, match="expected one of: surgery, mergekit"):
        verify(out)


def test_what_mergekits_engine_computed_is_not_repeated(pair, tmp_path):
    for name, steps in (("moved", MOVE), ("computed", SLERP)):
        merge(recipe_text(pair("llama"), steps), tmp_path / name)
        forge(tmp_path / name, lambda ledger: ledger.update(engine="mergekit"))
        assert verify(tmp_path / name, inputs=False).ok
    assert verify(tmp_path / "moved").ok
    with pytest.raises(PlanError, match=r"earlier version.*'--no-inputs'"):
        verify(tmp_path / "computed")


def test_a_tied_head_draws_what_its_embedding_draws(tmp_path):
    models = {}
    for seed, name in enumerate(("in", "rl")):
        models[name] = save_tiny("qwen2", tmp_path / name, seed=seed, tie_word_embeddings=True)
        weights = load_file(models[name] / "model.safetensors")
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, models[name] / "model.safetensors", metadata={"format": "pt"})
    steps = (
        "  - merge: embedding, head\n    method: dare_ties\n"
        "    models: {rl: {weight: 1.0, density: 0.5}}"
    )
    merge(recipe_text(models, steps), tmp_path / "out")
    result = tensors(tmp_path / "out")
    assert torch.equal(result["lm_head.weight"], result["model.embed_tokens.weight"])
    assert not torch.equal(result["lm_head.weight"], tensors(models["in"])["lm_head.weight"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_infinities_are_never_made(tmp_path, dtype):
    models = {
        name: save_tiny("llama", tmp_path / name, seed=i, dtype=torch.float32)
        for i, name in enumerate(("in", "rl"))
    }
    weights = load_file(models["rl"] / "model.safetensors")
    for name in (n for n in weights if ".mlp." in n):
        weights[name] *= 1000
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")  # hides nothing
    save_file(weights, models["rl"] / "model.safetensors", metadata={"format": "pt"})
    steps = "  - add: language[1].mlp\n    plus: rl\n    minus: in\n    weight: 1.0e+38"
    with pytest.raises(ExecutionError, match=f"numbers that {dtype} cannot hold"):
        merge(recipe_text(models, steps, rest=f"output: {{dtype: {dtype}}}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_infinities_are_copied(tmp_path):
    models = {n: save_tiny("llama", tmp_path / n, seed=i) for i, n in enumerate(("in", "rl"))}
    weights = load_file(models["rl"] / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("inf")
    save_file(weights, models["rl"] / "model.safetensors", metadata={"format": "pt"})
    merge(recipe_text(models, SLERP.replace("slerp", "linear")), tmp_path / "out")
    assert tensors(tmp_path / "out")["model.layers.1.mlp.up_proj.weight"][0, 0] == float("inf")


@pytest.mark.parametrize("method", ["karcher", "model_stock"])
def test_results_do_not_depend_on_torchs_threads(tmp_path, method):
    models = {
        name: save_tiny("llama", tmp_path / name, seed=i, hidden_size=256, intermediate_size=1024)
        for i, name in enumerate(("in", "rl", "base"))
    }
    steps = f"  - merge: language[1].mlp\n    method: {method}\n    models: [in, rl, base]"
    plan = plan_of(recipe_text(models, steps))
    op = next(plan.changes())
    before = torch.get_num_threads()
    results = []
    opened = {name: open_checkpoint(str(path)) for name, path in models.items()}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(compute(op, opened))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
        for checkpoint in opened.values():
            checkpoint.close()
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_model_without_memory_is_refused(pair):
    plan = plan_of(recipe_text(pair("llama"), MOVE))
    with torch.device("meta"):
        model = build_tiny("llama")
    refused = pytest.raises(PlanError, match="has no memory in the loaded")
    with refused, transplanted(model.to("meta"), plan):
        pass
    refused = pytest.raises(PlanError, match="Linear has no configuration")
    with refused, transplanted(torch.nn.Linear(1, 1), plan):
        pass


def test_an_output_never_replaces_its_input(pair, tmp_path):
    first = tmp_path / "first"
    merge(recipe_text(pair("llama"), MOVE), first)
    models = {"in": first, "rl": pair("llama")["rl"]}
    with pytest.raises(PlanError, match="is, or holds, the model 'in'"):
        merge(recipe_text(models, MOVE), first, overwrite=True)
    assert verify(first).ok


def test_folders_with_a_plus(tmp_path):
    models = {
        n: save_tiny("llama", tmp_path / f"{n} + {n}+x", seed=i) for i, n in enumerate(("in", "rl"))
    }
    merge(recipe_text(models, MOVE), tmp_path / "out")
    assert verify(tmp_path / "out").ok


def test_only_known_files_follow_the_base(tmp_path):
    models = {n: save_tiny("llama", tmp_path / n, seed=i) for i, n in enumerate(("in", "rl"))}
    for name in ("credentials.json", "train_data.json", "modeling_x.py", "adapter_config.json"):
        (models["in"] / name).write_text("{}")
    (models["in"] / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    (models["in"] / "LICENSE").write_text("free")
    merge(recipe_text(models, MOVE), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "LICENSE",
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "surgery.json",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("name", ['"x\\e[31m"', '"a\\nb"', '"\\0"'])
def test_names_hold_no_control_characters(pair, name):
    text = recipe_text(pair("llama"), MOVE).replace("name: test", f"name: {name}")
    with pytest.raises(RecipeError):
        plan_of(text)
