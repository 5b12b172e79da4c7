"""Which variants of a run to publish: `M_v2r >= in`, `paper/geometry > 40%`.

    pick    = left operator right
    left    = [suite "/"] metric | [suite "/"] task [":" measure]
    metric  = "M_vis" | "M_v2r" | "M_rea" | "accuracy", in capitals or not
    right   = number | variant [("+" | "-") number]
    number  = a share from 0 to 1, or a percentage; for `tokens[...]`, tokens

A metric is that of a whole suite: its tasks with that metric taken together, every sample counting
once, as in the run's `all m_v2r` rows. A task without a measure has its own metric. A margin stands
apart from the variant's name (`in - 0.02`), unless it is a percentage (`in-2%`).
"""

from __future__ import annotations

import operator as operators
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import isnan
from typing import TYPE_CHECKING, Final, TypeAlias

from eval.compare import pairs
from eval.publishing.scores import NAMES, plain_variants
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from eval.graded import Graded
    from eval.metrics import Score
    from eval.sweep.results import Results

    Place: TypeAlias = tuple[str, str, str]
    """Suite, task and measure of a row."""

_EXAMPLES: Final = "'M_v2r >= in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'"
_METRICS: Final = {name.lower(): metric for metric, name in NAMES.items()}
_OPERATOR: Final = re.compile(r"[<>=!≤≥≠~]+")
_NUMBER: Final = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_LIMIT: Final = re.compile(rf"{_NUMBER}\s*%?")
_MARGIN: Final = re.compile(
    rf"(?P<name>.+?)(?:\s+(?P<sign>[+-])\s*(?P<number>{_NUMBER}\s*%?)"
    rf"|\s*(?P<sign2>[+-])\s*(?P<number2>{_NUMBER}\s*%))",
    re.DOTALL,
)
_COUNTED: Final = "tokens["
_EXACT: Final = 12  # places; shares of whole numbers are no nearer to one another


class Operator(StrEnum):
    """How the two sides of a pick are compared."""

    AT_LEAST = ">="
    MORE = ">"
    AT_MOST = "<="
    LESS = "<"

    def holds(self, gap: float) -> bool:
        """Whether it holds for left less right."""
        return bool(_HOLDS[self](round(gap, _EXACT), 0.0))


_OPERATORS: Final = ", ".join(Operator)
_HOLDS: Final[Mapping[Operator, Callable[[float, float], bool]]] = {
    Operator.AT_LEAST: operators.ge,
    Operator.MORE: operators.gt,
    Operator.AT_MOST: operators.le,
    Operator.LESS: operators.lt,
}


@dataclass(frozen=True)
class Measured:
    """What of a variant is looked at.

    Attributes:
        suite: The suite; "" where only one can be meant.
        task: The task; "" for the suite's tasks with the metric taken together.
        measure: As in `eval.metrics.Score`; "" for the task's own metric.
    """

    suite: str
    task: str
    measure: str

    def __str__(self) -> str:
        suite = f"{self.suite}/" if self.suite else ""
        if not self.task:
            return f"{suite}{NAMES[self.measure]}"
        return f"{suite}{self.task}" + (f":{self.measure}" if self.measure else "")


@dataclass(frozen=True)
class Bound:
    """What it is compared with.

    Attributes:
        variant: A variant of the run; "" for a number alone.
        number: The number, or what is added to the variant's; a share, or tokens.
    """

    variant: str
    number: float = 0.0

    def __str__(self) -> str:
        if not self.variant:
            return repr(self.number)
        if not self.number:
            return self.variant
        return f"{self.variant} {'-' if self.number < 0 else '+'} {abs(self.number)!r}"


@dataclass(frozen=True)
class Pick:
    """One condition on a variant.

    Attributes:
        measure: What of it is looked at.
        operator: How it is compared.
        right: With what.
    """

    measure: Measured
    operator: Operator
    right: Bound

    def __str__(self) -> str:
        return f"{self.measure} {self.operator} {self.right}"


@dataclass(frozen=True)
class LeftOut:
    """A variant of which a pick cannot be decided.

    Attributes:
        variant: The variant.
        pick: The pick.
        reason: Why, as a sentence without its end.
    """

    variant: str
    pick: Pick
    reason: str


