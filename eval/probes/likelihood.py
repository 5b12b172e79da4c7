"""Ranking of layers without generation: the loss of log-probability without each layer.

One pass over prompt and answer for each layer, of which the layers in front are shared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eval.asking.changes import ResidentModel
from eval.asking.loop import ask
from eval.engines.batching import bytes_per_token, in_halves
from eval.engines.transformers import chat
from eval.probes.results import LayerValue
from eval.records import Failure
from eval.statistics.intervals import mean
from surgery.errors import ExecutionError
from surgery.intervene import Ablation
from surgery.runs.lines import KeyedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from eval.asking.loop import Entry, Report
    from eval.asking.session import Subject
    from eval.probes.ablation import Switching
    from eval.prompts import Style
    from eval.questions import Question
    from eval.records import Sample
    from surgery.intervene import Off

LIKELIHOODS: Final = "likelihoods.jsonl"
_DOUBLE: Final = 8
"""Bytes of one logit in float32, and of its log-probability."""
_FORMS: Final = {"answer-tag": "<answer>{}</answer>", "boxed": "\\boxed{{{}}}", "any": "{}"}


@dataclass(frozen=True)
class Likelihood:
    """The log-probability of a correct response with a part of the model disabled.

    Attributes:
        off: What is off; None for the intact model.
        task: The task.
        sample: The sample's id.
        cluster: What it shares with samples it is not independent of.
        value: Log-probability of the right response, in nats: the sum over its tokens.
        tokens: How many it has.
    """

    off: Off | None
    task: str
    sample: str
    cluster: str
    value: float
    tokens: int

    def record(self) -> dict[str, Any]:
        """As a line of `records.jsonl`."""
        off = self.off
        place = {"layer": off.layer if off else None, "what": str(off.branch) if off else ""}
        values = {name: value for name, value in vars(self).items() if name != "off"}
        return {**place, **values}


def right_response(sample: Sample, style: Style) -> str:
    """Return the scored text: a demonstration, or the answer in the style's form."""
    return sample.demonstration or _FORMS[style.form].format(sample.answer)


def screen(
    subject: Subject,
    switching: Switching,
    folder: Path,
    report: Report,
    *,
    sequential: bool = False,
) -> list[Likelihood]:
    """Return log-probabilities of right responses, of the intact model and with each thing off.

    Args:
        subject: The model and its questions.
        switching: What is switched off.
        folder: The run's.
        report: Called with the number of new values, and of all.
        sequential: Whether questions and switches go one at a time.

    Raises:
        SurgeryError: If the model cannot be loaded, or stored values cannot be read.
    """
    questions = [question for question in subject.questions if question.askable]
    model = _Scorer(subject, switching, sequential=sequential)
    store = _Values(folder / LIKELIHOODS)
    ask(model, questions, store, report)
    return [
        Likelihood(
            item, question.task, question.sample.id, question.sample.cluster,
            *store.responses[model.key(question, item)],
        )
        for item in switching.items
        for question in questions
    ]  # fmt: skip


class _Values:
    """Log-probabilities with their numbers of tokens, in an append-only file."""

    def __init__(self, path: Path) -> None:
        self._file = KeyedFile[tuple[float, int]](
            path,
            lambda line: (str(line["key"]), (float(line["value"]), int(line["tokens"]))),
        )
        self.responses = self._file.values

    def append(self, entries: Iterable[Entry[tuple[float, int]]]) -> None:
        """Store values.

        Raises:
            ExecutionError: If one could not be computed; the others are stored.
        """
        failures, lines = [], []
        for key, _, _, outcome in entries:
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                value, count = outcome
                lines.append({"key": key, "value": value, "tokens": count})
        self._file.append(lines)
        if failures:
            raise ExecutionError(
                f"{failures[0].reason}. Results so far are saved. Correct the sample, or, "
                f"if memory ran out, use a larger machine, and run again to resume."
            )


