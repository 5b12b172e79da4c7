"""Every way in which PEFT makes an adapter: formed as it was trained, or refused with a way out."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import fields

import peft
import pytest
import torch
from peft.tuners.lora import config as variants
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from surgery.checkpoint import adapter_config
from surgery.errors import CheckpointError
from tests.checkpoint.test_adapter import opened, read
from tests.families import save_tiny

IDS = torch.arange(12)[None]
ATTENTION = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "m"
    return save_tiny("llama", folder, dtype=torch.float32, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tied") / "m"
    return save_tiny("llama", folder, dtype=torch.float32, tie_word_embeddings=True)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def prepared(model, config):
    """Return PEFT's model, after the data pass that some initialisations need."""
    if config.init_lora_weights == "corda":
        from peft.tuners.lora.corda import preprocess_corda

        with torch.no_grad():
            preprocess_corda(model, config, run_model=lambda: model(input_ids=IDS))
    if config.init_lora_weights == "lora_ga":
        backward = model(input_ids=IDS, labels=IDS).loss.backward
        peft.preprocess_loraga(model, config, backward)
    wrapped = peft.get_peft_model(model, config)
    if config.init_lora_weights == "eva":
        batches = [{"input_ids": torch.randint(0, 60, (2, 12))} for _ in range(20)]
        peft.initialize_lora_eva_weights(wrapped, dataloader=batches, show_progress_bar=False)
    return wrapped


def trained(base, out, *, convert=False, **options):
    """Train and save an adapter; what its model answers, and what PEFT merges it to."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ATTENTION, "task_type": "CAUSAL_LM"}
    model = prepared(load(base), peft.LoraConfig(**settings | options))
    more = {}
    if convert:
        start = out.parent / "start"
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(start)
        model.peft_config["default"].init_lora_weights = options["init_lora_weights"]
        more = {"path_initial_model_for_weight_conversion": str(start)}
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
        answer = model(input_ids=IDS).logits
    merged = copy.deepcopy(model).merge_and_unload().state_dict()
    model.save_pretrained(out, **more)
    return answer, merged


def answer_of(base, adapter):
    """Return a plain model's answer with the weights that are formed here."""
    model = load(base)
    with opened(base, adapter) as checkpoint:
        weights = {name: read(checkpoint, name) for name in checkpoint.info.tensors}
    assert not model.load_state_dict(weights, strict=False).unexpected_keys
    with torch.no_grad():
        return model(input_ids=IDS).logits


FORMED = {
    "default": {},
    "random": {"init_lora_weights": False},
    "gaussian": {"init_lora_weights": "gaussian"},
    "Gaussian": {"init_lora_weights": "Gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "eva, with ranks and alphas of its own": {
        "init_lora_weights": "eva",
        "eva_config": peft.EvaConfig(rho=2.0, tau=0.1),
    },
    "pissa, converted": {"init_lora_weights": "pissa", "convert": True},
    "pissa_niter, converted": {"init_lora_weights": "pissa_niter_3", "convert": True},
    "olora, converted": {"init_lora_weights": "olora", "convert": True},
    "corda, converted": {
        "init_lora_weights": "corda",
        "corda_config": variants.CordaConfig(corda_method="kpm"),
        "convert": True,
    },
    "lora_ga, converted": {
        "init_lora_weights": "lora_ga",
        "lora_ga_config": variants.LoraGAConfig(),
        "convert": True,
    },
    "olora, stabilised, converted": {
        "init_lora_weights": "olora",
        "use_rslora": True,
        "convert": True,
    },
    "pissa, with patterns, converted": {
        "init_lora_weights": "pissa",
        "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 3},
        "convert": True,
    },
    "dora, stabilised, with patterns": {
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"v_proj": 2},
    },
    "all biases": {"bias": "all"},
    "some layers": {"layers_to_transform": [0, 2], "layers_pattern": "layers"},
    "all but some": {"target_modules": "all-linear", "exclude_modules": ["down_proj"]},
    "embedding and head": {"target_modules": ["embed_tokens", "lm_head"]},
    "saved whole": {"modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    "tying asked for, nothing tied": {"ensure_weight_tying": True},
}


@pytest.mark.parametrize("options", FORMED.values(), ids=FORMED.keys())
def test_formed_as_it_was_trained(options, base, tmp_path):
    answer, merged = trained(base, tmp_path / "a", **options)
    with opened(base, tmp_path / "a") as checkpoint:
        assert checkpoint.info.tensors.keys() == merged.keys()
        for name, expected in merged.items():
            # A converted adapter adds and takes away what it started with.
            slack = 1e-5 if options.get("convert") else 1e-6
            torch.testing.assert_close(read(checkpoint, name), expected, rtol=slack, atol=slack)
    torch.testing.assert_close(answer_of(base, tmp_path / "a"), answer, rtol=1e-4, atol=1e-4)


