"""Attention of responses: which tokens count, plain eager weights, what is kept, and its means."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import stats

from eval.engines.transformers import chat
from eval.probes.attention import SPANS, Attention, _answer, _spans, attend, heads, rows
from eval.probes.likelihood import right_response
from eval.records import Picture
from surgery.errors import ExecutionError
from surgery.intervene.attention import KINDS, TokenKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eval.asking.session import Subject

LAYERS, HEADS = 9, 4
IMAGE, SINK = KINDS.index(TokenKind.IMAGE), KINDS.index(TokenKind.SINK)
PROMPT = "<|im_start|>user\nread the number<|im_end|>\n<|im_start|>assistant\n"


def nobody(*_: int) -> None:
    """Ignore progress."""


# Spans: pieces of a response, each with r where it is reasoning and a where it is the answer.

TEXTS: dict[str, list[tuple[str, str]]] = {
    "both tags": [
        ("<think>", ""), ("3-4=9", "r"), ("</think>", ""), ("<answer>", ""), ("91", "a"),
        ("</answer>", ""),
    ],
    "no tags": [("9 red", "a")],
    "unclosed think": [("<think>", ""), ("3-4", "r")],
    "no answer tag": [("<think>", ""), ("3", "r"), ("</think>", ""), ("9", "a")],
    "unclosed answer": [
        ("<think>", ""), ("3", "r"), ("</think>", ""), ("<answer>", ""), ("123", "a"),
    ],
    "answer alone": [("7", ""), ("<answer>", ""), ("9", "a"), ("</answer>", ""), ("8", "")],
    "thinking twice": [
        ("<think>", ""), ("1", "r"), ("</think>", ""), ("<think>", ""), ("22", "r"),
        ("</think>", ""), ("9", "a"),
    ],
    "answers twice": [
        ("<answer>", ""), ("1", "a"), ("</answer>", ""), ("0", ""), ("<answer>", ""), ("23", "a"),
        ("</answer>", ""),
    ],
    "tags only": [("<think>", ""), ("</think>", ""), ("<answer>", ""), ("</answer>", "")],
    "thinking only": [("<think>", ""), ("5", "r"), ("</think>", "")],
    "nothing thought": [("<think>", ""), ("</think>", ""), ("5", "a")],
    "lines": [
        ("<think>", ""), ("3", "r"), ("\n", "r"), ("4", "r"), ("</think>", ""), ("<answer>", ""),
        ("1", "a"), ("\n", "a"), ("2", "a"), ("</answer>", ""),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_spans_are_what_stands_in_the_tags(name: str, untouched: tuple[Any, Any]) -> None:
    _, processor = untouched
    pieces = [(processor.tokenizer(text)["input_ids"], kind) for text, kind in TEXTS[name]]
    text = "".join(text for text, _ in TEXTS[name])
    whole = processor.tokenizer(PROMPT + text)["input_ids"]
    output = [token for tokens, _ in pieces for token in tokens]
    assert whole[-len(output) :] == output  # pieces are tokens of their own
    result = _spans(processor, PROMPT, text)
    expected = [kind for tokens, kind in pieces for _ in tokens]
    assert result.dtype == bool
    assert result.tolist() == [
        [True] * len(output),
        [kind == "r" for kind in expected],
        [kind == "a" for kind in expected],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "text", "reasoning", "answer"),
    [
        ("go\n<think>\n", "a b</think>c", "a b", "c"),
        ("go\n<think>\n", "a b", "a b", ""),
        ("go", "a b</think>c", "a b", "c"),
        ("go", "a</think>c<think>d", "ad", ""),
        ("go", "<think>a</think><think>b", "ab", ""),
    ],
)
def test_thinking_may_begin_in_the_template(
    prompt: str, text: str, reasoning: str, answer: str
) -> None:
    def by_letter(text: str, **_: Any) -> dict[str, Any]:
        return {"offset_mapping": [(i, i + 1) for i in range(len(text))]}

    result = _spans(SimpleNamespace(tokenizer=by_letter), prompt, text)
    for span, expected in zip(result, (text, reasoning, answer), strict=True):
        assert (
            "".join(letter for letter, actual in zip(text, span, strict=True) if actual) == expected
        )


@pytest.mark.parametrize("name", TEXTS)
def test_answers_are_ranges_of_the_text(name: str) -> None:
    text = "".join(text for text, _ in TEXTS[name])
    result = "".join(text[start:stop] for start, stop in _answer(text))
    assert result == "".join(text for text, kind in TEXTS[name] if kind == "a")


def worded(text: str, **_: Any) -> dict[str, Any]:
    """A tokenizer to which tags are no tokens of their own: words, and what parts them."""
    return {"offset_mapping": [match.span() for match in re.finditer(r"\w+|\W+", text)]}


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>a b</think>c", [0, 0, 0, 1, 1, 1, 0, 0, 0, 0], [0] * 9 + [1]),
        ("<think></think>", [0] * 5, [0] * 5),  # a token that holds both brackets holds no thought
        ("<answer></answer>", [0] * 5, [0] * 5),
    ],
)
def test_tokens_that_reach_into_a_span_are_of_it(text: str, reasoning: Any, answer: Any) -> None:
    """Tags that are several tokens: < think > a _ b </ think > c."""
    values = _spans(SimpleNamespace(tokenizer=worded), "say it: ok", text).astype(int).tolist()
    assert values == [[1] * len(reasoning), reasoning, answer]


# The specimen


@pytest.fixture(scope="module")
def texts(rl_subject: Subject) -> dict[tuple[str, str], str]:
    style = rl_subject.style
    return {
        (q.sample.task, q.sample.id): right_response(q.sample, style) for q in rl_subject.questions
    }


@pytest.fixture(scope="module")
def stored_run(
    rl_subject: Subject, texts: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("attention")
    return folder, attend(rl_subject, texts, folder, nobody)


def eagerly(model: Any, processor: Any, selected: Any, text: str) -> tuple[Any, Any]:
    """Shares and entropy from the weights that transformers returns: one row, its own inputs."""
    images = [
        part.open() for m in selected.messages for part in m.parts if isinstance(part, Picture)
    ]
    prompt = chat(processor, selected.messages)
    before, inputs = (
        processor(text=[item], images=images or None, return_tensors="pt")
        for item in (prompt, prompt + text)
    )
    ids, start = inputs["input_ids"][0], before["input_ids"].shape[1]
    kind = np.full(len(ids), KINDS.index(TokenKind.TEXT))
    kind[ids.numpy() == model.config.image_token_id] = IMAGE
    kind[start:], kind[0] = KINDS.index(TokenKind.RESPONSE), SINK
    words = processor.tokenizer.convert_ids_to_tokens(ids[start:].tolist())
    places = [words.index(tag) for tag in ("<think>", "</think>", "<answer>", "</answer>")]
    spans = np.zeros((3, len(ids)), bool)
    spans[0, start:] = True
    spans[1, start + places[0] + 1 : start + places[1]] = True
    spans[2, start + places[2] + 1 : start + places[3]] = True
    assert spans.any(1).all()
    with torch.inference_mode():
        weights = torch.stack(model(**inputs, output_attentions=True).attentions)[:, 0].double()
    per_kind = np.stack([weights.numpy()[..., kind == k].sum(-1) for k in range(len(KINDS))], -1)
    logs = torch.special.entr(weights).sum(-1).numpy()
    shares = np.stack([per_kind[:, :, span].mean(2) for span in spans], 2)
    return shares, np.stack([logs[:, :, span].mean(2) for span in spans], 2)


def test_shares_are_those_of_eager_weights(
    rl_subject: Subject, stored_run: tuple[Path, Any], texts: Any, untouched: tuple[Any, Any]
) -> None:
    for question, item in zip(rl_subject.questions, stored_run[1], strict=True):
        text = texts[question.sample.task, question.sample.id]
        assert (item.task, item.sample, item.text) == (
            question.sample.task,
            question.sample.id,
            text,
        )
        assert item.shares.shape == (LAYERS, HEADS, len(SPANS), len(KINDS))
        assert item.entropy.shape == (LAYERS, HEADS, len(SPANS))
        shares, entropy = eagerly(*untouched, question, text)
        if not question.sample.images:
            assert (shares[..., IMAGE] == 0).all()
            shares[..., IMAGE] = np.nan
        np.testing.assert_allclose(item.shares, shares, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(item.entropy, entropy, rtol=1e-3, atol=1e-5)


def test_shares_sum_to_one_and_a_text_has_none_of_an_image(stored_run: tuple[Path, Any]) -> None:
    calls, text = stored_run[1]
    assert (calls.task, text.task) == ("read", "arithmetic")
    np.testing.assert_allclose(calls.shares.sum(-1), 1, atol=1e-5)
    assert calls.shares[..., IMAGE].max() > 0.5
    assert np.isnan(text.shares[..., IMAGE]).all()
    np.testing.assert_allclose(np.nansum(text.shares, -1), 1, atol=1e-5)
    assert (calls.entropy > 0).all()


def test_a_span_without_a_token_is_nan(rl_subject: Subject, texts: Any, tmp_path: Path) -> None:
    place = next(iter(texts))
    (result,) = attend(rl_subject, {place: "<think>3-4"}, tmp_path, nobody)
    assert np.isnan(result.shares[:, :, 2]).all()
    assert np.isnan(result.entropy[:, :, 2]).all()
    assert np.isfinite(result.shares[:, :, :2]).all()
    assert not any(row.what == "answer" for row in rows({"m": [result]}))


def test_what_is_kept_is_not_observed_again(
    rl_subject: Subject, stored_run: tuple[Path, Any], texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = stored_run
    passes, lines = [], []
    forward = rl_subject.engine.model.forward
    monkeypatch.setattr(
        rl_subject.engine.model, "forward", lambda **inputs: passes.append(1) or forward(**inputs)
    )
    cold = replace(rl_subject)  # nor is a model loaded
    again = attend(cold, texts, folder, lambda *call: lines.append(call))
    assert "engine" not in vars(cold)
    assert lines == [(2, 2)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.shares, b.shares)
        np.testing.assert_array_equal(a.entropy, b.entropy)
    assert not passes
    other = {place: text.replace("<think>", "<think>1") for place, text in texts.items()}
    del lines[:]
    changed = attend(rl_subject, other, folder, lambda *call: lines.append(call))
    assert lines == [(0, 2), (1, 2), (1, 2)]  # another text is another observation
    assert len(passes) == 2
    assert all((a.shares != b.shares).any() for a, b in zip(first, changed, strict=True))
    assert len(list((folder / "attention").iterdir())) == 4


def test_after_an_interruption_the_rest_is_observed(
    rl_subject: Subject, stored_run: tuple[Path, Any], texts: Any, tmp_path: Path
) -> None:
    def interrupt(received: int, total: int) -> None:
        if received:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(rl_subject, texts, tmp_path, interrupt)
    lines: list[tuple[int, int]] = []
    attentions = attend(rl_subject, texts, tmp_path, lambda *call: lines.append(call))
    assert lines == [(1, 2), (1, 2)]
    for a, b in zip(stored_run[1], attentions, strict=True):
        np.testing.assert_array_equal(a.shares, b.shares)


DAMAGED = {
    "cut off": lambda data: data[: len(data) // 2],
    "its head alone": lambda data: data[:20],
    "empty": lambda _: b"",
    "other bytes": lambda _: b"not an archive",
    "one bit": lambda data: data[:1500] + bytes([data[1500] ^ 1]) + data[1501:],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_told_by_its_path(
    rl_subject: Subject, texts: Any, tmp_path: Path, damage: str
) -> None:
    place, text = next(iter(texts.items()))
    attend(rl_subject, {place: text}, tmp_path, nobody)
    (path,) = (tmp_path / "attention").iterdir()
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    with pytest.raises(ExecutionError) as caught:
        attend(rl_subject, {place: text}, tmp_path, nobody)
    assert str(caught.value).startswith(f"{path} is not a file of this program")
    assert "Delete it; it will be written again" in str(caught.value)
    path.unlink()
    attend(rl_subject, {place: text}, tmp_path, nobody)


def test_a_file_without_its_arrays_is_told(rl_subject: Subject, texts: Any, tmp_path: Path) -> None:
    place, text = next(iter(texts.items()))
    attend(rl_subject, {place: text}, tmp_path, nobody)
    (path,) = (tmp_path / "attention").iterdir()
    np.savez(path, shares=np.zeros(3))
    with pytest.raises(ExecutionError, match=re.escape(str(path))):
        attend(rl_subject, {place: text}, tmp_path, nobody)


def test_samples_without_a_text_are_left_out(
    rl_subject: Subject, stored_run: tuple[Path, Any], texts: Any
) -> None:
    first, second = texts
    (result,) = attend(rl_subject, {first: texts[first], second: ""}, stored_run[0], nobody)
    assert (result.task, result.sample) == first
    with pytest.raises(ExecutionError, match="rl: no sample has a response to look at"):
        attend(rl_subject, {}, stored_run[0], nobody)


# Rows


def attention(
    sample: str, seed: int, *, task: str = "t", cluster: str = "", blank: Sequence[int] = ()
) -> Attention:
    """Random shares of two layers and three heads; NaN in the spans of `blank`."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(len(KINDS)), (2, 3, len(SPANS))).astype(np.float32)
    entropy = generator.random((2, 3, len(SPANS)), np.float32)
    for span in blank:
        shares[:, :, span], entropy[:, :, span] = np.nan, np.nan
    return Attention(task, sample, cluster or f"{task}/{sample}", "9", shares, entropy)


