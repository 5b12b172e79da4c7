"""Models of the specimen: one opened for all tests, the same in plain transformers, untrained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from eval.asking.settings import EvalSettings
from eval.probes.ablation import with_accuracy
from eval.questions import questions
from eval.suites.specimen import load
from eval.variants import plain
from surgery.specimen import path
from tests.eval.subjects import subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eval.asking.session import Subject
    from eval.records import Suite


@pytest.fixture(scope="session")
def draw_suite() -> Callable[..., Suite]:
    """So many of the specimen's questions of some tasks, asked plainly."""

    def draw(*tasks: str, samples: int = 1, seed: int = 3) -> Suite:
        whole = load(samples, seed)
        stored = tuple(task for task in whole.tasks if task.name in tasks)
        return with_accuracy([replace(whole, tasks=stored)])[0]

    return draw


@pytest.fixture(scope="session")
def opened(draw_suite: Callable[..., Suite]) -> Iterator[Subject]:
    """One model in memory for all tests."""
    settings = EvalSettings(device="cpu")
    with subject(plain("rl", "specimen:rl"), [draw_suite("read")], settings) as item:
        assert item.engine.model.dtype.itemsize == 4
        yield item


@pytest.fixture(scope="session")
def about(opened: Subject) -> Callable[..., Subject]:
    """The same model, asked other suites."""

    def make(*suites: Suite) -> Subject:
        requests = tuple(questions(suites, opened.style, opened.settings.generation))
        item = replace(opened, questions=requests)
        vars(item)["engine"] = opened.engine  # a cached property: not loaded again
        return item

    return make


@pytest.fixture(scope="session")
def rl_subject(about: Callable[..., Subject], draw_suite: Callable[..., Suite]) -> Subject:
    """The model, asked a number to read and a sum in text."""
    return about(draw_suite("read", "arithmetic"))


@pytest.fixture
def room(opened: Subject) -> Iterator[Any]:
    """The engine, whose memory and largest batch a test may set."""
    engine = opened.engine
    before = engine.memory, engine.max_batch
    yield engine
    engine.memory, engine.max_batch = before


@pytest.fixture(scope="session")
def untouched() -> tuple[Any, Any]:
    """The checkpoint as transformers loads it with eager attention, and its processor."""
    import torch
    from transformers import AutoModelForImageTextToText

    from surgery.pretrained import load_pretrained
    from surgery.processor import load_processor

    model = load_pretrained(
        AutoModelForImageTextToText, path("rl"), dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval(), load_processor(path("rl"))


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with tokenizer, template and image processor."""
    from tests.specimen.training import build

    folder = tmp_path_factory.mktemp("untrained")
    tokenizer = build.build_tokenizer()
    build.save(build.build_model(tokenizer, seed=0), tokenizer, folder)
    return folder
