"""`surgery freeze`: the formats, read back by what they are for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import peft

from surgery import specimen
from surgery.train.model import load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess
    from typing import Any

    Command = Callable[..., CompletedProcess[str]]


def model_of_in() -> Any:
    folder = specimen.path("in")
    return load_model(folder, json.loads((folder / "config.json").read_text()))


def test_names_and_regex_and_json_say_the_same(surgery: Command) -> None:
    selected = ("freeze", "specimen:in", "language[late]", "vision")
    names = surgery(*selected).stdout.split()
    pattern = surgery(*selected, "--format", "regex").stdout.strip()
    record = json.loads(surgery(*selected, "--format", "json").stdout)
    model = model_of_in()
    assert (
        names
        == record["frozen"]
        == [name for name, _ in model.named_parameters() if re.search(pattern, name)]
    )
    assert record["regex"] == pattern
    stored = sum(p.numel() for n, p in model.named_parameters() if n in names)
    assert record["parameters"]["frozen"] == stored
    assert {re.search(r"visual|layers\.[678]\.", name) is not None for name in names} == {True}


def test_peft_takes_what_it_is_given(surgery: Command) -> None:
    text = surgery(
        "freeze", "specimen:in", "--train", "language[mid].attention", "--format", "peft"
    )
    arguments = json.loads(text.stdout)
    assert arguments["layers_to_transform"] == [3, 4, 5]
    wrapped = peft.get_peft_model(model_of_in(), peft.LoraConfig(**arguments))
    learning = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert learning and all(re.search(r"layers\.[345]\.self_attn\.", name) for name in learning)


def test_a_tie_is_told_beside_the_result(surgery: Command) -> None:
    done = surgery("freeze", "specimen:in", "embedding")
    assert done.stdout == "model.language_model.embed_tokens.weight\n"
    assert "are one tensor (tied), so neither learns" in done.stderr


def test_what_cannot_be_frozen_is_one_paragraph(surgery: Command) -> None:
    for arguments, output in (
        (("language[9]",), "'9' in 'language[9]' is out of range"),
        (("langauge",), "Did you mean 'language'?"),
        (("*",), "leaves no parameter to train"),
        (("language, vision, projector, norm", "--format", "peft"), "no linear layer learns"),
    ):
        done = surgery("freeze", "specimen:in", *arguments)
        assert done.returncode == 2 and done.stdout == ""
        assert output in done.stderr and done.stderr.count("\n") == 1
