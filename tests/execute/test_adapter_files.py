"""Tokenizer, chat template and processor of an adapter's folder belong to what is made of it."""

from __future__ import annotations

import json
import shutil

import pytest

from surgery.errors import PlanError
from surgery.execute.files import companions
from surgery.execute.verify import verify
from surgery.plan.validate import check_vocabularies, validate
from tests.checkpoint.test_adapter import train
from tests.execute.merging import merge, plan_of
from tests.families import save_tiny

STEPS = "steps:\n  - interpolate: language[:]\n    from: rl\n    t: 0.5\n"


@pytest.fixture(scope="module")
def adapter_models(tmp_path_factory):
    """Make a base, another model and an adapter of the base, with weights and config alone."""
    root = tmp_path_factory.mktemp("made")
    base = save_tiny("qwen2_5_vl", root / "base", tie_word_embeddings=False)
    save_tiny("qwen2_5_vl", root / "rl", seed=1, tie_word_embeddings=False)
    train(base, root / "adapter", target_modules=["q_proj"])
    shutil.rmtree(root / "adapter" / "merged")
    return root


@pytest.fixture
def models(adapter_models, tmp_path):
    for folder in adapter_models.iterdir():
        shutil.copytree(folder, tmp_path / folder.name)
    (tmp_path / "base" / "generation_config.json").unlink(missing_ok=True)
    (tmp_path / "adapter" / "README.md").unlink(missing_ok=True)
    return tmp_path


def recipe(root, rest=""):
    return (
        f"name: test\nmodels:\n  in: {{base: {root / 'base'}, adapter: {root / 'adapter'}}}\n"
        f"  rl: {root / 'rl'}\nbase: in\n{rest}{STEPS}"
    )


def put(folder, *names, **contents):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(contents.get(name.partition(".")[0], "{}"))


V4 = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
V5 = ("tokenizer.json", "tokenizer_config.json")
SLOW = ("vocab.json", "merges.txt", "tokenizer_config.json")
EXTRA = "additional_chat_templates/tools.jinja"


@pytest.mark.parametrize(
    ("base", "adapter", "omitted"),
    [
        (V4, (), V4),
        (V4, V5, ()),
        (V5, V4, ()),
        ((*SLOW, "tokenizer.json"), ("tokenizer.json",), ()),
        (V4, ("added_tokens.json",), V4[:-1]),
        (("qwen.tiktoken", "tokenizer_config.json"), ("other.tiktoken",), ()),
        ((*V5, "chat_template.json", EXTRA), ("chat_template.jinja",), V5),
        (("chat_template.jinja",), (EXTRA,), ()),
        (("chat_template.jinja",), V5, ("chat_template.jinja",)),
        (
            ("processor_config.json", "chat_template.jinja"),
            ("preprocessor_config.json",),
            ("chat_template.jinja",),
        ),
        (("LICENSE", "config.json"), ("LICENSE", "config.json"), ("LICENSE", "config.json")),
        ((), ("training_args.bin", "trainer_state.json", "README.md"), ()),
    ],
    ids=str,
)
def test_a_set_of_files_comes_whole_from_one_folder(base, adapter, omitted, models):
    config = (models / "base" / "config.json").read_text()
    put(models / "base", *base, config=config)
    put(models / "adapter", *adapter)
    files = companions(plan_of(recipe(models)))
    sources = {name: source for name, (_, source) in files.items() if source}
    assert {name for name, source in sources.items() if source == "in"} == {*omitted, "config.json"}
    local = {name for name, source in sources.items() if source == "in (adapter)"}
    assert local == set(adapter) - {"LICENSE", "config.json", "README.md", "training_args.bin"} - {
        "trainer_state.json"
    }


@pytest.mark.parametrize("holder", ["tokenizer_config.json", "processor_config.json"])
def test_a_template_inside_a_configuration_replaces_the_bases_file(holder, models):
    put(models / "base", "chat_template.jinja", EXTRA)
    (models / "adapter" / holder).write_text(json.dumps({"chat_template": "TRAINED"}))
    assert companions(plan_of(recipe(models))).keys() == {"config.json", holder, "README.md"}


def tokenizer(folder, *added, template=None):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")
    pre_trained_tokenizer_fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), unk_token="[UNK]"
    )
    pre_trained_tokenizer_fast.add_tokens(list(added))
    pre_trained_tokenizer_fast.chat_template = template
    pre_trained_tokenizer_fast.save_pretrained(folder)


def test_the_output_speaks_as_the_adapter_was_trained(models):
    from transformers import AutoTokenizer

    tokenizer(models / "base", template="BASE")
    tokenizer(models / "adapter", "<think>", template="TRAINED")
    _, ledger = merge(recipe(models), models / "out", workers=1)
    output = AutoTokenizer.from_pretrained(models / "out")
    assert (
        output.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "TRAINED"
    )
    assert output.convert_tokens_to_ids("<think>") == 3
    sources = {entry.name: entry.source for entry in ledger.files}
    assert sources["tokenizer.json"] == sources["chat_template.jinja"] == "in (adapter)"
    assert sources["config.json"] == "in"
    assert verify(models / "out").ok
    put(models / "adapter", "chat_template.jinja")
    faults = verify(models / "out").faults
    assert [fault.where for fault in faults] == ["chat_template.jinja"]


def test_the_adapters_vocabulary_is_compared(models):
    tokenizer(models / "base")
    tokenizer(models / "adapter", "<think>")
    tokenizer(models / "rl")
    with pytest.raises(PlanError, match=r"'in' .* and 'rl' .* differ: .*'<think>'"):
        check_vocabularies(plan_of(recipe(models)))
    check_vocabularies(plan_of(recipe(models, "vocabulary: ignore\n")))
    tokenizer(models / "rl", "<think>")
    check_vocabularies(plan_of(recipe(models)))


def test_tokens_without_a_row_are_refused(models):
    rows = plan_of(recipe(models)).base.tensors["lm_head.weight"].shape[0]
    tokenizer(models / "adapter", *(f"<{number}>" for number in range(rows)))
    with pytest.raises(PlanError, match=rf"3 tokens without a row, '<{rows - 3}>' first: .*{rows}"):
        check_vocabularies(plan_of(recipe(models)))


def test_the_adapters_folder_is_no_place_for_the_output(models):
    with pytest.raises(PlanError, match="that this recipe reads"):
        validate(plan_of(recipe(models)), models / "adapter", workers=1)
