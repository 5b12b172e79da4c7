"""Training: every stage runs, resumes, and the GRPO step does what its formula says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from surgery.specimen import build, grpo, sft, train
from surgery.specimen.batches import IGNORE, encode, is_full_chain, parse, reward
from surgery.specimen.evaluate import wilson
from surgery.specimen.journal import read_journal
from surgery.specimen.world import items

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smoke")
    assert train.main(["--out", str(out), "--smoke"]) == 0
    return out


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("untrained")
    tokenizer = build.build_tokenizer()
    build.save(build.build_model(tokenizer, 0), tokenizer, folder)
    return build.load(folder)


def test_a_smoke_run_writes_a_loadable_family(smoke: Path) -> None:
    for stage in ("base", "in", "rl"):
        model, processor = build.load(smoke / stage)
        assert model.dtype == torch.float32
        assert len(processor.tokenizer) == model.config.text_config.vocab_size
    stages = [row["stage"] for row in read_journal(smoke / "training.csv")]
    assert list(dict.fromkeys(stages)) == list(train.PLANS)


def test_the_vision_tower_is_frozen_after_stage_0_except_its_merger(smoke: Path) -> None:
    before, _ = build.load(smoke / "stages" / "vision")
    after, _ = build.load(smoke / "stages" / "shortcut")
    moved = {
        name.split(".")[2]
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if name.startswith("model.visual") and not torch.equal(old, new)
    }
    assert moved == {"merger"}


def test_complete_stages_are_skipped(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (smoke / "training.csv").read_bytes()
    assert train.main(["--out", str(smoke), "--smoke", "--stage", "caption"]) == 0
    assert "caption: complete, skipped" in capsys.readouterr().err
    assert (smoke / "training.csv").read_bytes() == before


def test_a_stage_without_its_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="grpo starts from shortcut"):
        train.main(["--out", str(tmp_path), "--smoke", "--stage", "grpo"])


def test_the_tokenizer_is_the_same_every_time() -> None:
    one, two = build.build_tokenizer(), build.build_tokenizer()
    assert one.get_vocab() == two.get_vocab()
    assert len(one) == build.VOCABULARY
    tags = [one.convert_tokens_to_ids(tag) for tag in build.TAGS]
    assert one.decode(tags, skip_special_tokens=True) == "".join(build.TAGS)
    assert len(one.tokenize("9-13")) == 4


def test_labels_are_the_reply_and_its_end(untrained: tuple[Any, Any]) -> None:
    _, processor = untrained
    rows = [*items("read", 2, 0), *items("arithmetic", 2, 0)]
    batch = encode(processor, rows, [row.target for row in rows])
    for labels, row in zip(batch["labels"], rows, strict=True):
        assert processor.decode(labels[labels != IGNORE]) == row.target + "<|im_end|>"


def test_loss_on_tails_only_equals_the_models_own(untrained: tuple[Any, Any]) -> None:
    model, processor = untrained
    rows = [*items("read", 2, 0), *items("arithmetic", 2, 0)]
    batch = encode(processor, rows, [row.target for row in rows])
    with torch.no_grad():
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
        whole = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
        )
        tails = sft.token_loss(model, batch)
    torch.testing.assert_close(tails, whole)


def test_advantages_are_relative_to_the_group() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    advantages = grpo.group_advantages(rewards)
    expected = 0.5 / (float(rewards[0].std()) + 1e-4)
    assert advantages[0].tolist() == pytest.approx([expected, -expected, -expected, expected])
    assert advantages[1].tolist() == [0.0] * 4


def test_grpo_gradient_is_the_policy_gradient(untrained: tuple[Any, Any]) -> None:
    model, processor = untrained
    rows = [*items("read", 2, 0), *items("arithmetic", 2, 0)]
    torch.manual_seed(0)
    samples = grpo.sample(model, processor, rows, 6)
    advantages = torch.tensor([1.0, -0.5, 0.0, 2.0])
    weight = model.model.language_model.layers[3].mlp.up_proj.weight
    model.zero_grad()
    grpo.backward(model, samples, advantages)
    ours = weight.grad.clone()

    model.zero_grad()
    logprobs = grpo.token_logprobs(model, samples)
    means = [row[mask].mean() for row, mask in zip(logprobs, samples.reply, strict=True)]
    loss: Any = -(torch.stack(means) * advantages).sum() / 4
    loss.backward()
    torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-7)


def test_no_image_token_is_ever_sampled(untrained: tuple[Any, Any]) -> None:
    model, processor = untrained
    torch.manual_seed(0)
    samples = grpo.sample(model, processor, items("arithmetic", 64, 0), 24)
    new = samples.inputs["input_ids"][:, -samples.reply.shape[1] :]
    assert not torch.isin(new, torch.tensor(grpo.visual_tokens(model))).any()
    logprobs = grpo.token_logprobs(model, samples)
    assert logprobs[samples.reply].isfinite().all()


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("<think>5+1=6;6*9=4</think><answer>4</answer>", ("5+1=6;6*9=4", "4")),
        ("<think></think><answer>4</answer>", None),
        ("<think>1</think><answer>4", None),
        ("<think>1</think> <answer>4</answer>", None),
        ("<think>1</think><answer>4</answer>4", None),
        ("4", None),
    ],
)
def test_the_format_is_strict(response: str, parts: tuple[str, str] | None) -> None:
    assert parse(response) == parts
    assert is_full_chain(response) is (parts is not None and "=" in parts[0])
    item = next(i for i in items("arithmetic", 50, 0) if i.answer == "4")
    assert reward(response, item) == float(parts is not None)


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263 and 0/20, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
