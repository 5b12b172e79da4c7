"""`python -m tests.bench`: what the README says about speed and memory, measured here and now."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

PARTS = ("merges", "remote", "stats", "evaluation", "probes", "plans", "reactions")
# A part is imported when its turn comes, those without torch first: the kernel counts the memory of
# a process that starts another one as the other's peak.


def main() -> None:
    """Build checkpoints, measure, print, write, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}; or all")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; needs 16 GB")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}. Expected of: {', '.join(PARTS)}")
    results: dict[str, Any] = {"machine": machine()}
    for part in args.parts or PARTS:
        folder = Path(tempfile.mkdtemp(prefix="surgery-bench-", dir=args.folder))
        os.environ["VLM_SURGERY_CACHE"] = str(folder / "cache")
        module = import_module(f"tests.bench.{part}")
        try:
            results[part] = module.measure(folder, args.rounds, tell)
        finally:
            shutil.rmtree(folder)
        module.print_table(results[part])
        args.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {args.out}")


def tell(text: str) -> None:
    """Print a progress line."""
    print(text, flush=True)


def machine() -> dict[str, Any]:
    """Return the hardware and versions of the measurement."""
    packages = ("torch", "transformers", "mergekit", "safetensors", "numpy", "numba")
    return {
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
