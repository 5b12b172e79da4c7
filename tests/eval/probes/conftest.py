"""The specimen's RL model under study, opened once, and the same in plain transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from eval.generation import Generation
from eval.probes.ablation import with_accuracy
from eval.probes.subject import subject
from eval.suites.specimen import load
from eval.sweep.desk import Work
from eval.sweep.variants import plain
from surgery.specimen import path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eval.probes.subject import Subject
    from eval.records import Suite


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Suite]:
    """So many of the specimen's questions of some tasks, asked plainly."""

    def draw(*tasks: str, samples: int = 1, seed: int = 3) -> Suite:
        whole = load(samples, seed)
        kept = tuple(task for task in whole.tasks if task.name in tasks)
        return with_accuracy([replace(whole, tasks=kept)])[0]

    return draw


@pytest.fixture(scope="session")
def opened(drawn: Callable[..., Suite]) -> Iterator[Subject]:
    """One model in memory for all tests."""
    work = Work((drawn("read"),), Generation(), device="cpu")
    with subject(plain("rl", "specimen:rl"), work) as its:
        assert its.engine.model.dtype.itemsize == 4
        yield its


@pytest.fixture(scope="session")
def about(opened: Subject) -> Callable[..., Subject]:
    """The same model, asked other suites."""

    def make(*suites: Suite) -> Subject:
        its = replace(opened, work=replace(opened.work, suites=suites))
        vars(its)["engine"] = opened.engine  # a cached property: not loaded again
        return its

    return make


@pytest.fixture(scope="session")
def its(about: Callable[..., Subject], drawn: Callable[..., Suite]) -> Subject:
    """The model, asked a number to read and a sum in text."""
    return about(drawn("read", "arithmetic"))


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
