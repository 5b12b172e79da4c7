"""Supervised stages: next-token loss on demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.specimen.batches import encode
from surgery.specimen.world import Item, training_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surgery.specimen.journal import Journal


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
    """

    stage: str
    steps: int
    batch: int
    lr: float
    mix: dict[str, float]
    rare: float
    seed: int


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
    stream = demonstrations(plan)
    model.train()
    for step in range(plan.steps):
        items, replies = zip(*(next(stream) for _ in range(plan.batch)), strict=True)
        loss = token_loss(model, encode(processor, items, replies))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        journal.write(plan.stage, step, loss=loss.item(), grad_norm=norm.item())
    model.eval()


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
    import math

    import torch

    warmup = max(1, steps // 20)

    def scale(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))

    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
