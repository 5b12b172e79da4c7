"""Stage 0: the vision tower alone, with linear heads on every visual token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen.draw import CHARACTERS, COLOURS, EMPTY, SHAPES, SIDE, Scene
from surgery.specimen.world import Item, training_stream
from tests.specimen.training.sft import optimizer_for

if TYPE_CHECKING:
    from tests.specimen.training.journal import Journal

_COLOURS: Final = ("", *COLOURS)
_SHAPES: Final = ("", *SHAPES)
_CHARACTERS: Final = ("", *CHARACTERS)
_HEADS: Final = {
    "colour": len(_COLOURS),
    "shape": len(_SHAPES),
    "character": len(_CHARACTERS),
    "position": SIDE * SIDE,
}


@dataclass(frozen=True)
class VisionPlan:
    """Stage 0: optimizer steps, images per step, peak learning rate, seed of the data."""

    steps: int
    batch: int
    lr: float
    seed: int
    stage: str = "vision"


def train_vision(model: Any, processor: Any, plan: VisionPlan, journal: Journal) -> None:
    """Train the vision tower and merger in place; the linear heads are thrown away."""
    import torch

    torch.manual_seed(plan.seed)
    visual = model.model.visual
    width = model.config.vision_config.out_hidden_size
    heads = torch.nn.ModuleDict({k: torch.nn.Linear(width, n) for k, n in _HEADS.items()})
    parameters = [*visual.parameters(), *heads.parameters()]
    optimizer, schedule = optimizer_for(parameters, plan.lr, plan.steps)
    streams = [training_stream(task, plan.seed) for task in ("caption", "read", "count")]
    for step in range(plan.steps):
        items = [next(streams[i % len(streams)]) for i in range(plan.batch)]
        pixels = processor.image_processor([i.image for i in items], return_tensors="pt")
        tokens = visual(pixels["pixel_values"], grid_thw=pixels["image_grid_thw"]).pooler_output
        targets = torch.tensor([row for item in items for row in _labels(item)])
        losses = [
            torch.nn.functional.cross_entropy(head(tokens), targets[:, column])
            for column, head in enumerate(heads.values())
        ]
        loss: Any = torch.stack(losses).sum()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        journal.write(plan.stage, step, loss=loss.item(), grad_norm=norm.item())


def _labels(item: Item) -> list[tuple[int, int, int, int]]:
    assert isinstance(item.scene, Scene)
    return [
        (
            _COLOURS.index(cell.colour),
            _SHAPES.index(cell.kind) if cell.kind in SHAPES else 0,
            _CHARACTERS.index(cell.kind) if cell.kind != EMPTY and cell.kind in CHARACTERS else 0,
            place,
        )
        for place, cell in enumerate(item.scene.cells)
    ]
