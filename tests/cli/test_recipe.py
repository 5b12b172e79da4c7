from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import yaml

from surgery.recipe import load_recipe

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]


def test_list_groups_and_describes(surgery: Surgery) -> None:
    done = surgery("recipe", "list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "specimen"
    assert any(line.split()[:1] == ["specimen/in-rl-in"] for line in lines)
    splice = next(line for line in lines if line.split()[:1] == ["splices/in-rl-in"])
    assert "needs --model in=REF --model rl=REF" in splice


def test_list_json_names_load(surgery: Surgery) -> None:
    entries = json.loads(surgery("recipe", "list", "--json").stdout)
    names = [entry["name"] for entry in entries]
    assert "openmmreasoner/in-rl-in" in names
    assert load_recipe(names[0]).steps
    assert all(entry["description"] for entry in entries)


def test_show_prints_the_file_or_all_it_means(surgery: Surgery) -> None:
    assert surgery("recipe", "show", "specimen/in-rl-in").stdout.startswith("extends:")
    resolved = surgery("recipe", "show", "specimen/in-rl-in", "--resolved").stdout
    assert "extends" not in resolved
    assert "transplant: 'language[mid]'" in resolved


def test_new_writes_a_recipe_that_plans(surgery: Surgery, bound: list[str], tmp_path: Path) -> None:
    done = surgery("recipe", "new", "mine.yaml")
    assert (done.returncode, done.stdout) == (0, "wrote mine.yaml; next: surgery plan mine.yaml\n")
    assert surgery("plan", "mine.yaml", *bound).returncode == 0
    again = surgery("recipe", "new", "mine.yaml")
    assert again.returncode == 2
    assert "mine.yaml already exists" in again.stderr
    assert surgery("recipe", "new").stdout.startswith("# A recipe says")


def test_every_example_in_the_scaffold_is_valid(surgery: Surgery, tmp_path: Path) -> None:
    text = surgery("recipe", "new").stdout
    disabled = re.compile(r"^( *)# (- \w+: |  \w+: |regions: |output: )", re.MULTILINE)
    (tmp_path / "all.yaml").write_text(disabled.sub(r"\1\2", text))
    recipe = load_recipe(tmp_path / "all.yaml")
    assert [type(step).__name__ for step in recipe.steps] == [
        "Transplant",
        "Interpolate",
        "Add",
        "Merge",
    ]


def test_schema_accepts_what_new_writes(surgery: Surgery) -> None:
    schema = json.loads(surgery("recipe", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(surgery("recipe", "new").stdout), schema)


def test_to_mergekit_and_back(surgery: Surgery, bound: list[str], tmp_path: Path) -> None:
    done = surgery("recipe", "to-mergekit", "splices/in-rl-in", *bound)
    assert done.returncode == 0, done.stderr
    assert "slices" in done.stdout
    (tmp_path / "mergekit.yaml").write_text(done.stdout)
    back = surgery("recipe", "from-mergekit", "mergekit.yaml")
    assert back.returncode == 0, back.stderr
    (tmp_path / "back.yaml").write_text(back.stdout)
    data = json.loads(surgery("plan", "splices/in-rl-in", "--json", *bound).stdout)
    local = json.loads(surgery("plan", "back.yaml", "--json").stdout)
    assert _layers(local) == _layers(data)


def _layers(record: dict[str, Any]) -> set[tuple[str, int]]:
    """Return the layers that do not come from the base."""
    base = record["recipe"]["base"]
    return {
        (t["site"]["component"], t["site"]["layer"])
        for t in record["tensors"]
        if t["inputs"][0]["model"] != base
    }


def test_from_mergekit_with_a_model_that_says_what_filters_pick(
    surgery: Surgery, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text(
        "merge_method: slerp\nbase_model: org/a\nmodels: [{model: org/a}, {model: org/b}]\n"
        "parameters: {t: [{filter: self_attn, value: [0.5, 1]}, {value: 0}]}"
    )
    done = surgery("recipe", "from-mergekit", "m.yaml")
    assert done.returncode == 2
    assert "m.yaml:4:27: the filter 'self_attn' may pick other tensors" in done.stderr
    assert "--model REF" in done.stderr
    done = surgery("recipe", "from-mergekit", "m.yaml", "--model", "b=specimen:rl")
    assert done.returncode == 0, done.stderr
    recipe = yaml.safe_load(done.stdout)
    assert recipe["models"] == {"a": "org/a", "b": "specimen:rl"}
    assert [step["interpolate"] for step in recipe["steps"]] == ["language[:].attention"]
    done = surgery("recipe", "from-mergekit", "m.yaml", "--model", "c=specimen:rl")
    assert done.returncode == 2
    assert "the file has no model 'c'" in done.stderr


def test_a_mergekit_file_that_is_not_there(surgery: Surgery) -> None:
    done = surgery("recipe", "from-mergekit", "nothing.yaml")
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr


def test_a_new_recipe_under_a_name_that_is_no_text(surgery: Any, tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xffb.yaml")
    assert surgery("recipe", "new", name).returncode == 0
    assert surgery("plan", name).returncode == 0
    assert b"a\\udcffb" in (tmp_path / name).read_bytes()
