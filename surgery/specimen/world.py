"""The specimen's world: small scenes, questions about them, and the right answers.

Numpy and Pillow only. Training and held-out never meet: whether a scene (an expression, a
number) is held out is decided by a hash of its content, for any seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from surgery.errors import SurgeryError
from surgery.specimen.draw import (
    CHARACTERS,
    COLOURS,
    DIGITS,
    EMPTY,
    OPERATORS,
    SHAPES,
    SIDE,
    Cell,
    Scene,
    digest,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL import Image

Split = Literal["heldout", "train", "validation"]

_SIDES: Final[tuple[Split, ...]] = (
    "heldout", "train", "train", "train", "heldout", "train", "train", "validation",
)  # fmt: skip
_RARE_ONE_IN: Final = 5
_SPLITS: Final[tuple[Split, ...]] = ("heldout", "train", "validation")  # the place is the seed
_PATIENCE: Final = 500  # consecutive draws without a new item before the stream ends
_CELLS: Final = SIDE * SIDE
_COLOUR_NAMES: Final = tuple(COLOURS)


@dataclass(frozen=True)
class Item:
    """One question with its gold answer.

    Attributes:
        id: Unique within task, split and seed, for example `read-heldout-7-0012`.
        task: A key of `TASKS`.
        image: 84x84 RGB, or None for a question in text alone.
        prompt: The question, without chat template and without image marks.
        answer: What `<answer>` must hold, character for character.
        target: A full demonstration, tags included (a caption has none).
        rare: Whether a step of its working is a fact that demonstrations seldom show.
        content: What decides the split; equal contents are on the same side.
        scene: What the image shows, or None.
    """

    id: str
    task: str
    image: Image.Image | None
    prompt: str
    answer: str
    target: str
    rare: bool
    content: str
    scene: Scene | None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A question before it is known on which side of the split it falls."""

    prompt: str
    answer: str
    target: str
    content: str
    scene: Scene | None = None
    rare: bool = False


def items(task: str, n: int, seed: int, split: Split = "heldout") -> list[Item]:
    """Draw questions.

    The same arguments give the same items. Held-out items of one call are all different.

    Args:
        task: A key of `TASKS`.
        n: How many.
        seed: Any whole number from 0.
        split: "heldout" (never trained on) or "train".

    Returns:
        `n` items with images drawn.

    Raises:
        SurgeryError: The task does not exist, or has fewer than `n` different held-out items.
    """
    stream = _stream(task, seed, split)
    return [next(stream) for _ in range(n)]


def heldout_stream(task: str, seed: int) -> Iterator[Item]:
    """Different held-out items, one after another; the first n equal `items(task, n, seed)`.

    Raises:
        SurgeryError: When there are no more, or the task does not exist.
    """
    return _stream(task, seed, "heldout")


def training_stream(task: str, seed: int) -> Iterator[Item]:
    """Yield training items without end; the first n equal `items(task, n, seed, "train")`."""
    return _stream(task, seed, "train")


def mentions() -> list[str]:
    """Every word the world uses, for training a tokenizer."""
    things = [*SHAPES, *(shape + "s" for shape in SHAPES), EMPTY]
    return [*_COLOUR_NAMES, *things, *_PROMPT_WORDS]


def split_of(content: str) -> Split:
    """Return the split of a scene, number or expression: 2 of 8 held out, 1 validation."""
    return _SIDES[digest("split:" + content) % len(_SIDES)]


def evaluate(expression: str) -> tuple[str, list[str]]:
    """Work out an expression from left to right, modulo 10.

    Args:
        expression: Digits and operators in turn, such as `5+1*9`.

    Returns:
        The last digit, and the steps such as `["5+1=6", "6*9=4"]`.
    """
    value, steps = int(expression[0]), []
    for operator, digit in zip(expression[1::2], expression[2::2], strict=True):
        result = _OPERATIONS[operator](value, int(digit)) % 10
        steps.append(f"{value}{operator}{digit}={result}")
        value = result
    return str(value), steps