FIRST = [attention(f"q{i}", i, blank=[1] if i == 2 else []) for i in range(5)]
SECOND = [attention(f"q{i}", 50 + i, blank=[2] if i == 4 else []) for i in (4, 3, 2, 1, 9)]
"""Three of five samples, in another order; one of them lacks a span here, one there."""


def student(values: Sequence[float]) -> tuple[float, float, float]:
    item = stats.ttest_1samp(values, 0).confidence_interval()
    return float(np.mean(values)), float(item.low), float(item.high)


def metrics(attention: Attention) -> dict[str, Any]:
    """Layers x heads x spans, by name."""
    output = {
        f"{kind} share": attention.shares[..., k].astype(float) for k, kind in enumerate(KINDS)
    }
    return {**output, "entropy": attention.entropy.astype(float)}


def expected(values: Mapping[str, list[Any]]) -> dict[tuple[str, int, str], tuple[Any, int]]:
    """By metric, layer and span; the mean over heads of each sample, then Student's interval."""
    output = {}
    for metric, value in values.items():
        for layer in range(2):
            for number, span in enumerate(SPANS):
                column = [float(it[layer, :, number].mean()) for it in value]
                good = [x for x in column if np.isfinite(x)]
                output[metric, layer, span] = student(good), len(good)
    return output