REFUSED = {
    "pissa": ({"init_lora_weights": "pissa"}, "'pissa', which changes the base's weights"),
    "pissa_niter": ({"init_lora_weights": "pissa_niter_3"}, "PEFT cannot make the same change"),
    "olora": ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
    "OLoRA": ({"init_lora_weights": "OLoRA"}, "'OLoRA', which changes the base's weights"),
    "corda": (
        {"init_lora_weights": "corda", "corda_config": variants.CordaConfig()},
        "'corda', which changes",
    ),
    "lora_ga": (
        {"init_lora_weights": "lora_ga", "lora_ga_config": variants.LoraGAConfig()},
        "PEFT cannot make the same change",
    ),
    "kasa": ({"kasa_config": variants.KasaConfig()}, r"KaSA \(kasa_config\)"),
    "velora": ({"velora_config": variants.VeloraConfig()}, "velora_config"),
    "monteclora": ({"monteclora_config": variants.MontecloraConfig()}, "monteclora_config"),
    "alora": ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
    "tokens": ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    "parameters": (
        {"target_modules": [], "target_parameters": ["q_proj.weight"]},
        "target_parameters",
    ),
    "replicated": ({"layer_replication": [(0, 2), (1, 4)]}, "layer_replication"),
    "dora on an embedding": (
        {"use_dora": True, "target_modules": ["embed_tokens"]},
        "an embedding or transposed weight",
    ),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_a_way_out(options, words, base, tmp_path):
    model = prepared(
        load(base),
        peft.LoraConfig(**{"target_modules": ATTENTION, "task_type": "CAUSAL_LM"} | options),
    )
    model.save_pretrained(tmp_path / "a")
    with pytest.raises(CheckpointError, match=words) as caught:
        opened(base, tmp_path / "a")
    assert "merge_and_unload" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init_lora_weights": "loftq"}, "'loftq', which changes the base's weights"),
        ({"init_lora_weights": "hosvd"}, "whether that changes the base's weights is unknown"),
        ({"init_lora_weights": 1}, "is unknown"),
        ({"use_mora": True}, "sets 'use_mora' to 'True'.*is unknown.*merge_and_unload"),
        ({"enable_lora": [True, False]}, "sets 'enable_lora'"),
        ({"use_rslora": "false"}, "use_rslora is 'false'; expected true or false"),
        ({"lora_bias": True}, "lora_bias"),
        ({"use_qalora": True}, "use_qalora"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
        ({"arrow_config": {"top_k": 1}}, "arrow_config"),
        ({"megatron_config": {"hidden_size": 8}}, "megatron_config"),
        *(
            ({"peft_type": peft_type.value}, "only 'LORA'")
            for peft_type in peft.PeftType
            if peft_type != "LORA"
        ),
        ({"peft_type": None}, "peft_type is None"),
    ],
    ids=str,
)
def test_fields_that_are_refused(changes, words, tmp_path):
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_mora": False, "enable_lora": None}
    adapter_config.parse_config(plain, tmp_path)
    with pytest.raises(CheckpointError, match=words):
        adapter_config.parse_config(plain | changes, tmp_path)


def test_every_field_of_the_installed_peft_has_its_place():
    tables = (adapter_config.READ, adapter_config.WITHOUT_EFFECT, adapter_config.UNSUPPORTED.keys())
    known_names = frozenset().union(*tables)
    assert {field.name for field in fields(peft.LoraConfig)} <= known_names
    assert sum(map(len, tables)) == len(known_names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_modules": ["embed_tokens", "q_proj"]}, "changes 'model.embed_tokens.weight'"),
        ({"modules_to_save": ["embed_tokens"]}, "changes 'model.embed_tokens.weight'"),
        ({"target_modules": ["lm_head", "q_proj"]}, "no output head of its own"),
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, "no output head of its own"),
        (
            {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
            "no output head of its own",
        ),
    ],
    ids=str,
)
def test_a_tied_base_is_untied_first(options, words, tied, tmp_path):
    answer, _ = trained(tied, tmp_path / "a", **options)
    with pytest.raises(CheckpointError, match=words) as caught:
        opened(tied, tmp_path / "a")
    assert "Untie the base first" in str(caught.value)
    model = AutoModelForCausalLM.from_pretrained(tied, dtype="auto", tie_word_embeddings=False)
    model.lm_head.weight.data = model.get_input_embeddings().weight.data.clone()
    model.save_pretrained(tmp_path / "untied")
    result = answer_of(tmp_path / "untied", tmp_path / "a")
    torch.testing.assert_close(result, answer, rtol=1e-4, atol=1e-4)


def test_an_embedding_that_is_no_head_may_change(tied, tmp_path):
    """A tied base without the embedding among what changes, and a bare model without a head."""
    trained(tied, tmp_path / "a")
    opened(tied, tmp_path / "a").close()
    config = json.loads((tied / "config.json").read_text()) | {"tie_word_embeddings": False}
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text(json.dumps(config))
    with opened(tied, tmp_path / "a") as checkpoint:
        save_file(
            {n: read(checkpoint, n) for n in checkpoint.info.tensors}, bare / "model.safetensors"
        )
    trained(tied, tmp_path / "b", modules_to_save=["embed_tokens"])
    opened(bare, tmp_path / "b").close()
