"""A model in which one decoder layer alone can read the image: the probes name it.

Every other layer keeps its MLP and has no attention, so it may help with words and never with the
image. The planted layer alone is trained, to tell red from blue.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from eval.asking.settings import EvalSettings
from eval.generation import Generation
from eval.probes.pairs import ImagePair
from eval.probes.run import run_ablation, run_attention, run_swap
from eval.records import AnswerKind, Metric, Picture, Sample, Suite, Task
from eval.variants import plain
from surgery.intervene import Branch, Mode
from surgery.processor import load_processor
from tests.specimen.training import build

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

PLANTED, LAYERS = 5, 9
COLOURS = ("red", "blue")
PROMPT = "which colour?"
COUNT = 24


def noise(colour: str, seed: int) -> Image.Image:
    """Noise in which one colour is stronger."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 120, (84, 84, 3), generator=generator, dtype=torch.uint8)
    pixels[..., 0 if colour == "red" else 2] += 100
    return Image.fromarray(pixels.numpy())


def sample(colour: str, seed: int) -> Sample:
    file = BytesIO()
    noise(colour, seed).save(file, "PNG")
    return Sample(
        id=f"{seed}", task="colour", prompt=PROMPT, answer=colour, kind=AnswerKind.TEXT,
        images=(Picture(file.getvalue()),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    folder = root / "planted"
    tokenizer = build.build_tokenizer()
    model = build.build_model(tokenizer, seed=1)
    text = model.model.language_model
    model.requires_grad_(False)
    for index, layer in enumerate(text.layers):
        if index == PLANTED:
            layer.requires_grad_(True)
        else:
            layer.self_attn.o_proj.weight.zero_()
    text.embed_tokens.weight.mul_(3)  # long enough for a token to be certain
    build.save(model, tokenizer, root / "before")
    processor = load_processor(root / "before")
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}
    chat = processor.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    answers = [COLOURS[seed % 2] for seed in range(32)]
    texts = [f"{chat}{answer}<|im_end|>" for answer in answers]
    images = [noise(answer, 1000 + seed) for seed, answer in enumerate(answers)]
    batch = dict(processor(text=texts, images=images, return_tensors="pt"))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    for step in range(40):
        rows = slice(step % 4 * 8, step % 4 * 8 + 8)
        patches = len(batch["pixel_values"]) // 32
        part = {name: value[rows] for name, value in batch.items()}
        part["pixel_values"] = batch["pixel_values"][rows.start * patches : rows.stop * patches]
        logits = model(**part).logits[:, -3:-1]
        loss = cross_entropy(logits.flatten(0, 1), part["input_ids"][:, -2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05, "the planted model did not learn"
    build.save(model, tokenizer, folder)
    return folder


SETTINGS = EvalSettings(Generation(max_new_tokens=4), device="cpu")


def suite() -> Suite:
    samples = tuple(sample(COLOURS[seed % 2], seed) for seed in range(COUNT))
    return Suite("colours", (Task("colour", Metric.ACCURACY, samples),), 4)


def by_layer(table: DataFrame, metric: str, label: str) -> DataFrame:
    rows = table[(table["metric"] == metric) & (table["what"] == label) & table["layer"].notna()]
    assert list(rows["layer"]) == list(range(LAYERS))
    return rows.set_index("layer")


def nothing(*_: object) -> None: ...


def test_ablation_names_the_layer(planted: Path, tmp_path: Path) -> None:
    run = run_ablation(
        plain("planted", str(planted)), (suite(),), SETTINGS, tmp_path, list(Branch),
        progress=nothing, details={},
    ).layers  # fmt: skip
    intact = run[run["layer"].isna()]
    assert (intact["value"] == 1).all()
    for branch in (Branch.LAYER, Branch.ATTENTION):
        rows = by_layer(run, "accuracy drop", branch)
        assert rows["low"][PLANTED] > 0
        assert (rows["low"].drop(PLANTED) <= 0).all()
        assert rows["value"].idxmax() == PLANTED
    rest = by_layer(run, "accuracy drop", Branch.ATTENTION)["value"].drop(PLANTED)
    assert (rest == 0).all()  # there was none to lose


def test_the_screen_names_it_without_generating(planted: Path, tmp_path: Path) -> None:
    run = run_ablation(
        plain("planted", str(planted)), (suite(),), SETTINGS, tmp_path, [Branch.ATTENTION],
        likely=True, progress=nothing, details={},
    ).layers  # fmt: skip
    rows = by_layer(run, "logprob drop", Branch.ATTENTION)
    assert rows["low"][PLANTED] > 1
    assert rows["value"].drop(PLANTED).abs().max() < 1e-4


@pytest.mark.parametrize("mode", Mode)
def test_the_swap_names_it(planted: Path, tmp_path: Path, mode: Mode) -> None:
    pairs = [
        ImagePair(sample(COLOURS[seed % 2], seed), sample(COLOURS[(seed + 1) % 2], seed + 500))
        for seed in range(COUNT)
    ]
    pairs = [ImagePair(p.target, Sample(**{**vars(p.source), "id": p.target.id})) for p in pairs]
    run = run_swap(
        plain("planted", str(planted)), pairs, SETTINGS, tmp_path, mode,
        progress=nothing, details={},
    ).layers  # fmt: skip
    source = by_layer(run, "source", mode)["value"]
    reads = [layer <= PLANTED if mode is Mode.FROM else layer == PLANTED for layer in range(LAYERS)]
    assert list(source) == [float(read) for read in reads]
    assert list(by_layer(run, "target", mode)["value"]) == [float(not read) for read in reads]
    assert list(by_layer(run, "change", mode)["value"]) == [float(read) for read in reads]


def test_attention_names_it(planted: Path, tmp_path: Path) -> None:
    """Compared with the untrained model over the same words: no difference before the layer."""
    models = [plain("before", str(planted.parent / "before")), plain("after", str(planted))]
    run = run_attention(
        models, (suite(),), SETTINGS, tmp_path, text="after", progress=nothing, details={}
    ).layers
    rows = by_layer(run[run["model"] == "after - before"], "image share", "response")
    assert (rows["value"][:PLANTED] == 0).all()
    assert rows["value"].abs().idxmax() == PLANTED
    assert rows["low"][PLANTED] > 0 or rows["high"][PLANTED] < 0
