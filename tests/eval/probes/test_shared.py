"""Samples that are equal, or that several tasks share: nothing is lost, nothing asked twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from eval.asking.settings import EvalSettings
from eval.probes.likelihood import _Scorer
from eval.probes.run import run_ablation, run_attention
from eval.records import Metric, Suite, Task
from eval.suites.specimen import load
from eval.variants import plain
from surgery.errors import ExecutionError
from surgery.intervene import Branch
from tests.eval.subjects import subject
from tests.families import save_tiny

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = next(task for task in load(3, 5).tasks if task.name == "read").samples
TWICE = replace(SAMPLES[0], id="again")
SUITE = Suite(
    "shared",
    (Task("one", Metric.ACCURACY, (*SAMPLES, TWICE)), Task("two", Metric.ACCURACY, SAMPLES[:2])),
    24,
)
SETTINGS = EvalSettings(device="cpu", dtype="float32")


def nothing(*_: object) -> None: ...


def counted(value: Any, metric: str, label: str) -> dict[str, int]:
    rows = value.layers[(value.layers["metric"] == metric) & (value.layers["what"] == label)]
    return dict(zip(rows["task"], rows["n"], strict=False))


@pytest.mark.parametrize("likely", [False, True])
def test_every_task_has_its_row_and_equal_samples_count_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, likely: bool
) -> None:
    scored: list[int] = []
    score = _Scorer.compute

    def counting(self: _Scorer, batch: Any, places: Any) -> Any:
        scored.append(len(batch) * len(places))
        return score(self, batch, places)

    monkeypatch.setattr(_Scorer, "compute", counting)
    received: list[tuple[int, int]] = []
    run = run_ablation(
        plain("rl", "specimen:rl"), (SUITE,), SETTINGS, tmp_path, [Branch.LAYER], layers="0:2",
        likely=likely, progress=lambda _, item, total: received.append((item, total)), details={},
    )  # fmt: skip
    metric = "logprob" if likely else "accuracy"
    assert counted(run, metric, "layer") == {"one": 4, "two": 2, "all": 6}
    assert sum(item for item, _ in received) == received[0][1]
    if likely:  # equal ones are scored once
        assert received[0][1] == sum(scored) == 3 * 3


def test_attention_too(tmp_path: Path) -> None:
    run = run_attention(
        [plain("rl", "specimen:rl")], (SUITE,), SETTINGS, tmp_path, progress=nothing, details={}
    )
    assert counted(run, "sink share", "response") == {"one": 4, "two": 2, "all": 6}


def test_heads_are_known_where_the_configuration_leaves_them_out(tmp_path: Path) -> None:
    """As published LLaVA and Gemma 3 configurations do."""
    text = {"hidden_size": 64, "num_attention_heads": 32, "num_key_value_heads": 32}
    folder = save_tiny("llava", tmp_path / "m", text_config=text)
    config = json.loads((folder / "config.json").read_text())
    del config["text_config"]["num_attention_heads"]
    (folder / "config.json").write_text(json.dumps(config))
    with subject(plain("m", str(folder)), [SUITE], SETTINGS) as model:
        assert model.heads == 32


@pytest.mark.parametrize(("layers", "heads"), [(3, 4), (4, 2)])
def test_models_of_different_shape_are_not_compared(
    tmp_path: Path, layers: int, heads: int
) -> None:
    from surgery.specimen import path

    variants = []
    for name, text in (
        ("a", {}), ("b", {"num_hidden_layers": layers, "num_attention_heads": heads}),
    ):  # fmt: skip
        folder = save_tiny("qwen2_5_vl", tmp_path / name, text_config=text)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (folder / file).write_bytes((path("rl") / file).read_bytes())
        variants.append(plain(name, str(folder)))
    with pytest.raises(ExecutionError, match=rf"b has {layers} decoder layers of {heads} heads, a"):
        run_attention(
            variants, (SUITE,), SETTINGS, tmp_path / "out", progress=nothing,
            details={},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