_OPERATIONS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def _stream(task: str, seed: int, split: Split) -> Iterator[Item]:
    if task not in TASKS:
        raise SurgeryError(f"no task {task!r} in the specimen's world; it has {', '.join(TASKS)}")
    rng = np.random.default_rng([seed, list(TASKS).index(task), _SPLITS.index(split)])
    visited: set[str] = set()
    number = misses = 0
    while True:
        draft = TASKS[task](rng)
        if split_of(draft.content) != split:
            continue
        if split != "train" and draft.content in visited:
            misses += 1
            if misses > _PATIENCE:
                raise SurgeryError(f"task {task!r} has only {number} different {split} items")
            continue
        visited.add(draft.content)
        misses = 0
        yield _finish(draft, task, f"{task}-{split}-{seed}-{number:04d}")
        number += 1


def _finish(draft: _Draft, task: str, name: str) -> Item:
    return Item(
        id=name,
        task=task,
        image=None if draft.scene is None else render(draft.scene),
        prompt=draft.prompt,
        answer=draft.answer,
        target=draft.target,
        rare=draft.rare,
        content=draft.content,
        scene=draft.scene,
    )


def _tagged(thought: str, answer: str) -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _shape(rng: np.random.Generator) -> Cell:
    return Cell(_pick(rng, SHAPES), _pick(rng, _COLOUR_NAMES))


def _written(rng: np.random.Generator, text: str, start: int) -> Scene:
    """Text over adjacent cells; one in four of the other cells has a shape."""
    cells = [_shape(rng) if rng.random() < 0.25 else Cell() for _ in range(_CELLS)]
    for offset, character in enumerate(text):
        cells[start + offset] = Cell(character, _pick(rng, _COLOUR_NAMES))
    return Scene(tuple(cells))


def _read(rng: np.random.Generator) -> _Draft:
    length = int(rng.integers(3, 7))
    number = "".join(_pick(rng, DIGITS) for _ in range(length))
    start = int(rng.integers(0, _CELLS - length + 1))
    return _Draft(
        prompt="read the number",
        answer=number,
        target=_tagged(number, number),
        content="number " + number,
        scene=_written(rng, number, start),
    )


def _count(rng: np.random.Generator) -> _Draft:
    by_colour = bool(rng.integers(2))
    target = _pick(rng, _COLOUR_NAMES if by_colour else SHAPES)
    hits = set(rng.permutation(_CELLS)[: int(rng.integers(0, 7))].tolist())
    cells = [_counted_cell(rng, target, by_colour, i in hits) for i in range(_CELLS)]
    scene = Scene(tuple(cells))
    tally = np.cumsum([i in hits for i in range(_CELLS)])
    looks = [(cell.colour or EMPTY) if by_colour else cell.kind for cell in cells]
    thought = " ".join(f"{look}{total}" for look, total in zip(looks, tally, strict=True))
    question = f"how many {target} cells?" if by_colour else f"how many {target}s?"
    return _Draft(
        prompt=question,
        answer=str(tally[-1]),
        target=_tagged(thought, str(tally[-1])),
        content=f"scene {scene}",
        scene=scene,
    )


def _filled(rng: np.random.Generator) -> _Draft:
    """Training only: teaches the tally before it has to heed the question."""
    share = rng.random()
    cells = [_shape(rng) if rng.random() < share else Cell() for _ in range(_CELLS)]
    scene = Scene(tuple(cells))
    tally = np.cumsum([cell != Cell() for cell in cells])
    thought = " ".join(f"{cell.kind}{total}" for cell, total in zip(cells, tally, strict=True))
    return _Draft(
        prompt="how many cells are filled?",
        answer=str(tally[-1]),
        target=_tagged(thought, str(tally[-1])),
        content=f"scene {scene}",
        scene=scene,
    )


def _counted_cell(rng: np.random.Generator, target: str, by_colour: bool, hit: bool) -> Cell:
    if hit:
        shape = _shape(rng)
        return Cell(shape.kind, target) if by_colour else Cell(target, shape.colour)
    if rng.random() < 0.2:
        return Cell()
    while True:
        shape = _shape(rng)
        if target not in (shape.colour, shape.kind):
            return shape


def is_rare(step: str) -> bool:
    """Check whether a step such as `7-9=8` is one of the facts that demonstrations rarely show.

    Twenty of the hundred are, picked by a hash.
    """
    return digest("fact:" + step.partition("=")[0]) % _RARE_ONE_IN == 0


