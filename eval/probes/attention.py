"""Attention of a model while it answers: from its response, by layer and by head.

The text is teacher-forced: one pass over prompt and response, with no token generated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

import numpy as np

from eval.engines.transformers import chat
from eval.probes.results import LayerValue
from eval.statistics.intervals import mean
from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError
from surgery.intervene.attention import KINDS, Regions, TokenKind, kinds_of, observed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from eval.asking.loop import Report
    from eval.asking.session import Subject
    from eval.questions import Question

FORMAT: Final = 1
"""Part of every key: raise it when the same text would be observed otherwise."""
SPANS: Final = ("response", "reasoning", "answer")
"""The whole response; the text inside think tags; the text inside answer tags or after
thinking."""

MINUS: Final = " - "
"""Between two models' names: the first's numbers less the second's."""
_FOLDER: Final = "attention"
_REASONING: Final = re.compile(r"<think>(.*?)(?:</think>|$)", re.DOTALL)
_ANSWER: Final = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)


@dataclass(frozen=True)
class Attention:
    """Attention of one response.

    Attributes:
        task: The task.
        sample: The sample's id.
        cluster: What it shares with samples it is not independent of.
        text: The response.
        shares: By kind of token, in the order of `surgery.intervene.attention.KINDS`:
            `Float[ndarray, "layers heads spans kinds"]`; NaN for a span without tokens.
        entropy: In nats: `Float[ndarray, "layers heads spans"]`.
    """

    task: str
    sample: str
    cluster: str
    text: str
    shares: NDArray[np.float32]
    entropy: NDArray[np.float32]

    def record(self, model: str) -> dict[str, Any]:
        """As a line of `records.jsonl`: shares of the whole response, the mean over heads."""
        shares = self.shares[:, :, 0].mean(1)
        return {
            "model": model, "task": self.task, "sample": self.sample, "text": self.text,
            "shares": {
                kind: [None if np.isnan(x) else round(float(x), 6) for x in shares[:, place]]
                for place, kind in enumerate(KINDS)
            },
        }  # fmt: skip


def attend(
    subject: Subject, texts: Mapping[tuple[str, str], str], folder: Path, report: Report
) -> list[Attention]:
    """Observe a model over texts, one at a time; store each result as it arrives.

    Args:
        subject: The model; its suites are asked plainly.
        texts: The response to each question, by task and sample.
        folder: The run's.
        report: Called with the number of texts that were observed, and of all.

    Raises:
        SurgeryError: If the model cannot be loaded, or its attention not observed.
    """
    questions = [q for q in subject.questions if texts.get((q.task, q.sample.id))]
    if not questions:
        raise ExecutionError(f"{subject.name}: no sample has a response to look at.")
    paths = []
    for question in questions:
        key = question.key(subject.content, subject.facts)
        text = f"{FORMAT}\0{key}\0{texts[question.task, question.sample.id]}"
        paths.append(folder / _FOLDER / f"{sha256(text.encode()).hexdigest()}.npz")
    report(sum(path.exists() for path in paths), len(questions))
    attentions = []
    for question, path in zip(questions, paths, strict=True):
        task, sample = question.task, question.sample
        text = texts[task, sample.id]
        if not path.exists():
            _keep(path, *_observe(subject, question, text))
            report(1, len(questions))
        shares, entropy = _read_shares(path, (subject.layers, subject.heads, len(SPANS)))
        attentions.append(Attention(task, sample.id, sample.cluster, text, shares, entropy))
    return attentions


def _observe(
    subject: Subject, question: Question, text: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    import torch

    engine = subject.engine
    inputs = engine.inputs([question], endings=[text])
    (ids,) = inputs["input_ids"]
    spans = _spans(engine.processor, chat(engine.processor, question.messages), text)
    # Image tokens are many where the template has one, so places count from the end.
    response_mask = torch.zeros(len(SPANS), len(ids), dtype=torch.bool)
    response_mask[:, len(ids) - spans.shape[1] :] = torch.from_numpy(spans)
    kinds = kinds_of(ids.cpu(), engine.model.config.image_token_id, len(ids) - spans.shape[1])
    with (
        torch.inference_mode(),
        observed(engine.model, engine.decoder, Regions(kinds, response_mask)) as observers,
    ):
        engine.model(**inputs, use_cache=False, logits_to_keep=1)
    shares = observers.shares.numpy()
    if not (kinds == KINDS.index(TokenKind.IMAGE)).any():
        shares[..., KINDS.index(TokenKind.IMAGE)] = np.nan  # a share of nothing is no small share
    return shares, observers.entropy.numpy()


def _spans(processor: Any, prompt: str, text: str) -> NDArray[np.bool_]:
    """Return the response's tokens in each span: `Bool[ndarray, "spans tokens"]`."""
    encoded = processor.tokenizer(prompt + text, return_offsets_mapping=True)
    places = [
        (start - len(prompt), end - len(prompt))
        for start, end in encoded["offset_mapping"]
        if end > len(prompt)
    ]
    opened = "<think>" if prompt.rstrip().endswith("<think>") else ""  # as some templates do
    shift = len(opened)
    ranges = (
        [(0, len(text))],
        [(start - shift, stop - shift) for start, stop in _reasoning(opened + text)],
        [(start - shift, stop - shift) for start, stop in _answer(opened + text)],
    )
    return np.array(
        [
            [
                any(max(start, first) < min(end, stop) for first, stop in span)
                for start, end in places
            ]
            for span in ranges
        ],
        dtype=bool,
    ).reshape(len(SPANS), len(places))


def _reasoning(text: str) -> list[tuple[int, int]]:
    """Yield the ranges inside think tags; a tag that is only closed began before the text."""
    spans = [match.span(1) for match in _REASONING.finditer(text)]
    opened, closed = text.find("<think>"), text.find("</think>")
    return [(0, closed), *spans] if closed >= 0 and not 0 <= opened < closed else spans


def _answer(text: str) -> list[tuple[int, int]]:
    """Inside answer tags; without them behind the end of thinking; else all of it."""
    tagged = [match.span(1) for match in _ANSWER.finditer(text)]
    if tagged:
        return tagged
    end, opened = text.rfind("</think>"), text.rfind("<think>")
    if opened > end:  # it never stopped thinking
        return []
    return [(end + len("</think>") if end >= 0 else 0, len(text))]


def _keep(path: Path, shares: NDArray[np.float32], entropy: NDArray[np.float32]) -> None:
    with filesystem_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, shares=shares, entropy=entropy)

        put(path, write)


