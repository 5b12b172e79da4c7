"""Styles: the prompts of arXiv 2602.12395 to the letter, and a user's own."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from eval.asking.run import ask_variants
from eval.asking.settings import EvalSettings
from eval.grading.grade import FORMS
from eval.prompts import PLAIN, STYLES, Style, messages
from eval.records import Condition, Suite
from eval.styles import read_style, style_of
from eval.suites.specimen import load
from eval.sweep.score import Comparison, score
from eval.variants import plain
from surgery.errors import RecipeError, SurgeryError
from surgery.recipe.nodes import compose
from tests.eval.samples import picture, question

if TYPE_CHECKING:
    from pathlib import Path

RED = picture("red")

PAPER = {
    "paper-base": "",
    "paper-reasoner": "e93edfd485c5c6dc",
    "paper-revisual": "ce8dbcf37ba747f3",
    "paper-api": "0c2e0f784e7e026c",
}
"""The first digits of the sha256 of the reference's own system prompts."""


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16] if text else ""


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_prompts_to_the_letter(name: str) -> None:
    style = STYLES[name]
    assert digest(style.system) == PAPER[name]
    assert digest(style.prefix) == "75089c1845e77ad2"
    assert style.form in FORMS
    displayed = messages(
        replace(question("q", RED), description="Red."), Condition.DESCRIBED, style
    )
    assert [turn.role for turn in displayed] == (["system"] if style.system else []) + ["user"]
    _, text = displayed[-1].parts
    prompt = question("q").prompt
    assert text == f"{style.prefix}Image Description:\nRed.\n\nQuestion:\n{prompt}"


def test_prefix_and_suffix_stand_around_the_question(tmp_path: Path) -> None:
    style = Style("s", "", "any", "Look. ", " Be short.")
    (text,) = messages(question("q"), Condition.TEXT, style)[-1].parts
    assert text == f"Look. {question('q').prompt} Be short."
    image, text = messages(question("q", RED), Condition.IMAGE, style)[-1].parts
    assert (image, text) == (RED, f"Look. {question('q').prompt} Be short.")


def test_a_file_is_a_style(tmp_path: Path) -> None:
    (tmp_path / "terse.yaml").write_text("system: |\n  Be terse.\nprefix: 'Q: '\nform: boxed\n")
    assert read_style("terse.yaml", tmp_path) == Style("terse", "Be terse.\n", "boxed", "Q: ")
    assert read_style(str(tmp_path / "terse.yaml")).prefix == "Q: "
    assert read_style("plain", tmp_path) == PLAIN
    (tmp_path / "my `style`|简.yml").write_text("suffix: x\n")
    assert read_style("my `style`|简.yml", tmp_path).name == "my-style-简"
    assert style_of(compose("{suffix: ' 请回答。🙂'}")).suffix == " 请回答。🙂"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prefx: a\n", r"1:1: unknown key 'prefx' in the style. Did you mean 'prefix'"),
        ("prefix: 3\n", r"1:9: prefix: expected text, found 3"),
        ("form: box\n", r"1:7: form: unknown value 'box'. Did you mean 'boxed'"),
        ("name: a b\nsystem: x\n", r"1:7: name: expected letters"),
        ("system: x\nname: plain\n", r"2:7: name: 'plain' is an existing style, .*another name"),
        ("[a]\n", r"expected a mapping, found a list"),
        ('system: "a\\u0007"\n', r"1:10: system: expected text, found the character U\+0007"),
        ('system: "\\ud800"\n', r"1:10: system: expected text, found the character U\+D800"),
        ("a: b: c\n", r"s\.yaml:1"),
    ],
)
def test_faults_of_a_file_have_a_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        read_style("s.yaml", tmp_path)


def test_names_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="Did you mean 'paper-base'"):
        read_style("paper-bas")
    with pytest.raises(RecipeError, match=r"cannot read .*absent\.yaml"):
        read_style("absent.yaml", tmp_path)
    (tmp_path / "think-answer.yaml").write_text("system: x\n")
    with pytest.raises(RecipeError, match="'think-answer' is an existing style"):
        read_style("think-answer.yaml", tmp_path)


def test_another_style_of_one_name_is_asked_anew_and_stands_in_the_header(tmp_path: Path) -> None:
    (arithmetic,) = (task for task in load(2, 11).tasks if task.name == "arithmetic")
    suites = (Suite("s", (arithmetic,), 4),)
    variants = [plain("in", "specimen:in")]
    answered, prompts = [], []
    for prefix in ("A: ", "B: ", "A: "):
        style = Style("mine", "", "any", prefix)
        settings = EvalSettings(style=style, device="cpu", threads=1)
        selected = ask_variants(variants, suites, settings, tmp_path)
        score(selected, suites, settings, tmp_path, Comparison())
        header = json.loads((tmp_path / "run.json").read_text())
        answered.append(selected[0].timing.answered)
        prompts.append((header["style"], header["prompt"]["prefix"]))
    assert answered == [2, 2, 0]  # the first again: its responses are there
    assert prompts == [("mine", "A: "), ("mine", "B: "), ("mine", "A: ")]
    assert len(set((tmp_path / "responses.jsonl").read_text().splitlines())) == 4
