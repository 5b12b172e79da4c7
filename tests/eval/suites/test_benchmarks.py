"""Every published benchmark: its columns to samples, its subset, its refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.prompts import STYLES, messages
from eval.records import AnswerKind, Condition, Metric, Suite
from eval.suites.table import SUITES, Choice, list_suites, load_suite
from surgery.errors import ExecutionError, SurgeryError
from tests.eval.samples import picture
from tests.eval.suites.rows import MATHVISTA, publish, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return publish(tmp_path_factory.mktemp("published"))


def load(name: str, data: dict[str, str], samples: int | None = None, seed: int = 123) -> Suite:
    return load_suite(name, Choice(samples, seed, data))


def only(name: str, data: dict[str, str]):
    (task,) = load(name, data).tasks
    assert task.name == name
    assert task.metric is Metric.ACCURACY
    assert all(sample.task == name for sample in task.samples)
    return task.samples


def test_mathvista(data) -> None:
    option, years, decimal, several, *_ = only("mathvista", data)
    assert option.prompt == "Question 1?\n\nChoices:\nA. dog\nB. cat"
    assert (option.answer, option.kind) == ("B", AnswerKind.OPTION)
    assert option.images == (picture("red"),)
    assert option.categories["context"] == "natural image"
    assert option.group == years.group != decimal.group  # the same image
    assert (years.prompt, years.kind) == ("Question 2? (Unit: years)", AnswerKind.NUMBER)
    assert (decimal.kind, decimal.tolerance) == (AnswerKind.NUMBER, 0.05)
    assert (several.kind, several.answer) == (AnswerKind.TEXT, "[0, 2, 1]")


def test_mathvision(data) -> None:
    free, letters, option = only("mathvision", data)
    assert free.prompt == "How many <image 1> are in ?"
    assert (free.kind, free.answer) == (AnswerKind.MATH, "\\frac{1}{2}")
    assert (letters.kind, letters.answer, len(letters.choices)) == (AnswerKind.OPTION, "C", 5)
    assert option.answer == "B"
    assert dict(option.categories) == {"subject": "algebra", "level": "5"}


def test_mathverse(data) -> None:
    text, calls, free = only("mathverse", data)
    assert text.group == calls.group == "7"
    assert calls.prompt == "Answer the question that stands in the image."
    assert (text.kind, text.answer) == (AnswerKind.OPTION, "B")
    assert (free.kind, free.answer) == (AnswerKind.MATH, "2\\sqrt{3}")
    assert calls.categories["version"] == "Vision Only"


def test_mmmu(data) -> None:
    option, number, word = only("mmmu", data)
    assert option.images == (picture("red"), picture("blue"))
    assert option.prompt.endswith("A. <image 2>\nB. b")
    assert option.categories["subject"] == "Accounting"
    assert word.categories["subject"] == "Art_Theory"
    assert (number.kind, number.answer, number.also) == (AnswerKind.NUMBER, "1.06", ("1.07",))
    assert (word.kind, word.answer) == (AnswerKind.TEXT, "Rococo")


def test_blink(data) -> None:
    item, two = only("blink", data)
    assert (item.answer, len(item.images), item.kind) == ("B", 2, AnswerKind.OPTION)
    assert item.prompt.startswith("Same style?\nSelect.")
    assert two.categories == {"kind": "Counting"}


def test_hallusionbench(data) -> None:
    no, yes = only("hallusionbench", data)
    assert (no.answer, yes.answer) == ("No", "Yes")
    assert no.group == yes.group
    assert no.id != yes.id
    assert no.prompt.endswith("Answer yes or no.")


def test_cvbench(data) -> None:
    samples = only("cvbench", data)
    assert [sample.id for sample in samples] == ["0", "1", "2"]
    assert samples[0].answer == "B"
    assert samples[0].categories["source"] == "COCO"


def test_math500_and_gsm8k(data) -> None:
    maths = only("math500", data)
    assert len(maths) == 20
    assert (maths[3].answer, maths[3].categories["level"]) == ("4", "4")
    apples, ann = only("gsm8k", data)
    assert (apples.answer, ann.answer, ann.kind) == ("1200", "3", AnswerKind.NUMBER)


def test_paper(data) -> None:
    vqa, maths, text = load("paper", data).tasks
    assert [task.metric for task in (vqa, maths, text)] == [
        Metric.VISION, Metric.ALIGNMENT, Metric.REASONING,
    ]  # fmt: skip
    assert [sample.id for sample in vqa.samples] == ["1", "2", "3", "4"]
    assert [sample.id for sample in maths.samples] == ["5", "6"]
    assert len(text.samples) == 20


def test_paper_fine(data) -> None:
    tasks = {task.name: [s.id for s in task.samples] for task in load("paper-fine", data).tasks}
    assert tasks["charts"] == ["3"]
    assert tasks["tables"] == ["4", "6"]
    assert tasks["natural-images"] == ["1", "2"]
    assert tasks["geometry"] == ["5", "6"]
    assert len(tasks["math500-hard"]) == 8


OFFICIAL = {
    "mathvista": ("Hint: ...", ""),
    "mathvision": ("Please solve the problem step by step", "one letter is allowed"),
    "mathverse": ("", ""),
    "mmmu": ("", "Answer with the option's letter from the given choices directly."),
    "blink": ("", "Select."),
    "cvbench": ("How many? Select", ""),
    "hallusionbench": ("Is the right circle larger?", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_prompts_are_the_authors(name: str, data) -> None:
    start, part = OFFICIAL[name]
    sample = only(name, data)[0]
    if name == "mathverse":
        sample = replace(sample, official="according to the question shown in the image ...")
    condition = Condition.IMAGE if sample.images else Condition.TEXT
    (message,) = messages(sample, condition, STYLES["official"])
    text = "".join(piece for piece in message.parts if isinstance(piece, str))
    assert text.startswith(start) or start in text
    assert part in text
    plain = messages(sample, condition, STYLES["plain"])
    assert message.digest != plain[-1].digest or name == "blink"


@pytest.mark.parametrize("name", ["gsm8k", "math500"])
def test_a_benchmark_without_an_official_prompt_says_so(name: str, data) -> None:
    with pytest.raises(SurgeryError, match=r"has no official prompt. Use another --style"):
        messages(only(name, data)[0], Condition.TEXT, STYLES["official"])


def test_the_subset_is_the_papers(data) -> None:
    expected = sorted(np.random.RandomState(123).choice(20, 5, replace=False))
    (_, _, text) = load("paper", data, samples=5).tasks
    assert [sample.id for sample in text.samples] == [f"test/algebra/{n}.json" for n in expected]
    assert load("paper", data, samples=5) == load("paper", data, samples=5)
    (_, _, other) = load("paper", data, samples=5, seed=1).tasks
    assert other != text


def test_every_suite_is_listed_and_loads(data) -> None:
    listed = [name for name, line, _ in list_suites() if line]
    assert listed == ["specimen", *SUITES]
    for name in SUITES:
        assert load(name, data).tasks


def test_jsonl_with_images_in_a_folder(tmp_path: Path) -> None:
    """The same columns, the images as files."""
    (tmp_path / "images").mkdir()
    rows = []
    for row in MATHVISTA:
        (tmp_path / row["image"]).write_bytes(row["decoded_image"]["bytes"])
        rows.append({**row, "decoded_image": row["image"]})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = only("mathvista", {"mathvista": str(tmp_path)})
    assert [sample.id for sample in result] == ["1", "2", "3", "4", "5", "6"]
    assert result[0].images == (picture("red"),)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "link.png"])
def test_images_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture().data)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    row = {**MATHVISTA[0], "decoded_image": name}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ExecutionError, match=r"rows\.jsonl:1: 'decoded_image': .* points outside"):
        load("mathvista", {"mathvista": str(folder)})


def test_refusals(data, tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="Did you mean 'mathvista'"):
        load("mathvist", data)
    with pytest.raises(SurgeryError, match="Did you mean 'mathvista'"):
        load("paper", {"mathvsta": "x"})
    with pytest.raises(ExecutionError, match="there is no folder"):
        load("mathvista", {"mathvista": str(tmp_path / "absent")})
    with pytest.raises(ExecutionError, match=r"no data/testmini-\*\.parquet, and no \.parquet"):
        load("mathvista", {"mathvista": str(tmp_path)})
    (tmp_path / "x.parquet").write_bytes(b"nonsense")
    with pytest.raises(ExecutionError, match="cannot be read as parquet"):
        load("mathvista", {"mathvista": str(tmp_path)})


def test_a_missing_column_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "metadata"} for row in MATHVISTA]
    write(tmp_path / "x.parquet", rows, ("decoded_image",))
    with pytest.raises(ExecutionError, match=r"row 0 has no column 'metadata'; it has pid, "):
        load("paper", {"mathvista": str(tmp_path)})


def test_an_answer_that_is_no_option_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", [{**MATHVISTA[0], "answer": "cow"}], ("decoded_image",))
    with pytest.raises(ExecutionError, match=r"row 0: the answer 'cow' is none of the options"):
        load("mathvista", {"mathvista": str(tmp_path)})


def test_without_the_hub_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server listens there, so the datasets library stops immediately."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExecutionError, match=r"MATH-500 could not be loaded .* --data"):
        load("math500", {})
