"""The messages that a model gets."""

from __future__ import annotations

import numpy as np
import pytest

from eval.conditions import conditions_of
from eval.grading.grade import FORMS
from eval.prompts import MIN_SIDE, STYLES, find_style, fitted, messages
from eval.records import Condition, Metric, Picture
from surgery.errors import ExecutionError, SurgeryError
from tests.eval.samples import picture, question

PLAIN = STYLES["plain"]
RED, BLUE = picture("red"), picture("blue", (84, 56))


def parts(sample, condition, style=PLAIN, pixels=None):
    return messages(sample, condition, style, pixels)[-1].parts


def test_the_image_stands_before_the_text() -> None:
    assert parts(question("q", RED), Condition.IMAGE) == (RED, "Question q?")


def test_blank_is_black_and_of_the_same_size() -> None:
    displayed, text = parts(question("q", BLUE), Condition.BLANK)
    assert text == "Question q?"
    assert displayed.open().size == (84, 56)
    assert np.asarray(displayed.open()).max() == 0


def test_a_description_stands_before_the_question() -> None:
    displayed, text = parts(question("q", RED, description="all red"), Condition.DESCRIBED)
    assert np.asarray(displayed.open()).max() == 0
    assert text.index("all red") < text.index("Question q?")
    with pytest.raises(ValueError, match="no description"):
        parts(question("q", RED), Condition.DESCRIBED)


def test_text_shows_no_image() -> None:
    assert parts(question("q", RED), Condition.TEXT) == ("Question q?",)
    with pytest.raises(ValueError, match="no image"):
        parts(question("q"), Condition.IMAGE)


def test_images_stand_where_they_are_marked() -> None:
    sample = question("q", RED, BLUE, prompt="Is <image 2> like <image 1>? See <image 2>.")
    assert parts(sample, Condition.IMAGE) == (BLUE and "Is ", BLUE, " like ", RED, "? See ",
                                              "(image 2)", ".")  # fmt: skip
    sample = question("q", RED, BLUE, prompt="Only <image 2>")
    assert parts(sample, Condition.IMAGE) == (RED, "Only ", BLUE)
    sample = question("q", RED, prompt="See <image 3>")
    assert parts(sample, Condition.IMAGE) == (RED, "See ", "(image 3)")


def test_large_and_small_images_are_brought_into_bounds() -> None:
    large, small = picture(size=(2000, 1000)), picture(size=(10, 40))
    width, height = fitted(large, 1280 * 720).open().size
    assert width * height <= 1280 * 720
    assert width / height == pytest.approx(2, rel=0.01)
    assert min(fitted(small, None).open().size) >= MIN_SIDE
    assert fitted(RED, 1280 * 720) is RED  # untouched, byte for byte


def test_broken_images_are_named() -> None:
    broken = question("q17", Picture(b"not an image"))
    with pytest.raises(ExecutionError, match="'q17' cannot be read"):
        parts(broken, Condition.IMAGE)


def test_styles_are_a_table() -> None:
    turns = messages(question("q"), Condition.TEXT, STYLES["think-boxed"])
    assert [turn.role for turn in turns] == ["system", "user"]
    assert "\\boxed" in turns[0].parts[0]
    assert all(style.form in FORMS for style in STYLES.values())
    with pytest.raises(SurgeryError, match="Did you mean 'think-boxed'"):
        find_style("think_boxed")


def test_the_template_decides_the_form_and_nothing_else() -> None:
    assert find_style("template", "... in <answer> tags").form == "answer-tag"
    assert find_style("template", "put it in \\boxed{}").form == "boxed"
    assert find_style("template", "plain chat").form == "any"
    assert find_style("template", "<answer>").system == ""


def test_what_each_metric_asks() -> None:
    calls, output = question("q", RED), question("q")
    assert conditions_of(Metric.VISION, calls) == (Condition.IMAGE, Condition.BLANK)
    assert conditions_of(Metric.ALIGNMENT, calls) == (Condition.IMAGE, Condition.DESCRIBED)
    assert conditions_of(Metric.REASONING, calls) == (Condition.TEXT,)
    assert conditions_of(Metric.ACCURACY, calls) == (Condition.IMAGE,)
    assert conditions_of(Metric.ACCURACY, output) == (Condition.TEXT,)
    with pytest.raises(ValueError, match="needs an image"):
        conditions_of(Metric.VISION, output)


def test_transparent_images_are_white_below() -> None:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(file, "PNG")
    assert np.asarray(Picture(file.getvalue()).open()).min() == 255
