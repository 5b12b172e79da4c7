from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from eval.engines.local import LocalEngine
from eval.suites.specimen import samples
from eval.sweep import Questions, evaluate, sweep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def engine(untrained: Path) -> LocalEngine:
    return LocalEngine.load(untrained, batch=4, max_new_tokens=6)


def test_responses_come_in_the_order_of_the_samples(engine: LocalEngine) -> None:
    mixed = [s for pair in zip(samples("arithmetic", 3, 0), samples("read", 3, 0), strict=True)
             for s in pair]  # fmt: skip
    responses = engine.answer(mixed)
    assert [r.sample for r in responses] == [s.id for s in mixed]
    assert all(0 < r.tokens <= 6 for r in responses)


def test_padding_changes_nothing(engine: LocalEngine) -> None:
    mixed = [*samples("count", 3, 0), *samples("expression", 3, 0), *samples("arithmetic", 2, 0)]
    together = engine.answer(mixed)
    assert together == [engine.answer([sample])[0] for sample in mixed]


class _Scripted:
    """Stands in for model, processor and tokenizer: token 0 ends, others read as digits."""

    def __init__(self, ends: object) -> None:
        self.tokenizer = self.generation_config = self
        self.eos_token_id = ends

    def apply_chat_template(self, messages: object, **_: object) -> str:
        return str(messages)

    def __call__(self, text: list[str], **_: object) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.full((len(text), 3), 9)}

    def generate(self, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
        said = torch.tensor([[5, 6, 0, 0], [5, 6, 7, 8]])
        return torch.cat([input_ids, said[: len(input_ids)]], dim=1)

    def decode(self, tokens: list[int], **_: object) -> str:
        return "".join(map(str, tokens))


@pytest.mark.parametrize("ends", [0, [0, 3]])
def test_an_answer_stops_at_its_end_or_is_marked_truncated(ends: object) -> None:
    scripted = _Scripted(ends)
    first, second = LocalEngine(scripted, scripted).answer(samples("read", 2, 0))
    assert (first.text, first.tokens, first.truncated) == ("56", 3, False)
    assert (second.text, second.tokens, second.truncated) == ("5678", 4, True)


def test_an_empty_list_has_no_responses(engine: LocalEngine) -> None:
    assert engine.answer([]) == []


def test_a_sweep_gives_what_single_runs_give(untrained: Path) -> None:
    questions = Questions(tasks=("read", "arithmetic"), n=3, max_new_tokens=4)
    alone = evaluate(untrained, "a", questions)
    found = {r.name: r for r in sweep({"a": untrained, "b": untrained}, questions, processes=1)}
    assert set(found) == {"a", "b"}
    assert found["a"] == alone
    assert found["b"].grades == alone.grades
    assert [score.n for score in alone.scores] == [3, 3]
