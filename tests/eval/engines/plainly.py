"""The engine in its own batches, and plain `generate` without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from eval.engines.transformers import TransformersEngine, chat
from eval.generation import Generation
from eval.prompts import STYLES
from eval.questions import Question, questions
from eval.records import Failure, Picture, Response, Suite

if TYPE_CHECKING:
    from collections.abc import Sequence


def questions_of(suite: Suite, generation: Generation | None = None) -> list[Question]:
    """Everything a suite asks, in the plain style."""
    return list(questions([suite], STYLES["plain"], generation or Generation()))


def key(question: Question) -> str:
    """The key of a response of no model in particular."""
    return question.key("v", {})


def outcomes(
    engine: TransformersEngine, questions: Sequence[Question]
) -> list[tuple[Question, Response | Failure]]:
    """Return the engine's outcomes of one batch."""
    answers = engine.answer(questions, [key(question) for question in questions])
    return [(question, outcome) for question, _, outcome in answers]


def answered(engine: TransformersEngine, questions: Sequence[Question]) -> dict[str, Response]:
    """All of them, in the engine's own batches."""
    result = {}
    for batch in engine.batches(questions):
        for question, outcome in outcomes(engine, batch):
            assert isinstance(outcome, Response)
            result[key(question)] = outcome
    return result


def alone(engine: TransformersEngine, question: Question) -> str:
    """Plain transformers: one row, its processor, its generate; nothing of the engine's."""
    turns = question.messages
    images = [part.open() for turn in turns for part in turn.parts if isinstance(part, Picture)]
    inputs = engine.processor(
        text=[chat(engine.processor, turns)], images=images or None, return_tensors="pt"
    )
    limit = question.generation.max_new_tokens
    with torch.inference_mode():
        output = engine.model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    new = output[0, inputs["input_ids"].shape[1] :]
    return engine.processor.tokenizer.decode(new, skip_special_tokens=True)
