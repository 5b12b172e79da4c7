"""Plans of models with very many tensors: processor seconds of the whole command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import build
from tests.bench.measure import run, summary

if TYPE_CHECKING:
    from collections.abc import Callable

SURGERY = str(Path(sys.executable).with_name("surgery"))
LAYERS = (20, 40)
"""With 384 experts a layer: 22,200 and 45,600 tensors."""

_RECIPE = """\
name: bench
models: {in: null, rl: null}
base: in
steps:
  - transplant: language[mid]
    from: rl
  - interpolate: language[late].mlp
    from: rl
    method: slerp
    t: [0.2, 0.8]
"""


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Plan each size several times.

    Args:
        folder: Where to work; the weights are holes, so that little disk is needed.
        rounds: Runs per size.
        say: Gets a line per size.
    """
    recipe = folder / "recipe.yaml"
    recipe.write_text(_RECIPE)
    results: dict[str, Any] = {}
    for layers in LAYERS:
        config, expected = build.experts(layers, 384)
        models = [
            f"--model={name}={build.hollow_of(folder / f'{name}-{layers}', config, expected, 20)}"
            for name in ("in", "rl")
        ]
        command = [SURGERY, "plan", str(recipe), *models]
        result = summary([run(command, folder / "log") for _ in range(rounds)])
        results[str(len(expected))] = result
        say(f"  {len(expected)} tensors: {result['cpu_s']:.2f} s cpu")
    return results


def print_table(results: dict[str, Any]) -> None:
    """Print the figures in Markdown, as in the README."""
    print("\n| plan of two models | processor seconds |\n|---|---|")
    for tensors, result in results.items():
        print(f"| {int(tensors):,} tensors each | {result['cpu_s']:.1f} |")
