from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]


def test_the_picture_reads_without_colour(surgery: Surgery, bound: list[str]) -> None:
    done = surgery("plan", "splices/in-rl-in", *bound)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    position = next(i for i, line in enumerate(lines) if line.lstrip().startswith("language"))
    assert lines[position].split() == ["language", "0", "1", "2", "3"]
    assert lines[position + 1].split() == ["I", "R", "I", "I"]
    assert any("language layer 1" in line and "from rl" in line for line in lines)
    assert any(line.split()[:4] == ["rl", "12", "used,", "69"] for line in lines)


def test_json_has_one_entry_per_tensor(surgery: Surgery, bound: list[str]) -> None:
    done = surgery("plan", "splices/in-rl-in", "--json", *bound)
    record = json.loads(done.stdout)
    assert list(record) == ["recipe", "models", "output", "fetch", "notes", "tensors"]
    assert record["recipe"]["steps"][0]["layers"] == {"language": [[1, 2]]}
    moved = [t for t in record["tensors"] if t["inputs"][0]["model"] == "rl"]
    assert len(record["tensors"]) == record["models"]["in"]["used"] + len(moved)
    assert {t["site"]["layer"] for t in moved} == {1}
    assert {t["step"] for t in moved} == {0}
    assert sum(t["bytes"] for t in record["tensors"]) == record["output"]["bytes"]
    assert surgery("plan", "splices/in-rl-in", "--json", *bound).stdout == done.stdout


def test_an_svg_can_be_had_too(surgery: Surgery, bound: list[str], tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        assert surgery("plan", "splices/in-rl-in", "--out-svg", name, *bound).returncode == 0
    svg = (tmp_path / "a.svg").read_text()
    assert svg.startswith("<svg")
    assert "in&#160;(base)" in svg
    assert svg == (tmp_path / "b.svg").read_text()


def test_an_svg_that_cannot_be_written(surgery: Surgery, bound: list[str]) -> None:
    done = surgery("plan", "splices/in-rl-in", "--out-svg", "no/such/a.svg", *bound)
    assert done.returncode == 2
    assert "no/such/a.svg: cannot be written: No such file or directory." in done.stderr


def test_a_fault_in_a_recipe_has_its_place(surgery: Surgery, tmp_path: Path) -> None:
    steps = "steps:\n  - transplant: langauge[mid]\n    from: rl\n"
    (tmp_path / "mine.yaml").write_text(f"models: {{in: ./a, rl: ./b}}\nbase: in\n{steps}")
    done = surgery("plan", "mine.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: mine.yaml:4:17: ")
    assert "Did you mean 'language'?" in done.stderr
