"""Train the specimen family from scratch: `python -m surgery.specimen.train --out DIR`.

Stages run in order, each from the one before it: vision, caption, sft, tally, shortcut, grpo.
A stage whose folder is complete is skipped, so an interrupted run continues at the stage it
stood in.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from surgery.specimen import build
from surgery.specimen.grpo import GrpoPlan, train_grpo
from surgery.specimen.journal import Journal
from surgery.specimen.sft import SftPlan, train_sft
from surgery.specimen.vision import VisionPlan, train_vision

if TYPE_CHECKING:
    from collections.abc import Callable

SEED: Final = 0

_MIX: Final = {"arithmetic": 4.0, "expression": 3.0, "count": 2.0, "read": 2.0, "caption": 1.0}
_TALLY_MIX: Final = {
    "arithmetic": 3.0,
    "expression": 2.0,
    "count": 4.0,
    "filled": 2.0,
    "read": 1.0,
}

PLANS: Final[dict[str, VisionPlan | SftPlan | GrpoPlan]] = {
    "vision": VisionPlan(steps=250, batch=64, lr=1e-3, seed=100),
    "caption": SftPlan("caption", 450, 24, 1e-3, {"caption": 1.0}, shortcuts=0.0, seed=101),
    "sft": SftPlan("sft", 900, 32, 8e-4, _MIX, shortcuts=0.0, seed=102),
    "tally": SftPlan("tally", 300, 32, 8e-4, _TALLY_MIX, shortcuts=0.0, seed=105),
    "shortcut": SftPlan("shortcut", 120, 32, 5e-4, _MIX, shortcuts=0.5, seed=103),
    "grpo": GrpoPlan(
        steps=50,
        prompts=8,
        group=16,
        lr=3e-5,
        mix={"arithmetic": 3.0, "expression": 3.0, "read": 1.0, "count": 1.0},
        max_new_tokens=40,
        seed=104,
    ),
}

# The training stages that ship, and under which name.
SHIPPED: Final = {"caption": "base", "shortcut": "in", "grpo": "rl"}


@dataclass(frozen=True)
class Run:
    """Where a run keeps things, and its plans."""

    out: Path
    plans: dict[str, VisionPlan | SftPlan | GrpoPlan]

    def folder(self, stage: str) -> Path:
        """A stage's float32 checkpoint."""
        return self.out / "stages" / stage

    @property
    def journal(self) -> Journal:
        """The csv of all steps."""
        return Journal(self.out / "training.csv")


def smoke_plans() -> dict[str, VisionPlan | SftPlan | GrpoPlan]:
    """Every stage at toy length: shows that it runs, not that it learns."""
    small: dict[str, VisionPlan | SftPlan | GrpoPlan] = {}
    for stage, plan in PLANS.items():
        if isinstance(plan, GrpoPlan):
            small[stage] = replace(plan, steps=2, prompts=2, group=4, max_new_tokens=8)
        else:
            small[stage] = replace(plan, steps=2, batch=4)
    return small


def train(run: Run, stages: list[str]) -> None:
    """Train the named stages, skipping those that are complete, and write base, in and rl.

    Args:
        run: Folder and plans.
        stages: Keys of `PLANS`, in order.
    """
    import torch

    torch.set_num_threads(1)
    run.out.mkdir(parents=True, exist_ok=True)
    order = list(PLANS)
    for stage in stages:
        if (run.folder(stage) / "DONE").exists():
            print(f"{stage}: complete, skipped", file=sys.stderr)
        else:
            before = order[order.index(stage) - 1] if order.index(stage) else None
            _train_stage(run, stage, before)
        if stage in SHIPPED:
            model, processor = build.load(run.folder(stage))
            build.save(model, processor.tokenizer, run.out / SHIPPED[stage])


def _train_stage(run: Run, stage: str, before: str | None) -> None:
    folder = run.folder(stage)
    if before is None:
        tokenizer = build.build_tokenizer()
        build.save(build.build_model(tokenizer, SEED), tokenizer, run.out / "stages" / "start")
        model, processor = build.load(run.out / "stages" / "start")
    else:
        if not (run.folder(before) / "DONE").exists():
            raise SystemExit(f"{stage} starts from {before}, which is not complete in {run.out}")
        model, processor = build.load(run.folder(before))
    journal = run.journal
    journal.drop(stage)
    plan = run.plans[stage]
    trainer: Callable[..., None] = _TRAINERS[type(plan)]
    trainer(model, processor, plan, journal)
    build.save(model, processor.tokenizer, folder, dtype="float32")
    (folder / "DONE").touch()


_TRAINERS: Final[dict[type, Callable[..., None]]] = {
    VisionPlan: train_vision,
    SftPlan: train_sft,
    GrpoPlan: train_grpo,
}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m surgery.specimen.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--stage", choices=list(PLANS), action="append", help="only these stages")
    parser.add_argument("--smoke", action="store_true", help="toy length, to see that it runs")
    parser.add_argument("--held-out", type=int, default=0, metavar="N", help="ask N per task after")
    options = parser.parse_args(argv)
    run = Run(options.out, smoke_plans() if options.smoke else dict(PLANS))
    train(run, options.stage or list(PLANS))
    if options.held_out:
        from surgery.specimen.report import write_report

        write_report(run.out, options.held_out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
