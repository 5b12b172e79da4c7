"""Custom suites."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from eval.records import AnswerKind, Metric
from eval.suites.table import Choice, load_suite
from surgery.errors import ExecutionError, RecipeError
from tests.eval.samples import picture

if TYPE_CHECKING:
    from pathlib import Path

YAML = """name: receipts
rows: receipts.jsonl
metric: m_vis
kind: number
tolerance: 0.01
columns: {prompt: question, answer: total, image: photo}
categories: [shop]
max_new_tokens: 64
"""
ROWS = [
    {"question": "Total?", "total": 12.5, "photo": "a.png", "shop": "x"},
    {"question": "Tax?", "total": "1", "photo": "a.png", "shop": "y", "id": "tax"},
    {"question": "Total?", "total": "3", "photo": ["b.png", "a.png"], "shop": "y"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite.yaml").write_text(YAML)
    (tmp_path / "a.png").write_bytes(picture("red").data)
    (tmp_path / "b.png").write_bytes(picture("blue").data)
    rows(tmp_path, *ROWS)
    return tmp_path


def rows(folder: Path, *result: dict) -> None:
    text = "".join(json.dumps(row) + "\n" for row in result)
    (folder / "receipts.jsonl").write_text(text)


def load(folder: Path, **choice):
    return load_suite(str(folder / "suite.yaml"), Choice(**choice))


def test_ten_lines_are_enough(folder: Path) -> None:
    suite = load(folder)
    assert (suite.name, suite.max_new_tokens) == ("receipts", 64)
    (task,) = suite.tasks
    assert task.metric is Metric.VISION
    item, tax, two = task.samples
    assert (item.prompt, item.answer, item.kind, item.tolerance) == (
        "Total?", "12.5", AnswerKind.NUMBER, 0.01,
    )  # fmt: skip
    assert [sample.id for sample in task.samples] == ["0", "tax", "2"]
    assert len(two.images) == 2
    assert item.group == tax.group != two.group
    assert item.categories == {"shop": "x"}
    assert len(load(folder, samples=2).tasks[0].samples) == 2


def test_options_by_letter_or_text(folder: Path) -> None:
    (folder / "suite.yaml").write_text("name: o\nrows: receipts.jsonl\nkind: option\n")
    rows(folder, *[{"prompt": "?", "answer": a, "choices": ["red", "blue"]} for a in ("B", "blue")])
    assert [sample.answer for sample in load(folder).tasks[0].samples] == ["B", "B"]
    rows(folder, {"prompt": "?", "answer": "green", "choices": ["red", "blue"]})
    with pytest.raises(ExecutionError, match=r"receipts\.jsonl:1: the answer 'green'"):
        load(folder)
    for wrong in (1.5, "red, blue", {"A": "red"}):
        rows(folder, {"prompt": "?", "answer": "A", "choices": wrong})
        with pytest.raises(ExecutionError, match=r"receipts\.jsonl:1: 'choices' is .* a list"):
            load(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric: m_vis", "metrik: m_vis",
         r"suite\.yaml:3:1.*unknown key 'metrik' in the suite. Did you mean 'metric'"),
        ("metric: m_vis", "metric: m_viz",
         r"suite\.yaml:3:9.*unknown value 'm_viz'. Did you mean 'm_vis'"),
        ("tolerance: 0.01", "tolerance: -1", r"suite\.yaml:5:12.*tolerance: expected 0.* or more"),
        ("rows: receipts.jsonl\n", "", r"the suite needs 'rows'"),
        ("rows: receipts.jsonl", "rows: ../r.jsonl", r"suite\.yaml:2:7.*points outside"),
        ("prompt: question", "promt: question",
         r"suite\.yaml:6:11: unknown key 'promt' in columns. Did you mean 'prompt'"),
        ("shop]", "town]", r"receipts\.jsonl:1 has no column 'town'; it has question"),
        ("answer: total", "answer: sum", r"receipts\.jsonl:1 has no column 'sum'"),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_place(folder: Path, old: str, new: str, message: str) -> None:
    assert old in YAML
    (folder / "suite.yaml").write_text(YAML.replace(old, new))
    with pytest.raises((RecipeError, ExecutionError), match=f"(?s){message}"):
        load(folder)


def test_faults_of_the_rows(folder: Path) -> None:
    path = folder / "receipts.jsonl"
    path.write_text(path.read_text() + "{oops\n")
    with pytest.raises(ExecutionError, match=r"receipts\.jsonl:4 is not JSON"):
        load(folder)
    path.write_text("")
    with pytest.raises(ExecutionError, match="holds no sample"):
        load(folder)
    rows(folder, {**ROWS[0], "photo": None})
    with pytest.raises(ExecutionError, match="m_vis needs an image, and sample '0' has none"):
        load(folder)
    rows(folder, {**ROWS[0], "photo": "absent.png"})
    with pytest.raises(ExecutionError, match=r"'photo': 'absent\.png' cannot be read"):
        load(folder)
    path.unlink()
    with pytest.raises(ExecutionError, match=r"receipts\.jsonl cannot be read"):
        load(folder)
    with pytest.raises(RecipeError, match=r"absent\.yaml"):
        load_suite(str(folder / "absent.yaml"), Choice())
