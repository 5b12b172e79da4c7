"""Measured peak memory never exceeds what the plan projected."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from surgery.methods.table import METHODS
from tests.execute.merging import recipe_text
from tests.execute.test_oracle import merge_step

MEASURE = """
import json, sys
from pathlib import Path
from tests.execute.merging import merge
from surgery.plan.memory import projected_memory
plan, _ = merge(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), workers=2)
# ru_maxrss would count the parent before exec; this does not.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"peak": peak, "projected": projected_memory(plan, 2),
                  "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Checkpoints whose MLP matrices are large enough to tell a copy more from one less."""
    from tests.families import save_tiny

    root = tmp_path_factory.mktemp("wide")
    return {
        name: save_tiny(
            "qwen2",
            root / name,
            seed=seed,
            num_hidden_layers=2,
            hidden_size=512,
            intermediate_size=20_000,
        )
        for seed, name in enumerate(("base", "in", "rl"))
    }


def measured(steps, models, tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe_text(models, steps))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "recipe.yaml"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_transplant_is_small_and_without_torch(models, tmp_path):
    result = measured("  - transplant: language[1]\n    from: rl", models, tmp_path)
    assert result["peak"] <= result["projected"] < 250e6
    assert not result["torch"]


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_interpolation_is_bounded(models, tmp_path, method):
    steps = f"  - interpolate: '*'\n    from: rl\n    method: {method}\n    t: 0.3"
    result = measured(steps, models, tmp_path)
    assert result["peak"] <= result["projected"] < 800e6


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_bounded(models, tmp_path, name):
    result = measured(merge_step(name), models, tmp_path)
    assert result["peak"] <= result["projected"]


@pytest.mark.slow
def test_ram_of_many_models_is_bounded(models, tmp_path):
    several = {**models, **{f"x{i}": models["rl"] for i in range(3)}}
    step = "  - merge: language[:].mlp\n    method: ramplus_tl\n    models: [rl, base, x0, x1, x2]"
    result = measured(step, several, tmp_path)
    assert result["peak"] <= result["projected"]
