"""Values of plain arithmetic: what Python computes, and no difference that math-verify denies."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.grading.mathematics import differ, same_mathematics
from eval.grading.values import arithmetic

WHOLE = st.integers(1, 30)


def _forms(inner: st.SearchStrategy[tuple[str, float]]) -> st.SearchStrategy[tuple[str, float]]:
    """LaTeX and its value, from LaTeX and their values."""
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda p: (f"({p[0][0]} + {p[1][0]})", p[0][1] + p[1][1])),
        two.map(lambda p: (f"({p[0][0]} - {p[1][0]})", p[0][1] - p[1][1])),
        two.map(lambda p: (f"{p[0][0]} \\cdot {p[1][0]}", p[0][1] * p[1][1])),
        two.filter(lambda p: abs(p[1][1]) > 1e-3).map(
            lambda p: (f"\\frac{{{p[0][0]}}}{{{p[1][0]}}}", p[0][1] / p[1][1])
        ),
        inner.filter(lambda p: p[1] >= 0).map(lambda p: (f"\\sqrt{{{p[0]}}}", math.sqrt(p[1]))),
        inner.map(lambda p: (f"\\left({p[0]}\\right)^2", p[1] ** 2)),
    )


NUMBERS = st.one_of(WHOLE.map(lambda n: (str(n), float(n))), st.just(("\\pi", math.pi)))
EXPRESSIONS = st.recursive(NUMBERS, _forms, max_leaves=4)


@given(EXPRESSIONS)
def test_the_value_is_that_of_the_expression(expression: tuple[str, float]) -> None:
    text, value = expression
    result = arithmetic(text)
    assert len(text) > 120 or result == pytest.approx(value, rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(EXPRESSIONS, EXPRESSIONS)
def test_math_verify_agrees_that_values_differ(
    first: tuple[str, float], second: tuple[str, float]
) -> None:
    if differ(first[0], second[0]):
        assert same_mathematics.__wrapped__(first[0], second[0]) is False
        from eval.grading.mathematics import _parsed, _verify

        assert not _verify(_parsed(first[0]), _parsed(second[0]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\dfrac12", 0.5), ("\\sqrt[3]{8}", 2.0), ("$2\\sqrt{3}$", 2 * math.sqrt(3)),
        ("3 \\times 2^5", 96.0), ("-\\frac{3}{4}", -0.75), ("16π", 16 * math.pi), ("7.", 7.0),
    ],
)  # fmt: skip
def test_forms(text: str, value: float) -> None:
    assert arithmetic(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["x", "2x", "3 500", "1,000", "2\\frac{1}{2}", "50\\%", "45^\\circ", "1/0", "\\sqrt{-1}",
     "2^99", "(1", "1)", "", "(" * 119, "9" * 500],
)  # fmt: skip
def test_anything_else_has_no_value(text: str) -> None:
    assert arithmetic(text) is None


def test_a_mixed_number_is_no_product() -> None:
    assert not differ("2.5", "2\\frac{1}{2}")
