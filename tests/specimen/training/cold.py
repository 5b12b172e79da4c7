"""Base and IN of one seed: `python -m tests.specimen.training.cold --seed S --out DIR`.

Stages run in order, each from the one before it: vision, caption, see, reason. A stage whose folder
is complete is skipped, so an interrupted run continues at the stage it stood in.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tests.specimen.training import build
from tests.specimen.training.journal import Journal
from tests.specimen.training.sft import SftPlan, train_sft
from tests.specimen.training.vision import VisionPlan, train_vision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SEE: Final = {
    "read": 2.0,
    "count": 4.0,
    "filled": 2.0,
    "recognise": 2.0,
    "locate": 2.0,
    "caption": 1.0,
}
_REASON: Final = {
    "arithmetic": 4.0,
    "expression": 4.0,
    "count": 1.0,
    "read": 1.0,
    "recognise": 1.0,
    "locate": 1.0,
}

PLANS: Final[dict[str, VisionPlan | SftPlan]] = {
    "vision": VisionPlan(steps=250, batch=64, lr=1e-3, seed=100),
    "caption": SftPlan("caption", 450, 24, 1e-3, {"caption": 1.0}, rare=1.0, seed=101),
    "see": SftPlan("see", 1000, 32, 8e-4, _SEE, rare=1.0, seed=102),
    "reason": SftPlan("reason", 1200, 32, 5e-4, _REASON, rare=0.05, seed=103, until=0.4, decay=60),
}

# The stages that ship, and under which name.
SHIPPED: Final = {"caption": "base", "reason": "in"}


@dataclass(frozen=True)
class Run:
    """The files of a run, its seed and its plans."""

    out: Path
    seed: int
    plans: dict[str, VisionPlan | SftPlan]

    def folder(self, stage: str) -> Path:
        """A stage's float32 checkpoint."""
        return self.out / "stages" / stage

    @property
    def journal(self) -> Journal:
        """The csv of all steps."""
        return Journal(self.out / "cold.csv", every=50)


def plans(seed: int, *, smoke: bool = False) -> dict[str, VisionPlan | SftPlan]:
    """The stages of one seed, which draws its own data; at toy length for a smoke run."""
    result: dict[str, VisionPlan | SftPlan] = {}
    for stage, plan in PLANS.items():
        sampled = replace(plan, seed=plan.seed + 1000 * seed)
        result[stage] = replace(sampled, steps=2, batch=4) if smoke else sampled
    return result


def train(run: Run) -> None:
    """Train all stages, skipping those that are complete, and write base and in."""
    import torch

    torch.set_num_threads(1)
    run.out.mkdir(parents=True, exist_ok=True)
    before: Path | None = None
    for stage in run.plans:
        folder = run.folder(stage)
        if (folder / "DONE").exists():
            print(f"{stage}: complete, skipped", file=sys.stderr)
        else:
            _train_stage(run, stage, before)
        if stage in SHIPPED:
            model, processor = build.load(folder)
            build.save(model, processor.tokenizer, run.out / SHIPPED[stage])
        before = folder


def _train_stage(run: Run, stage: str, before: Path | None) -> None:
    if before is None:
        tokenizer = build.build_tokenizer()
        before = run.out / "stages" / "start"
        build.save(build.build_model(tokenizer, run.seed), tokenizer, before, dtype="float32")
    model, processor = build.load(before)
    journal = run.journal
    journal.drop(stage)
    plan = run.plans[stage]
    trainer: Callable[..., None] = train_vision if isinstance(plan, VisionPlan) else train_sft
    trainer(model, processor, plan, journal)
    build.save(model, processor.tokenizer, run.folder(stage), dtype="float32")
    (run.folder(stage) / "DONE").touch()


def train_seed(out: Path, seed: int, *, smoke: bool = False) -> None:
    """Train Base and IN of one seed into `out`, in this process and one thread."""
    train(Run(out, seed, plans(seed, smoke=smoke)))
