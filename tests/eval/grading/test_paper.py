"""The lenient grader compared with the reference implementation of arXiv 2602.12395.

The answers and verdicts of `AGREED` are those of the reference's own functions, run on these
responses with math-verify 0.9; an option's gold answer was its text there.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grading.grade import grade
from eval.grading.paper import grade_paper
from tests.eval.grading.corpus import NUMBERS, maths, number, option, words

ANGLES = ("65°", "75°", "85°", "95°")
CITIES = ("Oslo", "Bergen", "Dublin", "Cork")
SIZES = ("3 cm", "30 cm", "0.3 m")
TAIL = ("C" + ", to be sure" * 9)[-50:]
ROOTS = ("$\\sqrt{5}$", "$2\\sqrt{5}$", "\\frac{1}{5}")
QUADRUPLE = "[4, 0, 4, 1]"

AGREED = [
    # units, degrees
    (option("C", *ANGLES), "85", "85", True),
    (option("C", *ANGLES), "85°", "85", True),
    (option("C", *ANGLES), "Thus \\boxed{85^\\circ}", "85^\\circ", True),
    (option("C", *ANGLES), "<answer>85 degrees</answer>", "85 degrees", True),
    (option("C", *ANGLES), "The angle is 85°.", "85", True),
    (option("C", *ANGLES), "<answer>75°</answer>", "75°", False),
    (option("B", *SIZES), "\\boxed{30}", "30", True),
    (number("40"), "<answer>40 km</answer>", "40 km", True),
    # marks at the end, words behind the answer
    (words("Oslo"), "So the answer is Oslo.", "Oslo", True),
    (words("Oslo"), "So the answer is Oslo. Really", "Oslo", True),
    (number("36"), "answer: 36, clearly", "36, clearly", True),
    (number("36"), "**36**.", "36", True),
    (words("blue"), "Hence blue", "blue", True),
    (words("blue"), "Hence blue\nor so", "Hence blue\nor so", False),  # no full stop on its line
    # tags and boxes
    (number("8"), "<answer></answer> 8", "8", True),
    (number("8"), "<answer></answer> \\boxed{8}", "8", True),
    (number("8"), "<answer>8</answer> or <answer>9</answer>", "8", True),
    (number("8"), "\\boxed{9}, no: \\boxed {8}", "8", True),
    (number("8"), "\\boxed{9}, no: \\boxed{8", "8", True),
    (number("8"), "\\fbox{8} of 9 parts", "9", False),
    (number("8"), "<answer>\\boxed{8}</answer>", "\\boxed{8}", True),
    (number("8"), "<answer>1-8</answer>", "8", True),
    # labels, and what is taken for one
    (option("B", *CITIES), "<answer>b) Bergen</answer>", "Bergen", True),
    (option("B", *CITIES), "\\boxed{B: Bergen}", "Bergen", True),
    (number("0.5"), "\\boxed{0.5}", "5", False),
    (number("3.14"), "<answer>3.14</answer>", "14", False),
    (number("0.5"), "It is 0.5", "5", False),
    (number("12.5"), "\\boxed{12.5}", "12.5", True),
    (number("-0.5"), "\\boxed{-0.5}", "-0.5", True),
    (maths("\\frac{1}{2}"), "\\boxed{0.5}", "5", False),
    # letters
    (option("C", *CITIES), "\\boxed{c}", "C", True),
    (option("C", *CITIES), "(C)", "C", True),
    (option("C", *CITIES), "<answer>(C)</answer>", "(C)", False),
    (option("C", *CITIES), "\\boxed{\\text{C}}", "\\text{C}", False),
    (option("C", *CITIES), "<answer>Dublin</answer>", "Dublin", True),
    (option("C", *CITIES), "I pick C over D, A and B", "C", True),
    (option("C", *CITIES), "The answer is Dublin.", "D", False),  # the first capital letter
    (option("B", *CITIES), "A good choice it is: Bergen", "A", False),
    (option("C", *CITIES), "<answer></answer> Not A, <answer>c</answer>", "C", True),
    (option("C"), f"<answer>it</answer>, \\boxed{{C}}{', to be sure' * 9}: A", "it", True),
    (option("C", *CITIES), "Not A. My answer: C it is", "C", True),
    (option("C", *CITIES), "A or B? I say (C)", "C", True),
    (option("C", *CITIES), "A or B?\nC.\nfor sure", "C", True),
    (option("C", *CITIES), "Not A, **C** it is", "C", True),
    (option("C", *CITIES), "Not A: option c it is", "C", True),
    (option("C", *CITIES), "Not A, as C is the right one", "C", True),
    (option("C", *CITIES), "Not A, I choose C then", "C", True),
    (option("C", *CITIES), f"C{', to be sure' * 9}", TAIL, False),
    (option("A", "Yes", "No"), "Yes, it is", "Yes, it is", False),
    (option("B", "C", "A", "B"), "<answer>B</answer>", "B", False),  # A is the gold answer's letter
    (option("B", "C", "A", "B"), "<answer>A</answer>", "A", True),
    (maths("E"), "\\boxed{E}", "E", True),
    # numbers
    (number("100"), "100.9", "100.9", True),
    (number("100"), "101.5", "101.5", False),
    (number("0.5"), "0,5", "5", False),
    (number("2,000"), "They are 2,000", "000", False),
    (number("2,000"), "<answer>2000</answer>", "2000", True),
    (number("2,000"), "<answer>2,000</answer>", "2,000", True),
    (number("50"), "<answer>50%</answer>", "50%", True),
    (number("7"), "It was 3, then 7\nor so", "7", True),
    (number("-7"), "It is 3-7", "-7", True),
    (words(QUADRUPLE), QUADRUPLE, "1", True),
    (words(QUADRUPLE), f"<answer>{QUADRUPLE}</answer>", QUADRUPLE, True),
    # LaTeX
    (maths("\\frac{1}{2}"), "\\boxed{\\frac12}", "\\frac12", False),
    (maths("\\frac{1}{2}"), "\\boxed{$\\frac{2}{4}$}", "$\\frac{2}{4}$", True),
    (maths("$\\frac{1}{2}$"), "\\boxed{$\\frac{2}{4}$}", "$\\frac{2}{4}$", True),
    (maths("(x+1)^2"), "\\boxed{x^2+2x+1}", "x^2+2x+1", False),
    (maths("(x+1)^2"), "\\boxed{(x + 1)^2}", "(x + 1)^2", True),
    (maths("\\sqrt{117}"), "\\boxed{3\\sqrt{13}}", "3\\sqrt{13}", False),
    (maths("\\text{Noor}"), "\\boxed{Noor}", "Noor", False),
    (option("B", *ROOTS), "<answer>2\\sqrt{5}</answer>", "2\\sqrt{5}", False),
    (maths("$(0,1)$"), "\\boxed{$0<x<1$}", "$0<x<1$", True),
    (maths("$0<x<1$"), "\\boxed{$(0,1)$}", "$(0,1)$", False),
    (maths("2k+1"), "\\boxed{2k+5}", "2k+5", True),
    (maths("120^\\circ"), "\\boxed{120}", "120", True),
    # other scripts
    (number("42"), "答案是42。", "42", True),
    (words("红色"), "它是红色", "它是红色", False),
    (words("红色"), "\\boxed{红色}", "红色", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "text", "answer", "right"), AGREED, ids=lambda value: repr(value)[:24]
)
def test_agrees_with_the_reference(sample, text: str, answer: str, right: bool) -> None:
    result = grade_paper(sample, text)
    assert (result.extraction.answer, result.correct) == (answer, right)


LAMP = words("Yes")
DIFFERENT = [
    (LAMP, "Yes, the lamp is on.", True, "the word it begins with"),
    (LAMP, "**Yes.** The lamp hangs there\nand has 2 bulbs.", True, "not the last number"),
    (LAMP, "<answer>yes, it is on</answer>", True, "the same in a tag"),
    (LAMP, "It has 2 bulbs.\nAnswer: Yes\nIt is 1 lamp.", True, "what the answer is"),
    (LAMP, "No, it is off.", False, "the other word"),
    (LAMP, "Yesterday it was on.", False, "not a part of a word"),
    (LAMP, "Yes, I see. <answer>no</answer>", False, "a tag is the answer"),
    (LAMP, "The lamp is on.", False, "without the word"),
    (words("Yes and no"), "Yes, it is.", False, "only where the gold answer is that word"),
    (maths("No"), "No, it is not.", False, "only of words"),
    (replace(option("I", *"1234567890"), choices=tuple("1234567890")), "<answer>I</answer>", True,
     "options past H"),
    (option("B"), "I take option B", True, "a letter where texts are unknown"),
    (replace(number("1.06"), also=("11.07",)), "<answer>11.07</answer>", True, "also right"),
    (maths("x"), "\\boxed{$9^{9^{9}}$}", False, "too hard"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "text", "right", "reason"), DIFFERENT, ids=lambda v: repr(v)[:24]
)
def test_deliberate_differences(sample, text: str, right: bool, reason: str) -> None:
    assert grade(sample, text, "paper").correct == right, reason


@given(st.text("0123.- \n,x", max_size=12))
def test_a_number_ends_a_line_as_a_search_from_the_left_finds_it(text: str) -> None:
    ends = [re.search(r"(-?\d+\.?\d*)\s*$", line.strip()) for line in text.strip().split("\n")]
    numbers = [end[1] for end in ends if end]
    extraction = grade_paper(number("1"), text).extraction
    if numbers and not re.fullmatch(r"\d\s*[-.]\s*.+", numbers[-1]):  # a label is taken off
        assert (extraction.answer, extraction.rule) == (numbers[-1], "paper-last-number")


def test_bold_print_is_no_power() -> None:
    assert grade_paper(number("11"), "The final answer is:\n\n**11**").correct
    assert grade_paper(number("11"), "<answer>The number is **11**</answer>").correct
    assert grade_paper(number("10,200"), "The answer is **10,200.5**.").correct  # cut at the stop
    hard = replace(number("1"), answer="9**9**9**9")
    assert grade_paper(hard, "<answer>9**9**9**9 **</answer>").comparison != "paper-math-verify"


def test_guesses_are_marked() -> None:
    rules = {
        text: (result.rule, result.guessed)
        for text in ("\\boxed{14}", "I think B", "it is 14", "perhaps")
        for result in [grade_paper(option("B", *NUMBERS), text).extraction]
    }
    assert rules == {
        "\\boxed{14}": ("paper-boxed", False),
        "I think B": ("paper-standalone", True),
        "it is 14": ("paper-last-number", True),
        "perhaps": ("paper-tail", True),
    }
