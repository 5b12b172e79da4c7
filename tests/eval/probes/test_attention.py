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
    """Is not told."""


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
    pieces = [(processor.tokenizer(text)["input_ids"], what) for text, what in TEXTS[name]]
    text = "".join(text for text, _ in TEXTS[name])
    whole = processor.tokenizer(PROMPT + text)["input_ids"]
    said = [token for tokens, _ in pieces for token in tokens]
    assert whole[-len(said) :] == said  # pieces are tokens of their own
    found = _spans(processor, PROMPT, text)
    expected = [what for tokens, what in pieces for _ in tokens]
    assert found.dtype == bool
    assert found.tolist() == [
        [True] * len(said), [what == "r" for what in expected], [what == "a" for what in expected],
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

    found = _spans(SimpleNamespace(tokenizer=by_letter), prompt, text)
    for span, expected in zip(found, (text, reasoning, answer), strict=True):
        assert "".join(letter for letter, ours in zip(text, span, strict=True) if ours) == expected


@pytest.mark.parametrize("name", TEXTS)
def test_answers_are_ranges_of_the_text(name: str) -> None:
    text = "".join(text for text, _ in TEXTS[name])
    found = "".join(text[start:stop] for start, stop in _answer(text))
    assert found == "".join(text for text, what in TEXTS[name] if what == "a")


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
    """Where tags are no tokens of their own: < think > a _ b </ think > c."""
    found = _spans(SimpleNamespace(tokenizer=worded), "say it: ok", text).astype(int).tolist()
    assert found == [[1] * len(reasoning), reasoning, answer]


# The specimen


@pytest.fixture(scope="module")
def texts(its: Subject) -> dict[tuple[str, str], str]:
    style = its.style
    return {(q.sample.task, q.sample.id): right_response(q.sample, style) for q in its.questions}


@pytest.fixture(scope="module")
def kept(its: Subject, texts: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("attention")
    return folder, attend(its, texts, folder, nobody)


def eagerly(model: Any, processor: Any, asked: Any, text: str) -> tuple[Any, Any]:
    """Shares and entropy from the weights that transformers returns: one row, its own inputs."""
    images = [part.open() for m in asked.messages for part in m.parts if isinstance(part, Picture)]
    prompt = chat(processor, asked.messages)
    before, inputs = (
        processor(text=[one], images=images or None, return_tensors="pt")
        for one in (prompt, prompt + text)
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
    its: Subject, kept: tuple[Path, Any], texts: Any, untouched: tuple[Any, Any]
) -> None:
    for asked, one in zip(its.questions, kept[1], strict=True):
        text = texts[asked.sample.task, asked.sample.id]
        assert (one.task, one.sample, one.text) == (asked.sample.task, asked.sample.id, text)
        assert one.shares.shape == (LAYERS, HEADS, len(SPANS), len(KINDS))
        assert one.entropy.shape == (LAYERS, HEADS, len(SPANS))
        shares, entropy = eagerly(*untouched, asked, text)
        if not asked.sample.images:
            assert (shares[..., IMAGE] == 0).all()
            shares[..., IMAGE] = np.nan
        np.testing.assert_allclose(one.shares, shares, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(one.entropy, entropy, rtol=1e-3, atol=1e-5)


def test_shares_sum_to_one_and_a_text_has_none_of_an_image(kept: tuple[Path, Any]) -> None:
    seen, text = kept[1]
    assert (seen.task, text.task) == ("read", "arithmetic")
    np.testing.assert_allclose(seen.shares.sum(-1), 1, atol=1e-5)
    assert seen.shares[..., IMAGE].max() > 0.5
    assert np.isnan(text.shares[..., IMAGE]).all()
    np.testing.assert_allclose(np.nansum(text.shares, -1), 1, atol=1e-5)
    assert (seen.entropy > 0).all()


def test_a_span_without_a_token_is_nan(its: Subject, texts: Any, tmp_path: Path) -> None:
    place = next(iter(texts))
    (found,) = attend(its, {place: "<think>3-4"}, tmp_path, nobody)
    assert np.isnan(found.shares[:, :, 2]).all()
    assert np.isnan(found.entropy[:, :, 2]).all()
    assert np.isfinite(found.shares[:, :, :2]).all()
    assert not any(row.what == "answer" for row in rows({"m": [found]}))


def test_what_is_kept_is_not_observed_again(
    its: Subject, kept: tuple[Path, Any], texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = kept
    passes, told = [], []
    forward = its.engine.model.forward
    monkeypatch.setattr(
        its.engine.model, "forward", lambda **inputs: passes.append(1) or forward(**inputs)
    )
    cold = replace(its)  # nor is a model loaded
    again = attend(cold, texts, folder, lambda *seen: told.append(seen))
    assert "engine" not in vars(cold)
    assert told == [(2, 2)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.shares, b.shares)
        np.testing.assert_array_equal(a.entropy, b.entropy)
    assert not passes
    other = {place: text.replace("<think>", "<think>1") for place, text in texts.items()}
    del told[:]
    changed = attend(its, other, folder, lambda *seen: told.append(seen))
    assert told == [(0, 2), (1, 2), (1, 2)]  # another text is another observation
    assert len(passes) == 2
    assert all((a.shares != b.shares).any() for a, b in zip(first, changed, strict=True))
    assert len(list((folder / "attention").iterdir())) == 4


def test_after_an_interruption_the_rest_is_observed(
    its: Subject, kept: tuple[Path, Any], texts: Any, tmp_path: Path
) -> None:
    def interrupt(came: int, total: int) -> None:
        if came:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attend(its, texts, tmp_path, interrupt)
    told: list[tuple[int, int]] = []
    found = attend(its, texts, tmp_path, lambda *seen: told.append(seen))
    assert told == [(1, 2), (1, 2)]
    for a, b in zip(kept[1], found, strict=True):
        np.testing.assert_array_equal(a.shares, b.shares)


DAMAGED = {
    "cut off": lambda data: data[: len(data) // 2],
    "its head alone": lambda data: data[:20],
    "empty": lambda _: b"",
    "other bytes": lambda _: b"not an archive",
    "one bit": lambda data: data[:1500] + bytes([data[1500] ^ 1]) + data[1501:],
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_file_is_told_by_its_path(
    its: Subject, texts: Any, tmp_path: Path, how: str
) -> None:
    place, text = next(iter(texts.items()))
    attend(its, {place: text}, tmp_path, nobody)
    (path,) = (tmp_path / "attention").iterdir()
    path.write_bytes(DAMAGED[how](path.read_bytes()))
    with pytest.raises(ExecutionError) as caught:
        attend(its, {place: text}, tmp_path, nobody)
    assert str(caught.value).startswith(f"{path} is not what this program wrote")
    assert "Remove it; it will be made again" in str(caught.value)
    path.unlink()
    attend(its, {place: text}, tmp_path, nobody)


def test_a_file_without_its_arrays_is_told(its: Subject, texts: Any, tmp_path: Path) -> None:
    place, text = next(iter(texts.items()))
    attend(its, {place: text}, tmp_path, nobody)
    (path,) = (tmp_path / "attention").iterdir()
    np.savez(path, shares=np.zeros(3))
    with pytest.raises(ExecutionError, match=re.escape(str(path))):
        attend(its, {place: text}, tmp_path, nobody)


def test_samples_without_a_text_are_left_out(
    its: Subject, kept: tuple[Path, Any], texts: Any
) -> None:
    first, second = texts
    (found,) = attend(its, {first: texts[first], second: ""}, kept[0], nobody)
    assert (found.task, found.sample) == first
    with pytest.raises(ExecutionError, match="rl: no sample has a response to look at"):
        attend(its, {}, kept[0], nobody)


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


ONE = [attention(f"q{i}", i, blank=[1] if i == 2 else []) for i in range(5)]
OTHER = [attention(f"q{i}", 50 + i, blank=[2] if i == 4 else []) for i in (4, 3, 2, 1, 9)]
"""Three of five samples, in another order; one of them lacks a span here, one there."""


def student(values: Sequence[float]) -> tuple[float, float, float]:
    its = stats.ttest_1samp(values, 0).confidence_interval()
    return float(np.mean(values)), float(its.low), float(its.high)


def metrics(one: Attention) -> dict[str, Any]:
    """Layers x heads x spans, by name."""
    made = {f"{kind} share": one.shares[..., k].astype(float) for k, kind in enumerate(KINDS)}
    return {**made, "entropy": one.entropy.astype(float)}


def expected(values: Mapping[str, list[Any]]) -> dict[tuple[str, int, str], tuple[Any, int]]:
    """By metric, layer and span; the mean over heads of each sample, then Student's interval."""
    made = {}
    for metric, its in values.items():
        for layer in range(2):
            for number, span in enumerate(SPANS):
                column = [float(one[layer, :, number].mean()) for one in its]
                good = [x for x in column if np.isfinite(x)]
                made[metric, layer, span] = student(good), len(good)
    return made


def test_rows_are_means_over_heads_and_samples() -> None:
    found = [row for row in rows({"A": ONE, "B": OTHER}) if row.model == "A"]
    values = {metric: [metrics(one)[metric] for one in ONE] for metric in metrics(ONE[0])}
    wanted = expected(values)
    assert len(found) == len(wanted) == 5 * 2 * 3
    for row in found:
        interval, n = wanted[row.metric, row.layer, row.what]
        assert (row.value, row.low, row.high) == pytest.approx(interval)
        assert row.n == n == (4 if row.what == "reasoning" else 5)
        assert row.task == "t"


def differences() -> dict[str, list[Any]]:
    mine, theirs = ({one.sample: metrics(one) for one in its} for its in (ONE, OTHER))
    shared = [sample for sample in theirs if sample in mine]
    assert len(shared) == 4
    return {name: [theirs[s][name] - mine[s][name] for s in shared] for name in metrics(ONE[0])}


def test_models_are_compared_on_the_samples_that_both_have() -> None:
    found = [row for row in rows({"A": ONE, "B": OTHER}) if row.model == "B - A"]
    wanted = expected(differences())
    assert len(found) == len(wanted)
    for row in found:
        interval, n = wanted[row.metric, row.layer, row.what]
        assert (row.value, row.low, row.high) == pytest.approx(interval)
        assert row.n == n == (4 if row.what == "response" else 3)


def test_heads_are_compared_one_by_one() -> None:
    found = [head for head in heads({"A": ONE, "B": OTHER}) if head.model == "B - A"]
    values = differences()
    assert len(found) == 5 * 2 * 3 * 3
    for head in found:
        span = SPANS.index(head.what)
        column = [one[head.layer, head.head, span] for one in values[head.metric]]
        good = [x for x in column if np.isfinite(x)]
        assert (head.value, head.low, head.high) == pytest.approx(student(good))
        assert head.n == len(good)


def test_every_model_is_compared_with_the_first() -> None:
    apart = [attention(f"x{i}", i) for i in range(3)]
    found = {"A": ONE, "B": OTHER, "C": ONE[:3], "D": apart}
    names = list(dict.fromkeys(row.model for row in rows(found)))
    assert names == ["A", "B", "C", "D", "B - A", "C - A"]  # D shares no sample with A
    assert list(dict.fromkeys(head.model for head in heads(found))) == names
    same = [row for row in rows(found) if row.model == "C - A"]
    assert {(row.value, row.low, row.high) for row in same} == {(0, 0, 0)}


def test_samples_of_one_image_are_one_cluster() -> None:
    its = [attention(f"q{i}", i, cluster=f"g{i // 2}") for i in range(6)]
    (row,) = [
        row for row in rows({"m": its})
        if (row.layer, row.what, row.metric) == (1, "answer", "image share")
    ]  # fmt: skip
    column = np.array([one.shares[1, :, 2, IMAGE].astype(float).mean() for one in its])
    expected_ = student(column.reshape(3, 2).mean(1))
    assert (row.value, row.low, row.high) == pytest.approx(expected_)


def test_tasks_stand_apart_and_together() -> None:
    """Text alone has no share of an image, so it does not count there."""
    text = [attention(f"q{i}", 20 + i, task="u") for i in range(3)]
    for one in text:
        one.shares[..., IMAGE] = np.nan
    found = rows({"m": [*ONE, *text]})
    counts = {(r.task, r.metric): r.n for r in found if (r.layer, r.what) == (0, "response")}
    assert counts[("t", "image share")] == counts[("all", "image share")] == 5
    assert ("u", "image share") not in counts
    assert (counts[("u", "sink share")], counts[("all", "sink share")]) == (3, 8)
    assert {row.task for row in rows({"m": ONE})} == {"t"}


def test_a_record_holds_the_whole_response_s_shares() -> None:
    one = attention("q", 1)
    one.shares[1, :, 0, IMAGE] = np.nan
    found = json.loads(json.dumps(one.record("m")))
    assert {name: found[name] for name in ("model", "task", "sample", "text")} == {
        "model": "m", "task": "t", "sample": "q", "text": "9",
    }  # fmt: skip
    assert list(found["shares"]) == ["sink", "image", "text", "response"]
    for place, kind in enumerate(KINDS):
        for layer, value in enumerate(found["shares"][kind]):
            mean = one.shares[layer, :, 0, place].mean()
            assert value is None if np.isnan(mean) else value == pytest.approx(mean, abs=1e-6)
    assert found["shares"]["image"][1] is None