def test_rows_are_means_over_heads_and_samples() -> None:
    results = [row for row in rows({"A": FIRST, "B": SECOND}) if row.model == "A"]
    values = {metric: [metrics(item)[metric] for item in FIRST] for metric in metrics(FIRST[0])}
    target = expected(values)
    assert len(results) == len(target) == 5 * 2 * 3
    for row in results:
        interval, n = target[row.metric, row.layer, row.what]
        assert (row.value, row.low, row.high) == pytest.approx(interval)
        assert row.n == n == (4 if row.what == "reasoning" else 5)
        assert row.task == "t"


def differences() -> dict[str, list[Any]]:
    local, reference = ({it.sample: metrics(it) for it in item} for item in (FIRST, SECOND))
    shared = [sample for sample in reference if sample in local]
    assert len(shared) == 4
    return {
        name: [reference[s][name] - local[s][name] for s in shared] for name in metrics(FIRST[0])
    }


def test_models_are_compared_on_the_samples_that_both_have() -> None:
    results = [row for row in rows({"A": FIRST, "B": SECOND}) if row.model == "B - A"]
    target = expected(differences())
    assert len(results) == len(target)
    for row in results:
        interval, n = target[row.metric, row.layer, row.what]
        assert (row.value, row.low, row.high) == pytest.approx(interval)
        assert row.n == n == (4 if row.what == "response" else 3)


