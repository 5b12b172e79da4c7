"""Selection of a run's variants for publishing: `M_v2r >= in`, `gsm8k > in + 2%`.

    pick   = [suite "/"] (metric | task) operator (number | variant [("+" | "-") percentage])
    metric = "M_vis" | "M_v2r" | "M_rea" | "accuracy", in capitals or not
    number = a share from 0 to 1, or a percentage

A metric is that of a whole suite: its tasks with that metric taken together, as in the run's
`all m_v2r` rows; a task has its own metric. The comparison with a variant is a row of the run's
pairs: on the samples that both answered.
"""

from __future__ import annotations

import operator as operators
import re
from dataclasses import dataclass
from decimal import Decimal
from math import isnan
from typing import TYPE_CHECKING, Final, TypeAlias

from eval.comparison import pairs
from eval.metrics import Score
from eval.publishing.scores import NAMES, of_suites, plain_variants
from eval.sweep.results import rows_of
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.graded import Graded
    from surgery.runs import RunTables

    Gaps: TypeAlias = Mapping[str, float | str]
    """Return left minus right of every variant, or the reason for a missing number."""

_EXAMPLES: Final = "'M_v2r >= in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'"
_METRICS: Final = {name.lower(): metric for metric, name in NAMES.items()}
_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operators.ge, ">": operators.gt, "<=": operators.le, "<": operators.lt,
}  # fmt: skip
_TURNED: Final = {"=>": ">=", "=<": "<=", "≥": ">=", "≤": "<="}
_SIGNS: Final = re.compile(r"[<>=!≤≥≠~]+")
_NUMBER: Final = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)\s*%?")
_MARGIN: Final = re.compile(r"(.+?)\s*([+-])\s*([0-9.]+\s*%)", re.DOTALL)
_PLACES: Final = 12  # fractions of whole counts differ by more


@dataclass(frozen=True)
class Pick:
    """A condition on a variant.

    Attributes:
        text: The condition as the user wrote it.
        suite: The suite; "" where only one can be meant.
        name: A metric's name in lower case, or a task.
        operator: `>=`, `>`, `<=` or `<`.
        variant: The variant on the right; "" for a number alone.
        number: The number, or what is added to the variant's; a share.
    """

    text: str
    suite: str
    name: str
    operator: str
    variant: str
    number: float


@dataclass(frozen=True)
class UndecidedVariant:
    """A variant on which a pick cannot decide, with the reason."""

    variant: str
    reason: str


@dataclass(frozen=True)
class PickedVariants:
    """Variants that fulfil all picks, in the run's order, and those that cannot be decided."""

    names: tuple[str, ...]
    left_out: tuple[UndecidedVariant, ...]


def parse_pick(text: str) -> Pick:
    """Read a pick.

    Raises:
        SurgeryError: If it is none, or of a form that is not supported.
    """
    sign = _SIGNS.search(text)
    if sign is None:
        raise SurgeryError(
            f"the pick {text!r} compares nothing; expected a metric, one of "
            f"{', '.join(_OPERATORS)}, and a number or a variant, for example {_EXAMPLES}."
        )
    if sign.group() not in _OPERATORS:
        near = _TURNED.get(sign.group())
        hint = f"Did you mean {near!r}?" if near else f"Expected one of: {', '.join(_OPERATORS)}."
        raise SurgeryError(f"the pick {text!r} compares with {sign.group()!r}. {hint}")
    left_side, right_side = text[: sign.start()].strip(), text[sign.end() :].strip()
    suite, _, name = (part.strip() for part in left_side.rpartition("/"))
    if not name or not right_side:
        raise SurgeryError(
            f"the pick {text!r} is not complete; expected a metric or a task on its left and a "
            f"number or a variant on its right, for example {_EXAMPLES}."
        )
    name = name.lower() if name.lower() in _METRICS else name
    if _NUMBER.fullmatch(right_side):
        return Pick(text, suite, name, sign.group(), "", _share(right_side, text))
    margin = _MARGIN.fullmatch(right_side)
    if margin is None:
        return Pick(text, suite, name, sign.group(), right_side, 0.0)
    share = _share(margin[3], text)
    return Pick(text, suite, name, sign.group(), margin[1], -share if margin[2] == "-" else share)


