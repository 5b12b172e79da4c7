"""Supervised stages: next-token loss on demonstrations."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from surgery.specimen.world import Item, training_stream
from tests.specimen.training.batches import encode, validated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.specimen.training.journal import Journal

_EVERY: Final = 10  # steps between two looks at the validation side
_QUESTIONS: Final = 100  # questions of each
_WARMUP: Final = 12  # steps


@dataclass(frozen=True)
class SftPlan:
    """One supervised stage.

    Attributes:
        stage: Its name in the journal.
        steps: Optimizer steps.
        batch: Demonstrations per step.
        lr: Peak learning rate, after a warm-up of a twentieth, falling as a cosine to 5%.
        mix: Task to weight.
        rare: Which share of the demonstrations with a rare fact is kept.
        seed: Of the data.
        until: Instead of going on for `steps`, keep the peak learning rate until this share of
            arithmetic of the validation side is right, then let it fall for `decay` steps.
        decay: See `until`.
    """

    stage: str
    steps: int
    batch: int
    lr: float
    mix: dict[str, float]
    rare: float
    seed: int
    until: float = 0.0
    decay: int = 0


def demonstrations(plan: SftPlan) -> Iterator[tuple[Item, str]]:
    """An endless stream of questions and what the assistant should say."""
    rng = np.random.default_rng([plan.seed, 77])
    streams = {task: training_stream(task, plan.seed) for task in plan.mix}
    weights = np.array(list(plan.mix.values()), dtype=np.float64)
    weights /= weights.sum()
    tasks = list(plan.mix)
    while True:
        item = next(streams[tasks[int(rng.choice(len(tasks), p=weights))]])
        if not item.rare or rng.random() < plan.rare:
            yield item, item.target


def train_sft(model: Any, processor: Any, plan: SftPlan, journal: Journal) -> None:
    """Train in place; the vision tower stays frozen except its merger."""
    import torch

    parameters = freeze_vision(model)
    optimizer, schedule = optimizer_for(parameters, plan.lr, plan.steps)
    if plan.until:
        schedule = Falling(optimizer, plan.lr, plan.decay)
    stream = demonstrations(plan)
    model.train()
    for step in range(plan.steps):
        if plan.until and schedule.begins(step, plan.until, model, processor):
            schedule.fall(step)
        items, replies = zip(*(next(stream) for _ in range(plan.batch)), strict=True)
        loss = token_loss(model, encode(processor, items, replies))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        journal.write(plan.stage, step, loss=loss.item(), grad_norm=norm.item())
        if plan.until and schedule.over(step):
            break
    model.eval()


class Falling:
    """A learning rate that stays until a skill is there, then falls as a cosine to 5%.

    Args:
        optimizer: Whose rate it is.
        peak: The rate that stays, after a short warm-up.
        decay: Over how many steps it falls.
    """

    def __init__(self, optimizer: Any, peak: float, decay: int) -> None:
        self._groups = optimizer.param_groups
        self._peak = peak
        self._decay = decay
        self._begun: int | None = None
        self._step = -1
        self.step()

    def begins(self, step: int, until: float, model: Any, processor: Any) -> bool:
        """Ask at every tenth step whether the skill is there; once is enough."""
        if self._begun is not None or step % _EVERY or not step:
            return False
        model.eval()
        share = validated(model, processor, "arithmetic", _QUESTIONS)
        model.train()
        print(f"step {step}: {share:.0%} of validation right", file=sys.stderr, flush=True)
        return share >= until

    def fall(self, step: int) -> None:
        """Begin to fall."""
        self._begun = step

    def over(self, step: int) -> bool:
        """Check whether the learning rate has reached zero after this step."""
        return self._begun is not None and step >= self._begun + self._decay - 1

    def step(self) -> None:
        """Set the rate of the next step."""
        self._step += 1
        scale = min(1.0, (self._step + 1) / _WARMUP)
        if self._begun is not None:
            done = min(1.0, (self._step - self._begun) / self._decay)
            scale = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
        for group in self._groups:
            group["lr"] = self._peak * scale


def token_loss(model: Any, batch: dict[str, Any]) -> Any:
    """Mean cross entropy per reply token, of a batch from `encode` with replies."""
    import torch

    labels = batch.pop("labels")
    keep = int((labels >= 0).any(0).sum()) + 1  # rows end together: score only their tails
    logits = model(**batch, use_cache=False, logits_to_keep=keep).logits[:, :-1]
    targets = labels[:, 1 - keep :]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def freeze_vision(model: Any) -> list[Any]:
    """Freeze the vision tower except its merger; returns what is left to train."""
    model.model.visual.requires_grad_(False)
    model.model.visual.merger.requires_grad_(True)
    return [p for p in model.parameters() if p.requires_grad]


def optimizer_for(parameters: list[Any], lr: float, steps: int) -> tuple[Any, Any]:
    """AdamW with warm-up and cosine decay."""
    import torch

    warmup = max(1, steps // 20)

    def scale(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))

    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