def test_heads_are_compared_one_by_one() -> None:
    results = [head for head in heads({"A": FIRST, "B": SECOND}) if head.model == "B - A"]
    values = differences()
    assert len(results) == 5 * 2 * 3 * 3
    for head in results:
        span = SPANS.index(head.what)
        column = [value[head.layer, head.head, span] for value in values[head.metric]]
        good = [x for x in column if np.isfinite(x)]
        assert (head.value, head.low, head.high) == pytest.approx(student(good))
        assert head.n == len(good)


def test_every_model_is_compared_with_the_first() -> None:
    separate = [attention(f"x{i}", i) for i in range(3)]
    result = {"A": FIRST, "B": SECOND, "C": FIRST[:3], "D": separate}
    names = list(dict.fromkeys(row.model for row in rows(result)))
    assert names == ["A", "B", "C", "D", "B - A", "C - A"]  # D shares no sample with A
    assert list(dict.fromkeys(head.model for head in heads(result))) == names
    same = [row for row in rows(result) if row.model == "C - A"]
    assert {(row.value, row.low, row.high) for row in same} == {(0, 0, 0)}


def test_samples_of_one_image_are_one_cluster() -> None:
    item = [attention(f"q{i}", i, cluster=f"g{i // 2}") for i in range(6)]
    (row,) = [
        row for row in rows({"m": item})
        if (row.layer, row.what, row.metric) == (1, "answer", "image share")
    ]  # fmt: skip
    column = np.array([it.shares[1, :, 2, IMAGE].astype(float).mean() for it in item])
    expected_ = student(column.reshape(3, 2).mean(1))
    assert (row.value, row.low, row.high) == pytest.approx(expected_)


