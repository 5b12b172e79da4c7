"""Every family with a row, whole: questions, probes and a merge, one row at a time and three."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers.processing_utils import ProcessorMixin

from eval.asking.settings import EvalSettings
from eval.asking.store import Store
from eval.engines.transformers import TransformersEngine
from eval.generation import Generation
from eval.probes.ablation import Switching, ablate, offs_of
from eval.probes.attention import attend
from eval.probes.likelihood import screen
from eval.probes.pairs import ImagePair, suites_of
from eval.probes.swap import resized, swap
from eval.prompts import PLAIN
from eval.questions import questions
from eval.records import Failure, Metric, Picture, Response
from eval.variants import plain
from surgery.arch.families import FAMILIES
from surgery.arch.site import Component
from surgery.errors import SurgeryError
from surgery.intervene import Branch, Mode
from tests.eval.engines.plainly import key, outcomes
from tests.eval.samples import picture, question, suite
from tests.eval.subjects import subject
from tests.execute.merging import merge, recipe_text
from tests.processors import (
    RECIPES,
    TEMPLATELESS,
    TORCHVISION,
    Recipe,
    save_bare,
    save_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eval.asking.session import Subject
    from eval.questions import Question
    from eval.records import Sample

pytestmark = [
    # Not every family here has a row, and then its parts are guessed.
    pytest.mark.filterwarnings("ignore::surgery.arch.resolve.ArchitectureWarning"),
    # transformers' own, of tokens that are tensors already.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

LIMIT = 4
BATCHES = (1, 3)
SIZES = {"red": (28, 28), "blue": (56, 28), "lime": (30, 90)}
TWINS = {
    "qwen2_vl", "qwen3_vl_moe", "qwen3_5_moe", "glm4v_moe", "glm46v", "glm_ocr", "idefics3",
    "llava_next_video", "video_llava", "qwen2_5_omni", "deepseek_vl_v2",
}  # fmt: skip
"""Families whose processor and attention another family here has as well, and a slow one."""
ABLE = [pytest.param(name, marks=pytest.mark.slow) if name in TWINS else name for name in RECIPES]
ELSEWHERE = {
    "internvl_chat": "custom code, which never runs",
    "minicpmv": "custom code, which never runs",
    "gemma3n": "its vision tower is timm's, which is not installed",
    "glm5_next": "the processor of glm46v",
    "cosmos3_omni": "the processor of qwen3_vl",
}
"""Families that are not asked here, and the reason."""
LINEAR = {"qwen3_5", "qwen3_5_moe"}
"""Families of which some layers have no keys and values of the tokens to swap."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a family's tiny checkpoint with its processor, made once per seed."""

    @cache
    def make(family: str, seed: int = 3) -> Path:
        return save_whole(family, tmp_path_factory.mktemp(family) / str(seed), seed=seed)

    return make


@pytest.fixture(scope="module")
def engine(whole: Callable[..., Path]) -> Callable[[str], TransformersEngine]:
    """Return the engine of a family; keep the last one."""
    cached: dict[str, TransformersEngine] = {}

    def load(family: str) -> TransformersEngine:
        if family not in cached:
            cached.clear()
            cached[family] = TransformersEngine.load(whole(family), device="cpu")
        return cached[family]

    return load


def samples() -> list[Sample]:
    """Return questions of three lengths about images of three sizes."""
    return [
        question(f"q{i}", picture(colour, size), prompt="count the cells " * (1 + 3 * i))
        for i, (colour, size) in enumerate(SIZES.items())
    ]


def questions_of(metric: Metric, samples: Sequence[Sample]) -> list[Question]:
    return list(questions([suite(metric, *samples, limit=LIMIT)], PLAIN, Generation()))


def batches(
    engine: TransformersEngine, questions: Sequence[Question], size: int
) -> list[tuple[Question, ...]]:
    """Return the engine's batches, with at most so many questions in one."""
    return replace(engine, max_batch=size).batches(questions)


