"""Train the whole family from nothing: `python -m tests.specimen.training.train --out DIR`.

Every seed trains its own Base and IN (`cold`) and reinforces IN; the first seed also with a third
of its decoder frozen, with random rewards, and by supervision instead of reinforcement. Every
checkpoint then answers the held-out questions with `eval.evaluate`. Jobs run side by side, each in
a process of one thread; an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen import FROZEN, STAGES
from tests.specimen.training import cold
from tests.specimen.training.arms import ARMS, RL, Arm
from tests.specimen.training.tables import WAYS, write_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

SEEDS: Final = 3
SHIPPED: Final = (*STAGES, *FROZEN)
HELD_OUT: Final = 1000  # questions per task
HELD_OUT_SEED: Final = 2026

_LIBRARIES: Final = ("torch", "transformers", "trl", "tests.specimen.training.cold")
_SMOKE: Final = {"steps": 2, "batch": 16}  # an eighth of the shipped files' batch


@dataclass(frozen=True)
class Family:
    """One run of all trainings.

    Attributes:
        out: Its folder.
        seeds: Number of families.
        smoke: Whether everything runs at toy length.
        workers: Number of parallel jobs.
    """

    out: Path
    seeds: int = SEEDS
    smoke: bool = False
    workers: int = 2
    _started: float = field(default_factory=time.monotonic)

    def make(self) -> None:
        """Do every job whose result does not exist yet, and write the tables."""
        self.out.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(_LIBRARIES))  # loaded once, not once per job
        with ProcessPoolExecutor(self.workers, context, max_tasks_per_child=1) as pool:
            self._wait(self._submit_cold(pool))
            self._wait(self._submit_arms(pool))
        for seed in range(self.seeds):
            for way in WAYS:
                self._answer(seed, way)
        for name in SHIPPED:
            self._ship(name)
        write_tables(self.out, self.seeds, HELD_OUT_SEED)

    def folder(self, seed: int, name: str) -> Path:
        """Return the folder of one seed's checkpoint."""
        home = self.out / f"seed-{seed}"
        return home / name if name in ("base", "in") else home / name / "model"

    def checkpoints(self, seed: int) -> dict[str, Path]:
        """Return the folders of a seed's checkpoints, by name."""
        names = ("base", "in", *(arm.name for arm in self._arms(seed)))
        return {name: self.folder(seed, name) for name in names}

    def _arms(self, seed: int) -> tuple[Arm, ...]:
        return ARMS if seed == 0 else (RL,)

    def _submit_cold(self, pool: ProcessPoolExecutor) -> dict[str, Future[None]]:
        return {
            f"cold start, seed {seed}": pool.submit(
                cold.train_seed, self.out / f"seed-{seed}", seed, smoke=self.smoke
            )
            for seed in range(self.seeds)
            if not (self.folder(seed, "in") / "config.json").exists()
        }

    def _submit_arms(self, pool: ProcessPoolExecutor) -> dict[str, Future[None]]:
        jobs = {}
        for seed in range(self.seeds):
            for arm in self._arms(seed):
                if (self.folder(seed, arm.name) / "config.json").exists():
                    continue
                changes = {**arm.changes, "model": str(self.folder(seed, "in")), "seed": seed}
                if self.smoke:
                    changes |= _SMOKE if arm.supervised else {**_SMOKE, "group": 4}
                out = self.out / f"seed-{seed}" / arm.name
                jobs[f"{arm.name}, seed {seed}"] = pool.submit(train_arm, arm, changes, out)
        return jobs

    def _wait(self, jobs: Mapping[str, Future[None]]) -> None:
        """Wait for jobs; cancel those not begun when one fails."""
        try:
            for name, job in jobs.items():
                job.result()
                self._report(f"done: {name}")
        except BaseException:
            for job in jobs.values():
                job.cancel()
            raise

    def _answer(self, seed: int, way: str) -> None:
        """Ask a seed's checkpoints the held-out questions."""
        from eval import evaluate

        evaluate(
            {name: str(folder) for name, folder in self.checkpoints(seed).items()},
            suite="specimen",
            samples=3 if self.smoke else HELD_OUT,
            seed=HELD_OUT_SEED,
            temperature=WAYS[way],
            against="in",
            processes=self.workers,
            out=self.out / f"seed-{seed}" / way,
        )
        self._report(f"done: held-out questions, seed {seed}, {way}")

    def _report(self, message: str) -> None:
        minutes = (time.monotonic() - self._started) / 60
        print(f"{minutes:6.1f} min  {message}", file=sys.stderr, flush=True)

    def _ship(self, name: str) -> None:
        """Copy the first seed's checkpoint, without the record of its training."""
        target = self.out / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(
            self.folder(0, name), target, ignore=shutil.ignore_patterns("training.json")
        )


def train_arm(arm: Arm, changes: Mapping[str, Any], out: Path) -> None:
    """Train one arm into its run folder, in this process and one thread."""
    import torch

    from eval import train_on_demonstrations, train_on_rewards
    from surgery.report.figures import write_figures
    from surgery.runs import RunKind, read_run

    torch.set_num_threads(1)
    train = train_on_demonstrations if arm.supervised else train_on_rewards
    train(arm.config, out, **changes)
    write_figures(read_run(out, RunKind.TRAINING), out)


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.specimen.training.train", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="number of families")
    parser.add_argument("--smoke", action="store_true", help="toy length, to see that it runs")
    parser.add_argument("--workers", type=int, default=2, help="parallel jobs, a core each")
    options = parser.parse_args(argv)
    Family(options.out, options.seeds, smoke=options.smoke, workers=options.workers).make()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
