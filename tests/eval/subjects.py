"""A variant in memory with the questions of some suites."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from eval.asking.prepare import prepare
from eval.asking.session import Session
from eval.questions import questions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eval.asking.session import Subject
    from eval.asking.settings import EvalSettings
    from eval.records import Suite
    from eval.variants import Variant


@contextmanager
def subject(variant: Variant, suites: Sequence[Suite], settings: EvalSettings) -> Iterator[Subject]:
    """Yield the variant; its model is loaded when it is first needed."""
    prepared = prepare(variant, settings)
    requests = tuple(questions(suites, prepared.style, settings.generation))
    with Session(settings).subject(prepared, requests) as model:
        yield model