def answers(engine: TransformersEngine, questions: Sequence[Question], size: int) -> dict[str, str]:
    result = {}
    for batch in batches(engine, questions, size):
        for item, response in outcomes(engine, batch):
            assert isinstance(response, Response)
            result[key(item)] = response.text
    return result


def plainly(engine: TransformersEngine, question: Question) -> tuple[str, torch.Tensor]:
    """Return transformers' own answer to one row, and its first logits."""
    turns = [
        {
            "role": turn.role,
            "content": [
                {"type": "image", "image": part.open()}
                if isinstance(part, Picture)
                else {"type": "text", "text": part}
                for part in turn.parts
            ],
        }
        for turn in question.messages
    ]
    inputs = ProcessorMixin.apply_chat_template(
        engine.processor, turns, tokenize=True, return_dict=True, return_tensors="pt",
        add_generation_prompt=True,
    )  # fmt: skip
    with torch.inference_mode():
        output = engine.model.generate(
            **inputs, do_sample=False, max_new_tokens=LIMIT, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    new = output.sequences[0, inputs["input_ids"].shape[1] :]
    text = str(engine.processor.tokenizer.decode(new, skip_special_tokens=True))
    return text, output.logits[0][0]


def first_logits(engine: TransformersEngine, questions: Sequence[Question]) -> torch.Tensor:
    """Return the first logits of a batch as the engine makes it."""
    with torch.inference_mode():
        output = engine.model.generate(
            **engine.inputs(questions), do_sample=False, max_new_tokens=1, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    return output.logits[0]


def test_every_family_with_a_row_is_here() -> None:
    visual = {
        family.name
        for family in FAMILIES
        if any(rule.component is Component.VISION for rule in family.rules)
    }
    assert visual <= {*RECIPES, *TORCHVISION, *TEMPLATELESS, *ELSEWHERE}


@pytest.mark.parametrize("family", [*TORCHVISION, *TEMPLATELESS])
def test_a_family_that_cannot_be_asked_says_so(family: str, tmp_path: Path) -> None:
    """In one sentence, before the model is loaded: there are no weights here."""
    reason = "needs torchvision" if family in TORCHVISION else "has no chat template"
    with pytest.raises(SurgeryError, match=reason) as raised:
        TransformersEngine.load(save_bare(family, tmp_path), device="cpu")
    assert "\n" not in str(raised.value)


def test_a_family_that_takes_no_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PaliGemma with a custom template is asked about images; text alone is refused."""
    image = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 28, "width": 28},
             "image_seq_length": 4}  # fmt: skip
    recipe = Recipe("PaliGemmaProcessor", image, ids={"image_token_index": "<image>"}, bos=True)
    monkeypatch.setitem(RECIPES, "paligemma", recipe)
    selected = TransformersEngine.load(save_whole("paligemma", tmp_path), device="cpu")
    all_ = questions_of(Metric.VISION, samples())
    expected = {key(item): plainly(selected, item)[0] for item in all_}
    for size in BATCHES:
        assert answers(selected, all_, size) == expected
    ((_, outcome),) = outcomes(selected, questions_of(Metric.REASONING, [question("none")]))
    assert isinstance(outcome, Failure)
    assert "processor refuses a question" in outcome.reason


def test_a_tokenizer_that_lacks_a_token_is_named(tmp_path: Path) -> None:
    """Llama 3.2's processor writes bos_token in front of every text, and fails without one."""
    folder = save_whole("mllama", tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(SurgeryError, match=r"TypeError.*such as bos_token\. Restore") as raised:
        TransformersEngine.load(folder, device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("family", ABLE)
def test_questions(family: str, engine: Callable[[str], TransformersEngine]) -> None:
    """With one image, a blank one, two, none: what plain transformers says."""
    two = question("two", picture("red"), picture("blue", (84, 56)), prompt="a <image 2> b")
    all_ = questions_of(Metric.VISION, samples())
    all_ += questions_of(Metric.ACCURACY, [two, samples()[0]])
    all_ += questions_of(Metric.REASONING, [question("none"), question("of", prompt="of these")])
    selected = engine(family)
    plain_ones = {key(item): plainly(selected, item) for item in all_}
    expected = {key: text for key, (text, _) in plain_ones.items()}
    different = {tuple(logits.tolist()) for _, logits in plain_ones.values()}
    assert len(different) == len({item.digests for item in all_})  # every image is seen
    for size in BATCHES:
        assert answers(selected, all_, size) == expected, size
    for few in batches(selected, all_, 3):
        for item, logits in zip(few, first_logits(selected, few), strict=True):
            torch.testing.assert_close(logits, plain_ones[key(item)][1], rtol=1e-4, atol=1e-4)


def probed(subject: Subject, folder: Path) -> dict[str, Any]:
    """Return the results of every probe."""
    off = Switching(offs_of([Branch.LAYER, Branch.MLP], [1]))
    output = {
        (str(off), item.sample): item.text
        for off, item in ablate(subject, off, Store(folder), nobody)
    }
    likely = screen(subject, off, folder, nobody)
    texts = {(q.sample.task, q.sample.id): "red 9" for q in subject.questions}
    attentions = attend(subject, texts, folder, nobody)
    images = samples()
    pairs = [
        ImagePair(a, replace(a, images=b.images)) for a, b in zip(images, images[::-1], strict=True)
    ]
    pairs = list(resized(pairs))  # tokens in tiles do not lie on one plane
    requests = tuple(questions(suites_of(pairs), subject.style, subject.settings.generation))
    other = replace(subject, questions=requests)
    vars(other)["engine"] = subject.engine  # a cached property: not loaded again
    mode: dict[str, Any] = {"mode": Mode.FROM, "layers": [1]}
    swapped: Any
    try:
        swapped = [
            (item.pair.target.id, item.layer, item.text)
            for item in swap(other, pairs, Store(folder / "swap"), lambda _: nobody, **mode)
        ]
    except SurgeryError as error:
        swapped = str(error)
    return {
        "said": output, "likely": [item.value for item in likely], "swapped": swapped,
        "seen": np.stack([item.shares for item in attentions]),
    }  # fmt: skip


@pytest.mark.parametrize("family", ABLE)
def test_probes(
    family: str, whole: Callable[..., Path], engine: Callable[[str], TransformersEngine],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Ablation, log-probability, attention and swap: three in a batch and one at a time."""
    if family == "mllama":  # whose cross-attention layers see no tokens of the sequence
        with pytest.raises(SurgeryError, match="cross-attention"):
            _ = engine(family).decoder
        return
    results = []
    suites = [suite(Metric.ACCURACY, *samples())]
    settings = EvalSettings(Generation(max_new_tokens=LIMIT), device="cpu")
    for batch in BATCHES:
        with subject(plain("m", str(whole(family))), suites, settings) as item:
            vars(item)["engine"] = replace(engine(family), max_batch=batch)
            results.append(probed(item, tmp_path / str(batch)))
            for question in item.questions:
                assert (
                    results[-1]["said"]["None", question.sample.id]
                    == plainly(item.engine, question)[0]
                )
    single, several = results
    assert single["said"] == several["said"]
    np.testing.assert_allclose(single["likely"], several["likely"], rtol=1e-4)
    np.testing.assert_allclose(single["seen"], several["seen"], rtol=1e-4, atol=1e-6)
    assert single["swapped"] == several["swapped"]
    assert isinstance(single["swapped"], str) == (family in LINEAR), single["swapped"]


@pytest.mark.parametrize("family", ABLE)
def test_a_merge_is_asked(family: str, whole: Callable[..., Path], tmp_path: Path) -> None:
    """The processor's files are copied, and the folder answers as the model changed in memory."""
    models = {"in": whole(family), "rl": whole(family, 4)}
    steps = '  - transplant: "language[1:3]"\n    from: rl'
    merge(recipe_text(models, steps), tmp_path / "merged")
    merged = TransformersEngine.load(tmp_path / "merged", device="cpu")
    questions = questions_of(Metric.ACCURACY, samples())
    result = answers(merged, questions, 3)
    assert result == {key(item): plainly(merged, item)[0] for item in questions}


def nobody(*_: int) -> None:
    """Ignore progress."""