def test_tasks_stand_apart_and_together() -> None:
    """Text alone has no share of an image, so it does not count there."""
    text = [attention(f"q{i}", 20 + i, task="u") for i in range(3)]
    for item in text:
        item.shares[..., IMAGE] = np.nan
    result = rows({"m": [*FIRST, *text]})
    counts = {(r.task, r.metric): r.n for r in result if (r.layer, r.what) == (0, "response")}
    assert counts[("t", "image share")] == counts[("all", "image share")] == 5
    assert ("u", "image share") not in counts
    assert (counts[("u", "sink share")], counts[("all", "sink share")]) == (3, 8)
    assert {row.task for row in rows({"m": FIRST})} == {"t"}


def test_a_record_holds_the_whole_response_s_shares() -> None:
    item = attention("q", 1)
    item.shares[1, :, 0, IMAGE] = np.nan
    record = json.loads(json.dumps(item.record("m")))
    assert {name: record[name] for name in ("model", "task", "sample", "text")} == {
        "model": "m", "task": "t", "sample": "q", "text": "9",
    }  # fmt: skip
    assert list(record["shares"]) == ["sink", "image", "text", "response"]
    for place, kind in enumerate(KINDS):
        for layer, value in enumerate(record["shares"][kind]):
            mean = item.shares[layer, :, 0, place].mean()
            assert value is None if np.isnan(mean) else value == pytest.approx(mean, abs=1e-6)
    assert record["shares"]["image"][1] is None