def _read_shares(
    path: Path, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            shares, entropy = arrays["shares"], arrays["entropy"]
        if (shares.shape, entropy.shape) != ((*shape, len(KINDS)), shape):
            raise ValueError(f"{shares.shape}, {entropy.shape}")
        return shares, entropy
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise ExecutionError(
            f"{path} is not a file of this program ({error}). Delete it; it will be written again."
        ) from None


@dataclass(frozen=True)
class Head:
    """One number about one head.

    Attributes:
        model: The model, or `A - B`.
        layer: Its layer.
        head: Its number, from 0.
        what: The span.
        metric: What the number is.
        value: The mean over samples.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: Samples.
    """

    model: str
    layer: int
    head: int
    what: str
    metric: str
    value: float
    low: float
    high: float
    n: int


def rows(layer_rows: Mapping[str, Sequence[Attention]]) -> list[LayerValue]:
    """Shares by layer, the mean over heads and samples; and paired differences between models.

    Args:
        layer_rows: By model. All are compared with the first, on the samples both have.
    """
    layer_values = []
    for model, attentions, minus in _compared(layer_rows):
        tasks = list(dict.fromkeys(attention.task for attention in attentions))
        for task in [*tasks, "all"] if len(tasks) > 1 else tasks:
            indexes = [
                i for i, attention in enumerate(attentions) if task in ("all", attention.task)
            ]
            for metric, values in _metrics(attentions, minus):
                for layer, span in np.ndindex(values.shape[1], len(SPANS)):
                    column = values[indexes, layer, :, span].mean(-1)
                    good = np.isfinite(column)
                    if good.any():
                        clusters = [
                            attentions[i].cluster for i, ok in zip(indexes, good, strict=True) if ok
                        ]
                        place = (model, layer, SPANS[span], task)
                        interval = mean(column[good], clusters)
                        layer_values.append(LayerValue.of(place, metric, interval, int(good.sum())))
    return layer_values


def heads(result: Mapping[str, Sequence[Attention]]) -> list[Head]:
    """Return the same rows by head, all tasks pooled."""
    output = []
    for model, attentions, minus in _compared(result):
        clusters = [attention.cluster for attention in attentions]
        for metric, values in _metrics(attentions, minus):
            for layer, head, span in np.ndindex(*values.shape[1:]):
                column = values[:, layer, head, span]
                good = np.isfinite(column)
                if good.any():
                    attention = mean(
                        column[good], [c for c, ok in zip(clusters, good, strict=True) if ok]
                    )
                    output.append(
                        Head(model, layer, head, SPANS[span], metric,
                             attention.value, attention.low, attention.high, int(good.sum()))
                    )  # fmt: skip
    return output


def _compared(
    result: Mapping[str, Sequence[Attention]],
) -> Iterator[tuple[str, Sequence[Attention], Sequence[Attention] | None]]:
    """Every model; then every other one with the first, on the samples both have."""
    yield from ((model, attentions, None) for model, attentions in result.items())
    first, *others = result
    reference = {(attention.task, attention.sample): attention for attention in result[first]}
    for other in others:
        shared = [
            attention
            for attention in result[other]
            if (attention.task, attention.sample) in reference
        ]
        if shared:
            yield (
                f"{other}{MINUS}{first}",
                shared,
                [reference[attention.task, attention.sample] for attention in shared],
            )


def _metrics(
    attentions: Sequence[Attention], minus: Sequence[Attention] | None
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each metric's values: `Float[ndarray, "samples layers heads spans"]`."""
    named = defaultdict(list)
    for attention in attentions:
        for place, kind in enumerate(KINDS):
            named[f"{kind} share"].append(attention.shares[..., place])
        named["entropy"].append(attention.entropy)
    other = dict(_metrics(minus, None)) if minus is not None else {}
    for metric, values in named.items():
        stacked = np.stack(values).astype(np.float64)
        yield metric, stacked - other[metric] if other else stacked
