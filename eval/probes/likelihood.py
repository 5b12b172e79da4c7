"""Layers ranked without generating: how much less likely the right answer is without each.

One pass over prompt and answer for each layer, of which the layers in front are shared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eval.engines.batching import bytes_per_token, in_halves
from eval.engines.transformers import chat
from eval.probes.ask import Asking
from eval.probes.results import LayerValue
from eval.records import Failure
from eval.statistics.intervals import mean
from surgery.errors import ExecutionError
from surgery.intervene import Ablation
from surgery.runs.lines import append_lines, read_lines, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eval.asks import Question
    from eval.engines.transformers import TransformersEngine
    from eval.probes.ablation import Switching
    from eval.probes.ask import Told
    from eval.probes.subject import Subject
    from eval.prompts import Style
    from eval.records import Sample
    from eval.store import Store
    from surgery.intervene import Off

LIKELIHOODS: Final = "likelihoods.jsonl"
_DOUBLE: Final = 8
"""Bytes of one logit in float32, and of its log-probability."""
_FORMS: Final = {"answer-tag": "<answer>{}</answer>", "boxed": "\\boxed{{{}}}", "any": "{}"}


@dataclass(frozen=True)
class Likelihood:
    """How likely a right response is to a model with something switched off.

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
    """What log-probabilities are taken of: a demonstration, or the answer in the style's form."""
    return sample.demonstration or _FORMS[style.form].format(sample.answer)


def screen(
    subject: Subject,
    switching: Switching,
    folder: Path,
    store: Store,
    told: Told,
    *,
    sequential: bool = False,
) -> list[Likelihood]:
    """Log-probabilities of right responses, of the intact model and with each thing off.

    Args:
        subject: The model; its suites are asked plainly.
        switching: What is switched off.
        folder: The run's.
        store: Of the run; only to address questions.
        told: Told how many there are.
        sequential: One question and one thing off at a time.

    Raises:
        SurgeryError: If the model cannot be loaded, or kept values cannot be read.
    """
    asking = Asking(subject, switching, store, sequential=sequential)
    items, questions = switching.items, subject.questions
    golds = {id(q): right_response(q.sample, subject.planned.style) for q in questions}
    keys = {
        (id(question), place): f"{asking.address(question, item).key}/{golds[id(question)]}"
        for question in questions
        for place, item in enumerate(items)
    }
    once = {keys[id(question), 0]: question for question in questions}  # of equal ones, one
    path = folder / LIKELIHOODS
    known = _known(path)
    told(sum(key in known for key in set(keys.values())), len(once) * len(items))
    if any(key not in known for key in keys.values()):
        scorer = _Scorer(subject.engine, asking, items, golds)
        for batch, places in asking.divided(list(once.values()), scorer.room):
            if all(keys[id(question), place] in known for question in batch for place in places):
                continue
            found = list(in_halves(batch, places, scorer, subject.engine.free))
            failures = [value for *_, value in found if isinstance(value, Failure)]
            new = {
                keys[id(q), place]: value
                for place, q, value in found
                if not isinstance(value, Failure)
            }
            append_lines(
                path, ({"key": key, "value": v, "tokens": n} for key, (v, n) in new.items())
            )
            known |= new
            told(len(new), len(once) * len(items))
            if failures:
                raise ExecutionError(
                    f"{failures[0].reason}. Results so far are saved. Correct the sample, or, "
                    f"if memory ran out, use a larger machine, and run again to resume."
                )
    return [
        Likelihood(
            item, task, question.sample.id, question.sample.cluster,
            *known[keys[id(question), place]],
        )
        for place, item in enumerate(items)
        for task, question in subject.places
    ]  # fmt: skip


def _known(path: Path) -> dict[str, tuple[float, int]]:
    known: dict[str, tuple[float, int]] = {}
    for number, line in read_lines(path):
        try:
            known[str(line["key"])] = (float(line["value"]), int(line["tokens"]))
        except (KeyError, TypeError, ValueError):
            raise unreadable(path, number) from None
    return known


@dataclass(frozen=True)
class _Scorer:
    """Log-probabilities of right responses, a batch at a time."""

    engine: TransformersEngine
    asking: Asking[Off | None]
    items: Sequence[Off | None]
    golds: Mapping[int, str]

    def room(self, question: Question) -> int:
        """Tokens, counted by their memory, that the right response and its logits take."""
        model = self.engine.model
        logits = model.config.get_text_config().vocab_size * (model.dtype.itemsize + _DOUBLE)
        return self._tokens(question) * (1 + ceil(int(logits) / bytes_per_token(model)))

    def __call__(
        self, batch: Sequence[Question], places: Sequence[int]
    ) -> list[list[tuple[float, int]]]:
        """For each place and question: the value, and its number of tokens."""
        import torch

        blocks = Ablation([self.items[place] for place in places])
        asks = [self.asking.address(question, None) for question in batch]
        endings = [self.golds[id(question)] for question in batch]
        counts = [self._tokens(question) for question in batch]
        inputs = self.engine.inputs(asks, blocks.size, endings)
        ids, most = inputs["input_ids"], max(counts)
        with torch.inference_mode(), self.engine.changed(blocks):
            logits = self.engine.model(**inputs, use_cache=False, logits_to_keep=most + 1).logits
        values = []
        for row, count in enumerate(counts * blocks.size):
            gold = ids[row, ids.shape[1] - count :]
            said = logits[row, most - count : most].float().log_softmax(-1)
            values.append((float(said.gather(1, gold[:, None]).sum()), count))
        return [values[start : start + len(batch)] for start in range(0, len(values), len(batch))]

    def _tokens(self, question: Question) -> int:
        """How many tokens a right response adds: those behind what it shares with the prompt."""
        tokenizer = self.engine.processor.tokenizer
        prompt = chat(self.engine.processor, question.messages)
        texts = (prompt, prompt + self.golds[id(question)])
        short, long = (tokenizer(text)["input_ids"] for text in texts)
        pairs = zip(short, long, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(short), len(long)))
        return max(1, len(long) - shared)


def rows(model: str, found: Sequence[Likelihood]) -> list[LayerValue]:
    """Mean log-probability without each layer, and how much lower it is, sample by sample.

    Args:
        model: What it is called.
        found: As `screen` returns them.
    """
    by_off: dict[Off | None, dict[tuple[str, str], Likelihood]] = defaultdict(dict)
    for one in found:
        by_off[one.off][one.task, one.sample] = one
    intact = by_off[None]
    tasks = list(dict.fromkeys(task for task, _ in intact))
    branches = list(dict.fromkeys(off.branch for off in by_off if off))
    made = []
    for task in [*tasks, "all"] if len(tasks) > 1 else tasks:
        places = [place for place in intact if task in ("all", place[0])]
        clusters = [intact[place].cluster for place in places]
        base = np.array([intact[place].value for place in places])
        for off, its in by_off.items():
            values = np.array([its[place].value for place in places])
            for branch in [off.branch] if off else branches:
                place = (model, off.layer if off else None, str(branch), task)
                made.append(LayerValue.of(place, "logprob", mean(values, clusters), len(places)))
            if off is not None:
                drop = mean(base - values, clusters)
                made.append(LayerValue.of(place, "logprob drop", drop, len(places)))
    return made
