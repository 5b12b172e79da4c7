"""Reading recipes and translating them must not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
HEAVY = "{'torch', 'transformers', 'safetensors', 'huggingface_hub'}"
CODE = {
    "import": "import surgery.recipe",
    "load": "from surgery.recipe import load_recipe; load_recipe('specimen/in-rl-in')",
    "schema": "from surgery.recipe.jsonschema import recipe_schema; recipe_schema()",
    "translate": (
        "from surgery.recipe.mergekit import from_mergekit, to_mergekit\n"
        "from surgery.recipe import load_recipe\n"
        "from tests.recipe.models import architecture\n"
        "text = to_mergekit(load_recipe('specimen/in-rl-in'), architecture('specimen'))\n"
        "from_mergekit(text)"
    ),
}


@pytest.mark.parametrize("module", CODE)
def test_no_heavy_library_is_loaded(module: str) -> None:
    code = f"import sys\n{CODE[module]}\nassert not {HEAVY} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, cwd=ROOT)