@dataclass(frozen=True)
class Picked:
    """What picks make of a run's variants.

    Attributes:
        names: Variants that fulfil all picks, in the run's order.
        left_out: Variants that fulfil all picks but those that cannot be decided.
    """

    names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def parse_pick(text: str) -> Pick:
    """Read a pick.

    Raises:
        SurgeryError: If it is none; says what is wrong with it.
    """
    found = _OPERATOR.search(text)
    if found is None:
        raise SurgeryError(
            f"the pick {text!r} compares nothing; expected a metric, one of "
            f"{_OPERATORS}, and a number or a variant, for example {_EXAMPLES}."
        )
    try:
        operator = Operator(found.group())
    except ValueError:
        turned = {"=>": ">=", "=<": "<=", "≥": ">=", "≤": "<="}.get(found.group())
        near = f" Did you mean {turned!r}?" if turned else f" Expected one of: {_OPERATORS}."
        raise SurgeryError(f"the pick {text!r} compares with {found.group()!r}.{near}") from None
    left, right = text[: found.start()].strip(), text[found.end() :].strip()
    for side, what in ((left, "on its left; expected a metric or a task"),
                       (right, "on its right; expected a number or a variant")):  # fmt: skip
        if not side:
            raise SurgeryError(f"the pick {text!r} has nothing {what}, for example {_EXAMPLES}.")
    measure = _measured(left, text)
    return Pick(measure, operator, _bound(right, measure, text))


def picked(results: Results, records: Sequence[Graded], picks: Sequence[Pick]) -> Picked:
    """The variants of a run that fulfil all picks; models as they are, are never among them.

    A metric is compared with another variant's on the samples that both answered. Other measures
    have no paired difference: they are compared where neither is missing a sample.

    Args:
        results: The run's.
        records: Those of all its variants.
        picks: Conditions; without any, every variant fulfils them.

    Raises:
        SurgeryError: If the run has no such suite, task, measure or variant, if several suites
            could be meant, or if the variant that is compared with has no number.
    """
    plain = plain_variants(results.summary)
    names = [str(one["name"]) for one in results.summary["variants"]]
    run = _Run(results.scores, records, names)
    gaps = [(pick, run.gaps(pick)) for pick in picks]
    chosen, left_out = [], []
    for name in names:
        if name in plain:
            continue
        said = [(pick, found[name]) for pick, found in gaps]
        known = [pick.operator.holds(gap) for pick, gap in said if not isinstance(gap, str)]
        unknown = [LeftOut(name, pick, gap) for pick, gap in said if isinstance(gap, str)]
        if all(known):
            left_out += unknown
            chosen += [] if unknown else [name]
    return Picked(tuple(chosen), tuple(left_out))


def _measured(left: str, text: str) -> Measured:
    suite, _, rest = left.rpartition("/")
    suite, rest = suite.strip(), rest.strip()
    if rest.lower() in _METRICS:
        return Measured(suite, "", _METRICS[rest.lower()])
    task, colon, measure = rest.rpartition(":")
    if not colon:
        task, measure = rest, ""
    task, measure = task.strip(), measure.strip()
    if not task or (colon and not measure):
        raise SurgeryError(
            f"the pick {text!r}: {left!r} is not SUITE/TASK:MEASURE; suite and measure may be left "
            f"out, the task not."
        )
    return Measured(suite, task, _METRICS.get(measure.lower(), measure))


def _bound(right: str, measure: Measured, text: str) -> Bound:
    if _LIMIT.fullmatch(right):
        return Bound("", _number(right, measure, text))
    found = _MARGIN.fullmatch(right)
    if found is None:
        return Bound(right)
    number = _number(found["number"] or found["number2"], measure, text)
    sign = found["sign"] or found["sign2"]
    return Bound(found["name"], -number if sign == "-" and number else number)


def _number(text: str, measure: Measured, pick: str) -> float:
    """A number's value; a percentage is its share."""
    bare = text.rstrip("%").rstrip()
    counted = measure.measure.startswith(_COUNTED)
    if bare == text:
        value = float(text)
        if value > 1 and not counted:
            raise SurgeryError(
                f"the pick {pick!r}: {text} is more than a whole. Write {text}% for percent, or a "
                f"share from 0 to 1."
            )
        return value
    if counted:
        raise SurgeryError(
            f"the pick {pick!r}: {measure.measure} counts tokens, and {text} is a percentage. "
            f"Write a number of tokens."
        )
    value = float(Decimal(bare) / 100)
    if value > 1:
        raise SurgeryError(f"the pick {pick!r}: {text} is more than 100%, which is a whole.")
    return value


