"""Training samples: mixtures, and never a benchmark."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from eval.suites import specimen
from eval.suites.lessons import lessons
from surgery.errors import ExecutionError, SurgeryError
from surgery.specimen.world import split_of

FOLDER = Path()


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for name, count in (("sums", 6), ("words", 2)):
        rows = [{"prompt": f"{name} {i}", "answer": "x", "id": i} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nrows: {name}.jsonl\n")
    return tmp_path


def test_all_of_ones_own_files_once(two: Path) -> None:
    result = lessons(["sums.yaml", "words.yaml"], {}, None, 0, two)
    assert Counter(sample.prompt for sample in result) == Counter(
        [f"sums {i}" for i in range(6)] + [f"words {i}" for i in range(2)]
    )
    assert [s.prompt for s in result] != sorted(s.prompt for s in result)


def test_weights_decide_and_a_small_file_comes_round_again(two: Path) -> None:
    result = lessons(["sums.yaml", "words.yaml"], {"sums": 1, "words": 3}, 400, 1, two)
    counts = Counter(sample.task for sample in result)
    assert counts["words"] == pytest.approx(300, abs=40)
    counter = Counter(s.prompt for s in result if s.task == "words")
    assert len(counter) == 2 and max(counter.values()) - min(counter.values()) <= 1


def test_equal_seeds_draw_equal_samples() -> None:
    def prompts_of(seed: int) -> list[str]:
        return [s.prompt for s in lessons(["specimen"], {"arithmetic": 1}, 5, seed, FOLDER)]

    assert prompts_of(4) == prompts_of(4) != prompts_of(5)


def test_the_specimens_lessons_are_of_the_training_side_alone() -> None:
    for task in specimen.TRAINED:
        for sample in islice(specimen.lessons(task, 0), 20):
            assert "-train-" in sample.id
            assert sample.demonstration
            if sample.task == "arithmetic":
                expression = sample.prompt.removeprefix("compute ").removesuffix(" mod 10")
                assert split_of(f"expression {expression}") == "train"


@pytest.mark.parametrize(
    ("suites", "tasks", "samples", "message"),
    [
        (["mathvista"], {}, None, "'mathvista' is a benchmark"),
        (["speciman"], {}, 3, "no suite 'speciman' to train on. Did you mean 'specimen'"),
        (["specimen"], {}, None, "set their number"),
        (["specimen"], {"combine": 1.0}, 3, "no task 'combine' to train on"),
        (["missing.yaml"], {}, 3, "cannot read"),
    ],
)
def test_what_cannot_be_learnt_from_is_told(
    suites: list[str], tasks: dict[str, float], samples: int | None, message: str
) -> None:
    with pytest.raises(SurgeryError, match=message):
        lessons(suites, tasks, samples, 0, FOLDER)


def test_suites_of_one_name_are_not_mixed_up(two: Path) -> None:
    (two / "more.yaml").write_text("name: sums\nrows: words.jsonl\n")
    with pytest.raises(SurgeryError, match="two suites to train on have a task 'sums'"):
        lessons(["sums.yaml", "more.yaml"], {}, None, 0, two)


def test_a_demonstration_is_text(two: Path) -> None:
    row = {"prompt": "1", "answer": "x", "demonstration": ["a"]}
    (two / "sums.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ExecutionError, match=r"'demonstration' is \['a'\]; expected text"):
        lessons(["sums.yaml"], {}, None, 0, two)