def picked(results: RunTables, records: Sequence[Graded], picks: Sequence[Pick]) -> PickedVariants:
    """Return the variants of a run that fulfil all picks; plain models are never among them.

    Args:
        results: The run's.
        records: Those of all its variants.
        picks: Conditions; without any, every variant fulfils them.

    Raises:
        SurgeryError: If the run has no such suite, task or variant, if several suites could be
            meant, or if the variant on the right has no number.
    """
    plain = plain_variants(results.summary)
    names = [str(variant["name"]) for variant in results.summary["variants"]]
    gaps = [(_OPERATORS[pick.operator], _gaps(pick, results, records, names)) for pick in picks]
    selected, left_out = [], []
    for name in names:
        values = [(holds, by_name[name]) for holds, by_name in gaps]
        reasons = [value for _, value in values if isinstance(value, str)]
        refused = any(
            not holds(round(value, _PLACES), 0.0)
            for holds, value in values
            if not isinstance(value, str)
        )
        if name in plain or refused:
            continue
        left_out += [UndecidedVariant(name, reason) for reason in reasons]
        selected += [] if reasons else [name]
    return PickedVariants(tuple(selected), tuple(left_out))


def _share(text: str, pick: str) -> float:
    """Return the share that a number or a percentage is."""
    try:
        value = float(Decimal(text.rstrip("%").strip()) / (100 if text.endswith("%") else 1))
    except ArithmeticError:
        raise SurgeryError(f"the pick {pick!r}: {text!r} is not a number.") from None
    if value > 1:
        hint = "" if text.endswith("%") else f" Write {text}% for percent."
        raise SurgeryError(f"the pick {pick!r}: {text} is greater than 1.{hint}")
    return value


def _gaps(pick: Pick, results: RunTables, records: Sequence[Graded], names: Sequence[str]) -> Gaps:
    """Return left less right of every variant."""
    rows = {score.variant: score for score in _rows(pick, results)}
    unanswered = "none of its samples was answered"
    values: dict[str, float | str] = dict.fromkeys(names, unanswered)
    values |= {name: row.value for name, row in rows.items() if not isnan(row.value)}
    other = pick.variant
    if other:
        _check_other(pick, names, values)
        row = rows[other]
        place = row.suite, row.task, row.measure
        values = dict.fromkeys(names, f"no sample was answered by both it and {other}")
        values |= {
            pair.variant: pair.difference
            for pair in pairs(records, other)
            if (pair.suite, pair.task, pair.measure) == place and pair.n
        }
        values[other] = 0.0
    return {
        name: value if isinstance(value, str) else value - pick.number
        for name, value in values.items()
    }


def _check_other(pick: Pick, names: Sequence[str], values: Mapping[str, float | str]) -> None:
    """Refuse a right side that is no variant with a number."""
    other = pick.variant
    if other not in names:
        raise SurgeryError(
            f"the pick {pick.text!r}: {other!r} is no number, and no variant of the run."
            f"{did_you_mean(other, names)} A margin is a percentage: 'in + 2%'."
        )
    if isinstance(values[other], str):
        raise SurgeryError(
            f"the pick {pick.text!r}: {other!r} has no number to compare with: {values[other]}."
        )


def _rows(pick: Pick, results: RunTables) -> list[Score]:
    """Return the scores that a pick means, one per variant."""
    scores = [s for s in rows_of(results, Score) if not s.split and s.measure in NAMES]
    suites = list(dict.fromkeys(score.suite for score in scores))
    if pick.suite and pick.suite not in suites:
        raise SurgeryError(
            f"the pick {pick.text!r}: the run has no suite {pick.suite!r}."
            f"{did_you_mean(pick.suite, suites)}"
        )
    scores = [score for score in scores if pick.suite in ("", score.suite)]
    if pick.name in _METRICS:
        rows = [score for score in of_suites(scores) if score.measure == _METRICS[pick.name]]
    else:
        rows = [score for score in scores if score.task == pick.name]
    if not rows:
        names = [name for metric, name in NAMES.items() if any(s.measure == metric for s in scores)]
        names += dict.fromkeys(score.task for score in scores if not score.pooled)
        place = f"suite {pick.suite!r}" if pick.suite else "the run"
        task, colon, _ = pick.name.partition(":")
        hint = f" A pick compares a task's metric alone: write {task!r}." if colon else ""
        raise SurgeryError(
            f"the pick {pick.text!r}: {place} has no metric and no task {pick.name!r}."
            f"{hint or did_you_mean(pick.name, names)}"
        )
    meant = list(dict.fromkeys(row.suite for row in rows))
    if len(meant) > 1:
        label = NAMES[_METRICS[pick.name]] if pick.name in _METRICS else pick.name
        ways = " or ".join(f"{suite}/{label}" for suite in meant)
        raise SurgeryError(f"the pick {pick.text!r} could mean several suites: write {ways}.")
    return rows