class _Scorer(ResidentModel["Off | None", tuple[float, int]]):
    """A subject that returns the log-probability of the correct response."""

    def __init__(self, subject: Subject, switching: Switching, *, sequential: bool) -> None:
        super().__init__(subject, switching, sequential=sequential)
        self._style = subject.style

    def key(self, question: Question, change: Off | None) -> str:
        """Return the key of the response, with the right one behind a slash."""
        return f"{super().key(question, change)}/{self._right(question)}"

    def group(self, question: Question) -> tuple[object, ...]:
        """Return a value that is equal for questions with equal prompts, changes and answers."""
        return (*super().group(question), self._right(question))

    def room(self, question: Question) -> int:
        """Return how many tokens, by their memory, the right response and its logits take."""
        model = self.engine.model
        logits = model.config.get_text_config().vocab_size * (model.dtype.itemsize + _DOUBLE)
        return self._tokens(question) * (1 + ceil(int(logits) / bytes_per_token(model)))

    def compute(
        self, batch: Sequence[Question], places: Sequence[int]
    ) -> Iterator[tuple[Question, int, tuple[float, int] | Failure]]:
        """Yield the value of every question under every change, with its number of tokens."""
        for place, question, outcome in in_halves(
            batch, places, self._log_probabilities, self.engine.free
        ):
            yield question, place, outcome

    def _right(self, question: Question) -> str:
        return right_response(question.sample, self._style)

    def _log_probabilities(
        self, batch: Sequence[Question], places: Sequence[int]
    ) -> list[list[tuple[float, int]]]:
        import torch

        blocks = Ablation([self.changes[place] for place in places])
        endings = [self._right(question) for question in batch]
        counts = [self._tokens(question) for question in batch]
        inputs = self.engine.inputs(batch, blocks.size, endings)
        ids, most = inputs["input_ids"], max(counts)
        with torch.inference_mode(), self.engine.changed(blocks):
            logits = self.engine.model(**inputs, use_cache=False, logits_to_keep=most + 1).logits
        values = []
        for row, count in enumerate(counts * blocks.size):
            gold = ids[row, ids.shape[1] - count :]
            log_probabilities = logits[row, most - count : most].float().log_softmax(-1)
            values.append((float(log_probabilities.gather(1, gold[:, None]).sum()), count))
        return [values[start : start + len(batch)] for start in range(0, len(values), len(batch))]

    def _tokens(self, question: Question) -> int:
        """Return the number of tokens of a correct response after its prompt."""
        tokenizer = self.engine.processor.tokenizer
        prompt = chat(self.engine.processor, question.messages)
        texts = (prompt, prompt + self._right(question))
        short, long = (tokenizer(text)["input_ids"] for text in texts)
        pairs = zip(short, long, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(short), len(long)))
        return max(1, len(long) - shared)


def rows(model: str, layer_rows: Sequence[Likelihood]) -> list[LayerValue]:
    """Mean log-probability without each layer, and its loss, paired by sample.

    Args:
        model: What it is called.
        layer_rows: As `screen` returns them.
    """
    by_off: dict[Off | None, dict[tuple[str, str], Likelihood]] = defaultdict(dict)
    for attention in layer_rows:
        by_off[attention.off][attention.task, attention.sample] = attention
    intact = by_off[None]
    tasks = list(dict.fromkeys(task for task, _ in intact))
    branches = list(dict.fromkeys(off.branch for off in by_off if off))
    layer_values = []
    for task in [*tasks, "all"] if len(tasks) > 1 else tasks:
        places = [place for place in intact if task in ("all", place[0])]
        clusters = [intact[place].cluster for place in places]
        base = np.array([intact[place].value for place in places])
        for off, attentions in by_off.items():
            values = np.array([attentions[place].value for place in places])
            for branch in [off.branch] if off else branches:
                place = (model, off.layer if off else None, str(branch), task)
                layer_values.append(
                    LayerValue.of(place, "logprob", mean(values, clusters), len(places))
                )
            if off is not None:
                drop = mean(base - values, clusters)
                layer_values.append(LayerValue.of(place, "logprob drop", drop, len(places)))
    return layer_values
