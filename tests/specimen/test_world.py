"""The world: same arguments, same items; pictures that show what they say; a real split."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from surgery.errors import SurgeryError
from surgery.specimen import world
from surgery.specimen.draw import CELL, COLOURS, SIDE, cell_pixels, render

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize("task", list(world.TASKS))
@pytest.mark.parametrize("split", ["heldout", "train", "validation"])
def test_same_arguments_give_the_same_items(task: str, split: world.Split) -> None:
    once, again = world.items(task, 12, 3, split), world.items(task, 12, 3, split)
    assert once == again
    assert [i.image and i.image.tobytes() for i in once] == [
        i.image and i.image.tobytes() for i in again
    ]
    other = world.items(task, 12, 4, split)
    assert [i.content for i in other] != [i.content for i in once]


def test_the_items_are_the_ones_the_shipped_scores_were_measured_on() -> None:
    sampled = {task: world.items(task, 1, 0)[0] for task in ("read", "count", "arithmetic")}
    assert {task: (item.prompt, item.answer) for task, item in sampled.items()} == {
        "read": ("read the number", "86815"),
        "count": ("how many circles?", "4"),
        "arithmetic": ("compute 9-0-2-4 mod 10", "3"),
    }


@pytest.mark.parametrize("task", list(world.TASKS))
def test_training_and_heldout_never_meet(task: str) -> None:
    cached = {item.content for item in world.items(task, 150, 0)}
    trained = {item.content for item in world.items(task, 300, 0, "train")}
    selection = {item.content for item in world.items(task, 150, 0, "validation")}
    assert len(cached) == len(selection) == 150
    assert not (cached & trained or cached & selection or selection & trained)
    assert {world.split_of(content) for content in cached} == {"heldout"}
    assert {world.split_of(content) for content in trained} == {"train"}
    assert {world.split_of(content) for content in selection} == {"validation"}


def test_a_heldout_expression_is_heldout_as_text_and_as_image() -> None:
    text = {item.content for item in world.items("arithmetic", 300, 0, "train")}
    image = {item.content for item in world.items("expression", 150, 0)}
    assert not text & image


@pytest.mark.parametrize("task", ["read", "count", "expression", "caption"])
def test_images_show_what_the_scene_says(task: str) -> None:
    for item in world.items(task, 20, 5):
        assert item.image is not None
        assert item.scene is not None
        assert item.image.size == (SIDE * CELL, SIDE * CELL)
        for index, cell in enumerate(item.scene.cells):
            assert _colour_of(cell_pixels(item.image, index)) == cell.colour


def test_every_kind_of_cell_looks_different() -> None:
    from surgery.specimen.draw import CHARACTERS, SHAPES, Cell, Scene

    pictures = set()
    for kind in (*SHAPES, *CHARACTERS):
        scene = Scene((Cell(kind, "black"), *(Cell() for _ in range(8))))
        ink = cell_pixels(render(scene), 0).min(-1) < 120
        rows = ink[ink.any(1)][:, ink.any(0)]
        pictures.add((kind, rows.shape, rows.tobytes()))
    assert len({picture[1:] for picture in pictures}) == len(pictures)


def test_gold_answers_follow_from_the_scene() -> None:
    for item in world.items("count", 60, 1):
        assert item.scene is not None
        expected = item.prompt.removeprefix("how many ").removesuffix(" cells?").removesuffix("s?")
        hits = sum(expected in (cell.colour, cell.kind) for cell in item.scene.cells)
        assert item.answer == str(hits)
    for item in world.items("read", 60, 1):
        assert item.scene is not None
        written = "".join(cell.kind for cell in item.scene.cells if cell.kind.isdigit())
        assert item.answer == written


def test_expressions_go_from_left_to_right_modulo_ten() -> None:
    assert world.evaluate("5+1*9") == ("4", ["5+1=6", "6*9=4"])
    assert world.evaluate("3-7*2") == ("2", ["3-7=6", "6*2=2"])
    for item in world.items("arithmetic", 60, 1):
        a, b, c, d = map(int, item.content.removeprefix("expression ").split("-"))
        assert int(item.answer) == (((a - b) - c) - d) % 10


def test_a_fifth_of_the_facts_is_rare_and_an_item_says_whether_it_needs_one() -> None:
    facts = {f"{a}-{b}" for a in range(10) for b in range(10) if world.is_rare(f"{a}-{b}={0}")}
    assert len(facts) == 20
    result = world.items("arithmetic", 400, 1)
    for item in result:
        steps = world.evaluate(item.content.removeprefix("expression "))[1]
        assert item.rare == any(step[:3] in facts for step in steps)
        assert all(step in item.target for step in steps)
    assert 0.35 < sum(item.rare for item in result) / 400 < 0.65
    assert not any(item.rare for item in world.items("count", 20, 1))


def test_looking_for_a_cell_ends_where_it_is_found() -> None:
    for task in ("recognise", "locate"):
        for item in world.items(task, 40, 3):
            assert item.scene is not None
            expected = item.prompt.removesuffix("?").rpartition(" ")[2]
            colours = [cell.colour for cell in item.scene.cells]
            assert colours.count(expected) == 1
            place = colours.index(expected)
            looks = item.target.partition("</think>")[0].removeprefix("<think>").split()
            calls = [colour or "empty" for colour in colours[: place + 1]]
            if task == "locate":
                assert looks == [
                    word for i, look in enumerate(calls) for word in (str(i + 1), look)
                ]
                assert item.answer == str(place + 1)
            else:
                assert looks == [*calls, item.scene.cells[place].kind]
                assert item.answer == item.scene.cells[place].kind


def test_demonstrations_are_in_the_strict_format_and_right() -> None:
    from tests.specimen.training.batches import reward
    from tests.specimen.training.tables import TASKS

    for task in TASKS:
        for item in world.items(task, 30, 2):
            assert reward(item.target, item) == 1.0


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(SurgeryError, match=r"no task 'raed' .* it has read, count"):
        world.items("raed", 1, 0)


def test_more_different_items_than_there_are_is_refused() -> None:
    with pytest.raises(SurgeryError, match=r"only .* different heldout items"):
        world.items("arithmetic", 9001, 0)


def test_the_world_needs_no_torch() -> None:
    code = (
        "import sys; import surgery.specimen.world as w; w.items('read', 1, 0);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _colour_of(pixels: NDArray[np.uint8]) -> str:
    """The nearest colour name of a cell's ink, "" where there is none."""
    ink = pixels.reshape(-1, 3)[pixels.reshape(-1, 3).min(-1) < 200]
    if len(ink) == 0:
        return ""
    mean = ink.mean(0)
    return min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
