"""Merges compared with `cp -r` and mergekit: whole processes, in turn."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.measure import Run, apart, run, side_by_side, summary, times_faster

if TYPE_CHECKING:
    from collections.abc import Callable

SURGERY = str(Path(sys.executable).with_name("surgery"))
MERGEKIT = str(Path(sys.executable).with_name("mergekit-yaml"))
MERGES = {
    "transplant": "  - transplant: language[mid]\n    from: rl\n",
    "linear": "  - interpolate: '*'\n    from: rl\n    method: linear\n    t: 0.3\n",
    "slerp": "  - interpolate: '*'\n    from: rl\n    method: slerp\n    t: 0.3\n",
}


def recipe(kind: str, models: dict[str, Path]) -> str:
    """One of the merges in our language."""
    named = "".join(f"  {name}: {path}\n" for name, path in models.items())
    return f"name: {kind}\nmodels:\n{named}base: in\nsteps:\n{MERGES[kind]}"


def for_mergekit(kind: str, models: dict[str, Path], layers: int) -> str:
    """The same merge as a mergekit user would write it."""
    in_, rl = models["in"], models["rl"]
    if kind == "linear":
        weighted = "".join(
            f"  - model: {path}\n    parameters: {{weight: {weight}}}\n"
            for path, weight in ((in_, 0.7), (rl, 0.3))
        )
        return f"merge_method: linear\ndtype: bfloat16\nmodels:\n{weighted}"
    if kind == "slerp":
        return (
            f"merge_method: slerp\nbase_model: {in_}\ndtype: bfloat16\n"
            f"parameters: {{t: 0.3}}\nmodels:\n  - model: {in_}\n  - model: {rl}\n"
        )
    cuts = [0, layers // 3, 2 * layers // 3, layers]
    slices = "".join(
        f"      - sources: [{{model: {path}, layer_range: [{cuts[i]}, {cuts[i + 1]}]}}]\n"
        for i, path in enumerate((in_, rl, in_))
    )
    rest = ("vision_tower", "multi_modal_projector")
    whole = "".join(f"  {module}:\n    models: [{{model: {in_}}}]\n" for module in rest)
    return (
        f"merge_method: passthrough\nbase_model: {in_}\ndtype: bfloat16\nmodules:\n{whole}"
        f"  text_decoder:\n    slices:\n{slices}"
    )


def measure(
    folder: Path, pairs: int, say: Callable[[str], None], layers: int = 12
) -> dict[str, Any]:
    """Every figure, as it goes into bench.json.

    Args:
        folder: Where to work; needs 16 GB.
        pairs: Rounds.
        say: Gets a line per step.
        layers: Decoder layers of the checkpoints.
    """
    say("building two checkpoints of the Qwen2.5-VL-3B shape")
    apart("family", folder, layers, "in", "rl")
    models = {name: folder / name for name in ("in", "rl")}
    size = (models["in"] / "model.safetensors").stat().st_size
    say(f"  {size / 1e9:.2f} GB each")
    results: dict[str, Any] = {"bytes": size, "layers": layers, "merges": {}}
    out = folder / "out"
    for kind in MERGES:
        say(kind)
        (folder / f"{kind}.yaml").write_text(recipe(kind, models))
        (folder / f"{kind}-mergekit.yaml").write_text(for_mergekit(kind, models, layers))
        actual = [SURGERY, "merge", str(folder / f"{kind}.yaml"), str(out), "--quiet"]
        commands: dict[str, list[str]] = {"vlm-surgery": actual}
        if kind == "transplant":
            copy = ["cp", "-r", str(models["in"]), str(out)]
            commands["cp -r"] = copy
            # what cp leaves in memory, a finished merge has on disk
            commands["cp -r, synced"] = ["sh", "-c", f"{shlex.join(copy)} && sync -f {out}"]
        commands["mergekit-yaml"] = [
            MERGEKIT,
            str(folder / f"{kind}-mergekit.yaml"),
            str(out),
            "--quiet",
        ]
        runs = side_by_side(commands, out, pairs, say)
        results["merges"][kind] = report(runs)
    say("plan of a 7B-sized header set")
    names = {name: folder / "hollow" / name for name in ("in", "rl")}
    for path in names.values():
        apart("hollow", path)
    (folder / "plan.yaml").write_text(recipe("transplant", names))
    plans = [
        run([SURGERY, "plan", str(folder / "plan.yaml"), "--json"], folder / "plan.log")
        for _ in range(max(3, pairs))
    ]
    results["plan_7b"] = summary(plans)
    return results


def report(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Summaries, and how many times faster ours was, round by round."""
    actual = runs["vlm-surgery"]
    ratios = {k: times_faster(actual, v) for k, v in runs.items() if k != "vlm-surgery"}
    return {"runs": {k: summary(v) for k, v in runs.items()}, "times_faster_than": ratios}


def print_table(results: dict[str, Any]) -> None:
    """Markdown, as it stands in the README."""
    print("\n| merge | by | seconds | peak MB | times faster than |\n|---|---|---|---|---|")
    for kind, result in results["merges"].items():
        for label, row in result["runs"].items():
            ratio = "" if label == "vlm-surgery" else f"{result['times_faster_than'][label]:.2f}"
            print(f"| {kind} | {label} | {row['wall_s']:.2f} | {row['peak_mb']:.0f} | {ratio} |")
    print(
        f"| plan, 7B headers | vlm-surgery | {results['plan_7b']['wall_s']:.2f} | "
        f"{results['plan_7b']['peak_mb']:.0f} | |\n"
    )