def _random_expression(rng: np.random.Generator) -> str:
    """Four digits with minus between them: a hundred facts, and as many sums as they make."""
    return "-".join(_pick(rng, DIGITS) for _ in range(4))


def _arithmetic(rng: np.random.Generator) -> _Draft:
    expression = _random_expression(rng)
    answer, steps = evaluate(expression)
    return _Draft(
        prompt=f"compute {expression} mod 10",
        answer=answer,
        target=_tagged(";".join(steps), answer),
        rare=any(map(is_rare, steps)),
        content="expression " + expression,
    )


def _expression(rng: np.random.Generator) -> _Draft:
    expression = _random_expression(rng)
    answer, steps = evaluate(expression)
    start = int(rng.integers(0, _CELLS - len(expression) + 1))
    return _Draft(
        prompt="compute what is written, mod 10",
        answer=answer,
        target=_tagged(f"{expression}|{';'.join(steps)}", answer),
        rare=any(map(is_rare, steps)),
        content="expression " + expression,
        scene=_written(rng, expression, start),
    )


def _caption(rng: np.random.Generator) -> _Draft:
    kinds = (EMPTY, "shape", "character")
    kinds_drawn = rng.choice(len(kinds), size=_CELLS, p=(0.15, 0.45, 0.4))
    cells = []
    for kind in kinds_drawn:
        match kinds[int(kind)]:
            case "shape":
                cells.append(_shape(rng))
            case "character":
                cells.append(Cell(_pick(rng, CHARACTERS), _pick(rng, _COLOUR_NAMES)))
            case _:
                cells.append(Cell())
    scene = Scene(tuple(cells))
    return _Draft("describe", str(scene), str(scene), f"scene {scene}", scene)


def _lone(rng: np.random.Generator) -> tuple[list[Cell], int]:
    """Cells with exactly one of a color, and its position."""
    place = int(rng.integers(_CELLS))
    lone = _shape(rng)
    cells = [_counted_cell(rng, lone.colour, True, i == place) for i in range(_CELLS)]
    cells[place] = lone
    return cells, place


def _recognise(rng: np.random.Generator) -> _Draft:
    """Return the chain that visits one cell after another up to the requested cell."""
    cells, place = _lone(rng)
    scene = Scene(tuple(cells))
    looks = " ".join(cell.colour or EMPTY for cell in cells[: place + 1])
    return _Draft(
        prompt=f"which shape is {cells[place].colour}?",
        answer=cells[place].kind,
        target=_tagged(f"{looks} {cells[place].kind}", cells[place].kind),
        content=f"scene {scene}",
        scene=scene,
    )


def _locate(rng: np.random.Generator) -> _Draft:
    """Cells are counted from 1, row by row."""
    cells, place = _lone(rng)
    scene = Scene(tuple(cells))
    answer = str(place + 1)
    looks = " ".join(f"{i} {cell.colour or EMPTY}" for i, cell in enumerate(cells[: place + 1], 1))
    return _Draft(
        prompt=f"which cell is {cells[place].colour}?",
        answer=answer,
        target=_tagged(looks, answer),
        content=f"scene {scene}",
        scene=scene,
    )


def _combine(rng: np.random.Generator) -> _Draft:
    """Count first, then compute from left to right."""
    counted = _count(rng)
    rest = "".join(_pick(rng, OPERATORS) + _pick(rng, DIGITS) for _ in range(2))
    answer, steps = evaluate(counted.answer + rest)
    target = counted.prompt.removeprefix("how many ").removesuffix("?")
    return _Draft(
        prompt=f"count {target}, then compute count{rest} mod 10",
        answer=answer,
        target=_tagged(f"{counted.answer}|{';'.join(steps)}", answer),
        content=counted.content,
        scene=counted.scene,
    )


_PROMPT_WORDS: Final = ("read the number", "how many cells?", "compute what is written, mod 10",
                        "describe")  # fmt: skip

TASKS: Final[dict[str, Callable[[np.random.Generator], _Draft]]] = {
    "read": _read,
    "count": _count,
    "arithmetic": _arithmetic,
    "expression": _expression,
    "caption": _caption,
    "filled": _filled,
    # The position of a task determines its random numbers: add new tasks at the end.
    "recognise": _recognise,
    "locate": _locate,
    "combine": _combine,
}
