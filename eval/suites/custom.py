"""Custom suites: a jsonl file of samples, and a short YAML that describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, ValidationError

from eval.records import AnswerKind, Metric, Sample, Suite, Task
from eval.suites.benchmark import (
    draw_indexes,
    known_categories,
    letter_of,
    picture_group,
    unique_ids,
    with_options,
)
from eval.suites.rows import json_rows
from surgery.errors import ExecutionError, RecipeError
from surgery.reading import resolve
from surgery.recipe.extend import read_text
from surgery.recipe.nodes import compose
from surgery.recipe.schema import Strict
from surgery.recipe.translate import translate

if TYPE_CHECKING:
    from pathlib import Path

    from eval.suites.rows import Row

Column = Literal["id", "prompt", "answer", "image", "choices", "description", "group",
                 "demonstration"]  # fmt: skip
_NEEDED: Final = ("prompt", "answer")


class SuiteModel(Strict):
    """The schema of a custom suite's YAML."""

    name: str = Field(min_length=1, max_length=60, description="Name of the suite.")
    rows: str = Field(min_length=1, description="JSON Lines file, relative to this file.")
    metric: Literal["m_vis", "m_v2r", "m_rea", "accuracy"] = Field(
        default="accuracy", description="Metric of the suite."
    )
    kind: Literal["option", "number", "math", "text", "exact"] = Field(
        default="text", description="Kind of a correct answer, which determines the comparison."
    )
    tolerance: float = Field(default=0.0, ge=0, description="Tolerance of a number.")
    columns: dict[Column, str] = Field(
        default_factory=dict, description="Names of columns in the file, where they differ."
    )
    categories: list[str] = Field(default=[], description="Columns by which scores are split.")
    max_new_tokens: int = Field(default=2048, ge=1, description="Maximum tokens of a response.")


def load_custom(path: Path, samples: int | None, seed: int) -> Suite:
    """Load a suite from its YAML.

    Args:
        path: The YAML.
        samples: How many are drawn; None takes all.
        seed: Seed of the selection.

    Raises:
        RecipeError: If something in the YAML is wrong; says where.
        ExecutionError: If the samples cannot be read.
    """
    root = compose(read_text(path), str(path))
    try:
        model = SuiteModel.model_validate(root.plain())
    except ValidationError as error:
        raise translate(error, root, ("the suite", SuiteModel)) from None
    folder = path.parent
    rows = folder / model.rows
    if not resolve(rows).is_relative_to(resolve(folder)):
        node = root.get("rows")
        raise RecipeError(
            f"rows: {model.rows!r} points outside {folder}.", node.place if node else None
        )
    file_rows = list(json_rows(rows, folder))
    if not file_rows:
        raise ExecutionError(f"{rows} holds no sample.")
    file_rows = [file_rows[index] for index in draw_indexes(len(file_rows), samples, seed)]
    samples_made = unique_ids([_sample(row, model, index) for index, row in enumerate(file_rows)])
    metric = Metric(model.metric)
    _check(samples_made, metric, rows)
    return Suite(model.name, (Task(model.name, metric, samples_made),), model.max_new_tokens)


def _sample(row: Row, model: SuiteModel, index: int) -> Sample:
    def name(column: Column) -> str:
        return model.columns.get(column, column)

    for column in _NEEDED:
        row[name(column)]
    pictures = row.pictures(name("image"))
    choices = _choices(row, name("choices"))
    answer, kind = row.text(name("answer")), AnswerKind(model.kind)
    if kind is AnswerKind.OPTION:
        answer = letter_of(answer, choices, row.where)
    description = row.values.get(name("description"))
    return Sample(
        id=str(row.values.get(name("id"), index)),
        task=model.name,
        prompt=with_options(row.text(name("prompt")), choices),
        answer=answer,
        kind=kind,
        choices=choices,
        images=pictures,
        description=None if description is None else str(description),
        tolerance=model.tolerance,
        categories=known_categories(**{column: row[column] for column in model.categories}),
        demonstration=_demonstration(row, name("demonstration")),
        group=str(row.values.get(name("group")) or (picture_group(pictures) if pictures else "")),
    )


def _choices(row: Row, column: str) -> tuple[str, ...]:
    value = row.values.get(column)
    if value is not None and not isinstance(value, list):
        raise ExecutionError(f"{row.where}: {column!r} is {str(value)[:80]!r}; expected a list.")
    return tuple(map(str, value or ()))


def _demonstration(row: Row, column: str) -> str:
    value = row.values.get(column)
    if value is not None and not isinstance(value, str):
        raise ExecutionError(f"{row.where}: {column!r} is {value!r}; expected text, or nothing.")
    return "" if value is None else row.text(column)


def _check(samples: tuple[Sample, ...], metric: Metric, rows: Path) -> None:
    bare = next((sample.id for sample in samples if not sample.images), None)
    if metric in (Metric.VISION, Metric.ALIGNMENT) and bare is not None:
        raise ExecutionError(f"{rows}: {metric} needs an image, and sample {bare!r} has none.")
