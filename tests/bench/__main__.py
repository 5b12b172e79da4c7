"""`python -m tests.bench`: what the README says about speed and memory, measured here and now."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import evaluation, merges, plans, probes, reactions, remote, stats

PARTS = {"merges": merges, "plans": plans, "stats": stats, "evaluation": evaluation,
         "probes": probes, "remote": remote, "reactions": reactions}  # fmt: skip


def main() -> None:
    """Build checkpoints, measure, print, write, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; needs 16 GB")
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine()}
    for part in args.parts:
        folder = Path(tempfile.mkdtemp(prefix="surgery-bench-", dir=args.folder))
        os.environ["VLM_SURGERY_CACHE"] = str(folder / "cache")
        try:
            results[part] = PARTS[part].measure(folder, args.rounds, tell)
        finally:
            shutil.rmtree(folder)
        PARTS[part].print_table(results[part])
        args.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {args.out}")


def tell(text: str) -> None:
    """A line about what goes on."""
    print(text, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    packages = ("torch", "transformers", "mergekit", "safetensors", "numpy", "numba")
    return {
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
