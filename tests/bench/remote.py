"""Merges of a model on the Hub: by range and whole, over a line of known speed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.measure import apart, run
from tests.hub import TOKEN, Hub, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SURGERY = str(Path(sys.executable).with_name("surgery"))
RATES = {"no limit": 0.0, "1 Gbit/s": 125e6}
STEPS = {
    "a third of the layers": "language[mid]",
    "mlp of a third": "language[mid].mlp",
    "all layers": "language",
}


def measure(
    folder: Path, pairs: int, say: Callable[[str], None], layers: int = 12
) -> dict[str, Any]:
    """Every figure, as it goes into bench.json.

    IN is in a local folder, RL on a hub on this machine; nothing of it is cached before a run.

    Args:
        folder: Where to work; needs 16 GB.
        pairs: Rounds.
        say: Gets a line per step.
        layers: Decoder layers of the checkpoints.
    """
    say("building two checkpoints of the Qwen2.5-VL-3B shape")
    apart("family", folder, layers, "in", "rl")
    hub = Hub()
    hub.add("org/rl", folder / "rl")
    size = (folder / "rl" / "model.safetensors").stat().st_size
    shutil.rmtree(folder / "rl")
    results: dict[str, Any] = {"bytes": size, "layers": layers, "merges": []}
    with serve(hub) as address:
        for line, rate in RATES.items():
            hub.rate = rate
            for kind, selector in STEPS.items():
                recipe = folder / "r.yaml"
                recipe.write_text(
                    f"models:\n  in: {folder / 'in'}\n  rl: org/rl\nbase: in\nsteps:\n"
                    f"  - transplant: {selector}\n    from: rl\n"
                )
                for _ in range(pairs):
                    for way in ("ranges", "cache"):
                        result = _once(folder, hub, address, recipe, way)
                        row = {"line": line, "what": kind, "way": way, **result}
                        results["merges"].append(row)
                        say(f"  {line}, {kind}, {way}: {result['wall_s']:.1f} s, "
                            f"{result['fetched'] / 1e9:.2f} GB")  # fmt: skip
    return results


def _once(folder: Path, hub: Hub, address: str, recipe: Path, way: str) -> dict[str, float]:
    """One merge, from nothing."""
    out, home = folder / "out", folder / "hf"
    for place in (out, home):
        shutil.rmtree(place, ignore_errors=True)
    hub.forget()
    os.sync()
    env: Mapping[str, str] = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }
    command = [SURGERY, "merge", str(recipe), str(out), "--remote", way, "--json"]
    log = folder / "log"
    took = run(command, log, env)
    # The kernel counts what this process holds, the hub, for its children too.
    text = log.read_text()
    peak = json.loads(text[text.index("{") :])["peak_memory_bytes"] / 1e6
    fetched = sum(count for name, count in hub.sent.items() if name.endswith(".safetensors"))
    return {"wall_s": took.wall_s, "peak_mb": peak, "fetched": fetched}


def print_table(results: dict[str, Any]) -> None:
    """The figures as they stand in the README."""
    rows = results["merges"]
    size = results["bytes"] / 1e9
    print(f"\nRL of {size:.2f} GB on the Hub, IN here; medians")
    for line, kind in dict.fromkeys((row["line"], row["what"]) for row in rows):
        for way in ("ranges", "cache"):
            local = [r for r in rows if (r["line"], r["what"], r["way"]) == (line, kind, way)]
            middle = sorted(local, key=lambda r: r["wall_s"])[len(local) // 2]
            print(
                f"  {line:9} {kind:22} {way:7} {middle['wall_s']:6.1f} s  "
                f"{middle['fetched'] / 1e9:5.2f} GB fetched  peak {middle['peak_mb']:.0f} MB"
            )
