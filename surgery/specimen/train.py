"""The whole family from nothing: `python -m surgery.specimen.train --out DIR`.

Every seed trains its own Base and IN (`surgery.specimen.cold`) and reinforces it (`surgery train
grpo`); the first seed also with a third of its decoder frozen, with random rewards, and, instead of
reinforcement, by supervision. Every checkpoint answers the held-out questions. Jobs run side by
side, each in a process of one thread; a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from surgery.specimen import FROZEN, STAGES
from surgery.specimen.arms import ARMS, RL, Arm
from surgery.specimen.report import write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS: Final = 3
SHIPPED: Final = (*STAGES, *FROZEN)
HELD_OUT: Final = 1000  # questions per task


@dataclass
class Family:
    """A run of everything.

    Attributes:
        out: Where it goes.
        seeds: How many.
        smoke: Whether at toy length.
        workers: Jobs at once.
    """

    out: Path
    seeds: int = SEEDS
    smoke: bool = False
    workers: int = 2
    _started: float = field(default_factory=time.monotonic)

    def make(self) -> None:
        """Do every job that is not done yet."""
        self.out.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self.workers) as pool:
            jobs = list(self._submit(pool))
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for name in SHIPPED:
            self._ship(name)

    def folder(self, seed: int, name: str) -> Path:
        """A checkpoint of one seed."""
        home = self.out / f"seed-{seed}"
        return home / name if name in ("base", "in") else home / name / "model"

    def _submit(self, pool: ThreadPoolExecutor) -> Iterator[Future[None]]:
        """Jobs in such an order that what one waits for has been begun before it."""
        cold = [pool.submit(self._cold, seed) for seed in range(self.seeds)]
        yield from cold
        for seed, ready in enumerate(cold):
            for arm in ARMS if seed == 0 else (RL,):
                yield pool.submit(self._arm, seed, arm, ready)

    def _cold(self, seed: int) -> None:
        home = self.out / f"seed-{seed}"
        smoke = ["--smoke"] if self.smoke else []
        self._python(f"cold start, seed {seed}", home / "in.csv", "surgery.specimen.cold",
                     "--seed", str(seed), "--out", str(home), *smoke)  # fmt: skip
        for name in ("base", "in"):
            self._ask(seed, name)

    def _arm(self, seed: int, arm: Arm, ready: Future[None]) -> None:
        ready.result()
        home = self.out / f"seed-{seed}"
        steps = ["--steps", "2"] if self.smoke else []
        self._python(f"{arm.name}, seed {seed}", self.folder(seed, arm.name) / "config.json",
                     "surgery.cli.main", "train", *arm.command, "--model", str(home / "in"),
                     "--seed", str(seed), "--out", str(home / arm.name), *steps)  # fmt: skip
        self._ask(seed, arm.name)

    def _ask(self, seed: int, name: str) -> None:
        n = "3" if self.smoke else str(HELD_OUT)
        out = self.out / f"seed-{seed}" / f"{name}.csv"
        self._python(f"held-out questions to {name}, seed {seed}", out,
                     "surgery.specimen.evaluate", str(self.folder(seed, name)), "--out", str(out),
                     "--n", n)  # fmt: skip

    def _python(self, what: str, done: Path, module: str, *arguments: str) -> None:
        """Run a module in a process of one thread, unless what it makes is there."""
        if done.exists():
            return
        self._say(f"begun: {what}")
        log = self.out / "log.txt"
        with log.open("a") as file:
            made = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                stdout=file, stderr=file, check=False,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        if made.returncode:
            raise SystemExit(f"{what} ended with {made.returncode}; see {log}")
        self._say(f"done: {what}")

    def _say(self, what: str) -> None:
        minutes = (time.monotonic() - self._started) / 60
        print(f"{minutes:6.1f} min  {what}", file=sys.stderr, flush=True)

    def _ship(self, name: str) -> None:
        """The first seed's checkpoint, without what is of its run alone."""
        target = self.out / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(
            self.folder(0, name), target, ignore=shutil.ignore_patterns("training.json")
        )


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m surgery.specimen.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many families")
    parser.add_argument("--smoke", action="store_true", help="toy length, to see that it runs")
    parser.add_argument("--workers", type=int, default=2, help="jobs at once, a core each")
    options = parser.parse_args(argv)
    family = Family(options.out, options.seeds, smoke=options.smoke, workers=options.workers)
    family.make()
    write_report(family.out, family.seeds, 4 if family.smoke else 200)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
