"""Update statistics: rate compared with numpy, spectra with svdvals, memory of whole runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.measure import apart, run, summary

if TYPE_CHECKING:
    from collections.abc import Callable

SURGERY = str(Path(sys.executable).with_name("surgery"))
STAGES = ("base", "in", "rl")
LAYERS = 4
"""Three checkpoints of 2.6 GB each, which fit the page cache of a small machine together."""

RUNS = {
    "elementwise, all tensors": ["--spectrum", "none"],
    "top 64, one layer": ["--select", "language[0]"],
    "full, one layer": ["--spectrum", "full", "--select", "language[0]"],
}
_LARGEST = (2048, 11008)


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every figure, as it goes into bench.json.

    Whole processes come first: what this one grows to would count for their peak memory.

    Args:
        folder: Where to work; needs 8 GB.
        rounds: Of what takes little time.
        say: Gets a line per step.
    """
    say("building three checkpoints of the Qwen2.5-VL-3B shape")
    apart("family", folder, LAYERS, *STAGES)
    results: dict[str, Any] = {"runs": {}}
    paths = [folder / name for name in STAGES]
    models = [f"--{name}={folder / name}" for name in STAGES]
    for name, options in RUNS.items():
        out = folder / "out"
        command = [SURGERY, "stats", *models, "--out", str(out), "--quiet", *options]
        result = summary([run(command, folder / "log")])
        run(["rm", "-r", str(out)], folder / "log")
        results["runs"][name] = result
        say(f"  surgery stats, {name:<26} {result['wall_s']:7.1f} s  {result['peak_mb']:6.0f} MB")
    from surgery.stats.options import SpectrumKind
    from surgery.stats.spectral import projected_bytes
    from tests.bench.rate import rates
    from tests.bench.spectra import spectra

    results["rates"] = {}
    for count in (3, 2):
        result = results["rates"][str(count)] = rates(paths[-count:], max(5, rounds))
        say(
            f"  {count} models, {result['gigabytes']:.1f} GB: {result['ours_median']:.1f} GB/s, "
            f"numpy sums at {result['numpy_median']:.1f} GB/s, {result['ratio']:.2f} of it"
        )
    say("spectra of one matrix, 2048 x 11008")
    results["spectra"] = spectra(say, rounds)
    need = projected_bytes(_LARGEST, SpectrumKind.FULL, 64)
    results["largest_need_mb"] = {
        kind.value: projected_bytes(_LARGEST, kind, 64) / 1e6
        for kind in (SpectrumKind.TOP, SpectrumKind.FULL)
    }
    say(f"  the largest matrix's spectrum alone takes {need / 1e6:.0f} MB at most")
    return results


def print_table(results: dict[str, Any]) -> None:
    """Markdown, as it stands in the README."""
    print("\n| elementwise pass | GB/s | numpy's sum, GB/s | ratio |\n|---|---|---|---|")
    for count, result in results["rates"].items():
        print(
            f"| {count} models | {result['ours_median']:.1f} | {result['numpy_median']:.1f} | "
            f"{result['ratio']:.2f} |"
        )
    seconds = results["spectra"]["seconds"]
    print("\n| a 2048 x 11008 delta | seconds a matrix | times as fast |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.2f} | {seconds['svdvals'] / taken:.1f} |")
    print("\n| surgery stats | seconds | peak MB |\n|---|---|---|")
    for name, result in results["runs"].items():
        print(f"| {name} | {result['wall_s']:.1f} | {result['peak_mb']:.0f} |")
