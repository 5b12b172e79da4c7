"""`python -m tests.fuzz --count N --seed S [--only KIND]`: damage inputs, list what escaped."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody listens there
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def main() -> int:
    """Run cases and print a report; 1 when anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0, help="the first case's seed")
    parser.add_argument("--only", action="append", help="a kind; repeatable")
    options = parser.parse_args()

    import torch

    from tests.fuzz.cases import Report, run_case
    from tests.fuzz.kinds import KINDS
    from tests.fuzz.room import build_room, build_runs
    from tests.fuzz.servers import servers

    torch.set_num_threads(1)
    report = Report()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as both:
        os.environ["VLM_SURGERY_CACHE"] = f"{folder}/cache"
        clean = build_room(Path(folder) / "clean", both.url)
        if "others" in (options.only or KINDS):
            build_runs(clean)
        for kind in options.only or KINDS:
            for seed in range(options.seed, options.seed + options.count):
                run_case(kind, seed, clean, Path(folder) / "room", both, report)
            print(f"{kind}: {options.count} cases from seed {options.seed}", flush=True)
    print(dict(report.count))
    for bucket, cases in sorted(report.buckets.items(), key=lambda item: -len(item[1])):
        displayed = bucket.encode("ascii", "backslashreplace").decode()
        print(f"{len(cases):5d}  {displayed}\n       {cases[0]}")
    return int(bool(report.buckets))


if __name__ == "__main__":
    raise SystemExit(main())
