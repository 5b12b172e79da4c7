"""Graded responses: one record per variant, sample, condition and repeat.

Everything that is reported is worked out from these records alone, so that a run's numbers can be
checked and recomputed without the benchmark.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

from eval.grading.grade import format_ok, grade
from eval.records import Condition, Metric, Response
from surgery.errors import ExecutionError
from surgery.reading import is_file, parse_json
from surgery.runs.writing import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from eval.prompts import Style
    from eval.questions import Question
    from eval.records import Failure, Sample, Suite

_LARGEST: Final = 2**53
_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: type(value) is int and 0 <= value < _LARGEST,
    "bool": lambda value: isinstance(value, bool),
    "str | None": lambda value: value is None or isinstance(value, str),
    "bool | None": lambda value: value is None or isinstance(value, bool),
    "Metric": lambda value: isinstance(value, str),
    "Condition": lambda value: isinstance(value, str),
    "Mapping[str, str]": lambda value: (
        isinstance(value, dict) and all(isinstance(name, str) for name in value.values())
    ),
}
"""The types that a field may have when it comes from a file."""
_UNASKED: Final = "the sample has no description"


@dataclass(frozen=True)
class Graded:
    """One response, or the reason for a missing one, with its grade.

    Attributes:
        variant: The variant's name.
        suite: The suite.
        task: Its task.
        metric: What the task's outcomes are made into.
        sample: The sample's id.
        condition: What of it was shown.
        repeat: Which of several answers it is.
        key: Key of the response; "" when it was never asked.
        cluster: What the sample shares with samples it is not independent of.
        categories: Further names by which scores are split.
        gold: The right answer.
        failure: Why there is no response; "" when there is one.
        text: The response.
        tokens: Its new tokens.
        truncated: Whether it was cut off at the token limit.
        well_formed: Whether it has the form that the style asks for.
        answer: The answer that was taken, or None.
        rule: How it was found.
        guessed: Whether nothing marked it as the answer.
        comparison: How it was compared.
        correct: Whether it is right; None where there is no response.
        judged: The judge's verdict, if there is a judge.
    """

    variant: str
    suite: str
    task: str
    metric: Metric
    sample: str
    condition: Condition
    repeat: int
    key: str
    cluster: str
    categories: Mapping[str, str]
    gold: str
    failure: str = ""
    text: str = ""
    tokens: int = 0
    truncated: bool = False
    well_formed: bool = False
    answer: str | None = None
    rule: str = ""
    guessed: bool = False
    comparison: str = ""
    correct: bool | None = None
    judged: bool | None = None

    def line(self) -> str:
        """Return the record as a line of JSON."""
        return json.dumps(vars(self), ensure_ascii=False)

    @classmethod
    def of(cls, result: dict[str, Any]) -> Self:
        """Return a record from the contents of its line.

        Raises:
            ValueError: If it is no such record.
        """
        types = {field.name: str(field.type) for field in fields(cls)}
        if not isinstance(result, dict) or result.keys() != types.keys():
            raise ValueError("not a record")
        wrong = [name for name, kind in types.items() if not _TYPES[kind](result[name])]
        if wrong:
            raise ValueError(f"{wrong[0]} is {result[wrong[0]]!r}")
        result["metric"] = Metric(result["metric"])
        result["condition"] = Condition(result["condition"])
        return cls(**result)


def graded(
    variant: str,
    keyed_questions: Iterable[tuple[Question, str]],
    responses: Mapping[str, Response],
    failures: Mapping[str, Failure],
    *,
    style: Style,
    grader: str = "strict",
) -> Iterator[Graded]:
    """Grade the responses of one variant.

    Args:
        variant: Its name.
        keyed_questions: The questions with the keys of their responses.
        responses: Responses by key.
        failures: Why there is no response, by key.
        style: The prompt style.
        grader: A key of `eval.grading.grade.GRADERS`.
    """
    for question, key in keyed_questions:
        record = _ungraded(variant, question, key if question.askable else "")
        if not question.askable:
            yield replace(record, failure=_UNASKED)
        elif key not in responses:
            reason = failures[key].reason if key in failures else "not answered yet"
            yield replace(record, failure=reason)
        else:
            yield _with_grade(record, question.sample, responses[key], style, grader)


def judged(
    records: Sequence[Graded],
    suites: Sequence[Suite],
    judge: Callable[[Sequence[tuple[Sample, str]]], Sequence[bool | None]],
) -> list[Graded]:
    """Return the records with a judge's verdict on each response.

    Args:
        records: Of all variants.
        suites: What they were asked.
        judge: Whether each of many responses is right.
    """
    samples = {
        (suite.name, task.name, sample.id): sample
        for suite in suites
        for task in suite.tasks
        for sample in task.samples
    }
    answered = [record for record in records if record.correct is not None]
    verdicts = judge([(samples[r.suite, r.task, r.sample], r.text) for r in answered])
    verdict_of = dict(zip(map(id, answered), verdicts, strict=True))
    return [replace(record, judged=verdict_of.get(id(record))) for record in records]


def _ungraded(variant: str, question: Question, key: str) -> Graded:
    sample = question.sample
    return Graded(
        variant=variant,
        suite=question.suite,
        task=question.task,
        metric=question.metric,
        sample=sample.id,
        condition=question.condition,
        repeat=question.repeat,
        key=key,
        cluster=sample.cluster,
        categories=dict(sample.categories),
        gold=sample.answer,
    )


def _with_grade(
    record: Graded, sample: Sample, response: Response, style: Style, grader: str
) -> Graded:
    mark = grade(sample, response.text, grader)
    return replace(
        record,
        text=response.text,
        tokens=response.tokens,
        truncated=response.truncated,
        well_formed=format_ok(response.text, style.form),
        answer=mark.extraction.answer,
        rule=mark.extraction.rule,
        guessed=mark.extraction.guessed,
        comparison=mark.comparison,
        correct=mark.correct,
    )


def read_records(folder: Path) -> list[Graded]:
    """Return the records of a run.

    Raises:
        ExecutionError: If there are none, or a line is not a record.
    """
    path = folder / RECORDS
    if not is_file(path):
        raise ExecutionError(
            f"{folder} is not the folder of a finished run: it has no {RECORDS}. Give the --out of "
            f"'surgery eval' or 'surgery sweep'."
        )
    records = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                records.append(Graded.of(parse_json(line)))
            except ValueError as error:
                raise ExecutionError(
                    f"{path}:{number} is not a record of this version: {error}. Run the evaluation "
                    f"again with the same --out: responses are kept, only the grading is repeated."
                ) from None
    return records