class _Run:
    """A run's rows by place and variant."""

    def __init__(
        self, scores: Iterable[Score], records: Sequence[Graded], names: Sequence[str]
    ) -> None:
        self._records = records
        self._names = names
        self._rows: dict[Place, dict[str, Score]] = {}
        for score in scores:
            if not score.split:
                place = score.suite, score.task, score.measure
                self._rows.setdefault(place, {})[score.variant] = score
        self._paired: dict[str, dict[tuple[str, Place], float]] = {}

    def gaps(self, pick: Pick) -> dict[str, float | str]:
        """Left less right of every variant, or why there is no such number."""
        place = self._place(pick)
        if not pick.right.variant:
            values = {name: self._value(name, place) for name in self._names}
        else:
            values = self._against(pick, place)
        return {
            name: value if isinstance(value, str) else value - pick.right.number
            for name, value in values.items()
        }

    def _value(self, name: str, place: Place) -> float | str:
        row = self._rows[place].get(name)
        if row is None or isnan(row.value):
            return "none of its samples was answered"
        return row.value

    def _against(self, pick: Pick, place: Place) -> dict[str, float | str]:
        other = pick.right.variant
        if other not in self._names:
            near = did_you_mean(other, self._names)
            there = "" if "Expected" in near else f" The run has {', '.join(self._names)}."
            raise SurgeryError(
                f"the pick '{pick}': {other!r} is no number, and no variant of the run."
                f"{near}{there}"
            )
        theirs = self._value(other, place)
        if isinstance(theirs, str):
            raise SurgeryError(
                f"the pick '{pick}': {other!r} has no number to compare with: {theirs}."
            )
        if place[2] in NAMES:
            return {name: self._apart(name, other, place) for name in self._names}
        return {name: self._unpaired(name, other, place) for name in self._names}

    def _apart(self, name: str, other: str, place: Place) -> float | str:
        """The paired difference of a metric."""
        if name == other:
            return 0.0
        if other not in self._paired:
            self._paired[other] = {
                (pair.variant, (pair.suite, pair.task, pair.measure)): pair.difference
                for pair in pairs(self._records, other)
                if pair.n
            }
        reason = f"no sample was answered by both it and {other}"
        return self._paired[other].get((name, place), reason)

    def _unpaired(self, name: str, other: str, place: Place) -> float | str:
        ours, theirs = self._value(name, place), self._rows[place][other]
        if isinstance(ours, str):
            return ours
        if theirs.missing or self._rows[place][name].missing:
            return f"it or {other} misses responses, and {place[2]} is not compared by sample"
        return ours - theirs.value

    def _place(self, pick: Pick) -> Place:
        """The row that a pick means."""
        wanted = pick.measure
        suites = list(dict.fromkeys(suite for suite, _, _ in self._rows))
        if wanted.suite and wanted.suite not in suites:
            raise SurgeryError(
                f"the pick '{pick}': the run has no suite {wanted.suite!r}."
                f"{did_you_mean(wanted.suite, suites)}"
            )
        there = [place for place in self._rows if wanted.suite in ("", place[0])]
        found = self._whole(pick, there) if not wanted.task else self._single(pick, there)
        if len(found) > 1:
            ways = " or ".join(str(Measured(suite, wanted.task, wanted.measure))
                               for suite, _, _ in found)  # fmt: skip
            raise SurgeryError(f"the pick '{pick}' could mean several suites: write {ways}.")
        return found[0]

    def _whole(self, pick: Pick, there: Sequence[Place]) -> list[Place]:
        """A metric's row in each suite: its tasks together, or the only one."""
        metric = pick.measure.measure
        # The row of several tasks comes after theirs.
        rows = {place[0]: place for place in there if place[2] == metric}
        if not rows:
            raise SurgeryError(
                f"the pick '{pick}': no task {_where(pick)} is scored by {NAMES[metric]}. "
                f"Expected one of: {', '.join(_scored(there))}."
            )
        return list(rows.values())

    def _single(self, pick: Pick, there: Sequence[Place]) -> list[Place]:
        task, measure = pick.measure.task, pick.measure.measure
        its = [place for place in there if place[1] == task]
        if not its:
            tasks = dict.fromkeys(place[1] for place in there if not place[1].startswith("all "))
            raise SurgeryError(
                f"the pick '{pick}': {task!r} is no metric, and no task {_where(pick)}."
                f"{did_you_mean(task, [*_scored(there), *tasks])}"
            )
        found = [
            place for place in its if place[2] == measure or (not measure and place[2] in NAMES)
        ]
        if not found:
            measures = dict.fromkeys(place[2] for place in its)
            raise SurgeryError(
                f"the pick '{pick}': task {task!r} has no measure {measure!r}."
                f"{did_you_mean(measure, measures)}"
            )
        return found


def _where(pick: Pick) -> str:
    return f"of suite {pick.measure.suite!r}" if pick.measure.suite else "of the run"


def _scored(there: Sequence[Place]) -> list[str]:
    """The metrics that have a row."""
    return [name for metric, name in NAMES.items() if any(place[2] == metric for place in there)]
