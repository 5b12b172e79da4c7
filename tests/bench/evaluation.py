"""The harness: batches and single questions, a switch and write-and-reload, overhead."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from eval.asking.run import ask_variants
from eval.asking.settings import EvalSettings
from eval.engines.transformers import TransformersEngine, chat
from eval.generation import Generation
from eval.prompts import STYLES
from eval.questions import Question, questions
from eval.records import Picture, Response, Suite
from eval.suites.specimen import load
from eval.sweep.score import Comparison, score
from eval.sweep.variants import Pairing, thirds
from eval.variants import plain
from surgery.execute.run import execute
from surgery.plan import make_plan
from surgery.recipe import opened
from tests.specimen.training import build as making

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SAMPLES = 100
"""Of each task, where a variant's evaluation is timed."""


@dataclass(frozen=True)
class Case:
    """A pair of models and what is asked of it.

    Attributes:
        models: References of `in` and `rl`.
        tasks: Tasks of the specimen's suite; all when empty.
        compared: Questions of each task that are asked one at a time, too.
        variants: How many splices are swept.
    """

    models: dict[str, str]
    tasks: tuple[str, ...]
    compared: int
    variants: int

    def suite(self, samples: int) -> Suite:
        """The case's questions."""
        whole = load(samples, 0)
        return replace(
            whole, tasks=tuple(t for t in whole.tasks if not self.tasks or t.name in self.tasks)
        )


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every figure, as it goes into bench.json.

    Args:
        folder: Where to work; needs 2 GB.
        rounds: How often batches and single questions take turns.
        say: Gets a line per step.
    """
    results = {}
    for name in ("specimen", "150M"):
        if name == "specimen":
            case = Case({"in": "specimen:in", "rl": "specimen:rl"}, (), 10, 6)
        else:
            say("building two random Qwen2.5-VL models of about 150 million parameters")
            output = {
                stage: str(build(folder / stage, seed)) for seed, stage in enumerate(("in", "rl"))
            }
            case = Case(output, ("read",), 25, 6)
        results[name] = {
            **_batching(case, rounds, say, name),
            **_sweeping(case, folder / f"{name}-run", say, name),
        }
    return results


def build(folder: Path, seed: int) -> Path:
    """A random model of the specimen's make, only larger; it takes the specimen's tokenizer."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    tokenizer = making.build_tokenizer()
    config = making.build_config(tokenizer)
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 1024, 2816, 12
    text.num_attention_heads, text.num_key_value_heads = 16, 4
    text.layer_types = ["full_attention"] * 12
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [8, 12, 12]}
    vision.hidden_size, vision.intermediate_size, vision.out_hidden_size = 512, 1024, 1024
    vision.num_heads, vision.depth = 8, 8
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    making.save(model, tokenizer, folder)
    return folder


def _batching(case: Case, rounds: int, say: Callable[[str], None], name: str) -> dict[str, Any]:
    """The same questions in the engine's batches and one at a time, in turn."""
    from surgery.specimen import path

    reference = case.models["rl"]
    folder = path("rl") if reference == "specimen:rl" else reference
    requests = list(questions([case.suite(case.compared)], STYLES["plain"], Generation()))
    batched, single, equal = [], [], 0
    for _ in range(rounds):
        engine = TransformersEngine.load(folder, device="cpu")  # nothing encoded, nothing seen
        start = time.perf_counter()
        together = _together(engine, requests)
        batched.append(time.perf_counter() - start)
        start = time.perf_counter()
        alone = [_alone(engine, question) for question in requests]
        single.append(time.perf_counter() - start)
        equal = sum(together[id(q)] == text for q, text in zip(requests, alone, strict=True))
    times = statistics.median(item / both for item, both in zip(single, batched, strict=True))
    say(
        f"  {name}: {len(requests)} questions batched in {min(batched):.1f} s, one at a time in "
        f"{min(single):.1f} s: {times:.1f} times as fast, {equal} answers equal"
    )
    parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    return {
        "parameters": parameters, "questions": len(requests), "equal": equal,
        "batched_s": batched, "single_s": single, "times_as_fast": times,
    }  # fmt: skip


def _together(engine: TransformersEngine, questions: Sequence[Question]) -> dict[int, str]:
    result = {}
    for batch in engine.batches(questions):
        for question, _, outcome in engine.answer(batch, [""] * len(batch)):
            assert isinstance(outcome, Response)
            result[id(question)] = outcome.text
    return result


def _alone(engine: TransformersEngine, question: Question) -> str:
    """Answer as a script without a harness does: plain transformers, a row at a time."""
    turns = question.messages
    images = [part.open() for turn in turns for part in turn.parts if isinstance(part, Picture)]
    inputs = engine.processor(
        text=[chat(engine.processor, turns)], images=images or None, return_tensors="pt"
    )
    with torch.inference_mode():
        output = engine.model.generate(
            **inputs, do_sample=False, max_new_tokens=question.generation.max_new_tokens
        )
    new = output[0, inputs["input_ids"].shape[1] :]
    return str(engine.processor.tokenizer.decode(new, skip_special_tokens=True))


def _sweeping(case: Case, folder: Path, say: Callable[[str], None], name: str) -> dict[str, Any]:
    """A sweep of splices in one process, from nothing to pictures' tables; and one the long way."""
    pair = Pairing(case.models, "in", "rl")
    splices = list(thirds(pair))[: case.variants]
    settings, suites, few = EvalSettings(device="cpu"), (case.suite(SAMPLES),), (case.suite(1),)
    warm = ask_variants(splices[:1], few, settings, folder / "warm")  # loads late imports
    score(warm, few, settings, folder / "warm", Comparison())
    start = time.perf_counter()
    selected = ask_variants([plain("in", case.models["in"]), *splices], suites, settings, folder)
    score(selected, suites, settings, folder, Comparison("in"))
    wall = time.perf_counter() - start
    generate = sum(item.timing.generate for item in selected)
    load_s = sum(item.timing.load for item in selected)
    swapped = [item.timing for item in selected if item.variant.name != "in"]
    switch = statistics.median(timing.switch for timing in swapped)
    first = max(timing.switch for timing in swapped)
    share = statistics.mean(timing.switch / timing.total for timing in swapped)
    long_way = _write_and_reload(splices[0].recipe, folder / "merged")
    overhead = (wall - load_s - generate) / wall
    say(
        f"  {name}: {len(selected)} variants in {wall:.1f} s, {100 * overhead:.1f}% of it "
        f"outside the model; a switch takes {1000 * switch:.1f} ms, {1000 * first:.0f} ms the "
        f"slowest, {100 * share:.2f}% of a variant; write and reload {long_way:.1f} s, "
        f"{long_way / switch:.0f} times as long"
    )
    return {
        "variants": len(selected), "wall_s": wall, "generate_s": generate, "load_s": load_s,
        "overhead": overhead, "switch_s": switch, "slowest_switch_s": first, "switch_share": share,
        "write_and_reload_s": long_way, "reload_over_switch": long_way / switch,
    }  # fmt: skip


def _write_and_reload(recipe: Any, out: Path) -> float:
    start = time.perf_counter()
    with opened(recipe) as checkpoints:
        execute(make_plan(recipe, checkpoints), checkpoints, out)
    TransformersEngine.load(out, device="cpu")
    return time.perf_counter() - start


def print_table(results: dict[str, Any]) -> None:
    """Markdown, as it stands in the README."""
    print("\n| | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "parameters": lambda r: f"{r['parameters'] / 1e6:.1f} M",
        "questions per second, one at a time": lambda r: (
            f"{r['questions'] / min(r['single_s']):.1f}"
        ),
        "questions per second, batched": lambda r: f"{r['questions'] / min(r['batched_s']):.1f}",
        "times as fast": lambda r: f"{r['times_as_fast']:.1f}",
        "same answers": lambda r: f"{r['equal']} of {r['questions']}",
        "switching a variant, median of six": lambda r: f"{1000 * r['switch_s']:.0f} ms",
        "the slowest, from disk": lambda r: f"{1000 * r['slowest_switch_s']:.0f} ms",
        "of evaluating it at n = 100": lambda r: f"{100 * r['switch_share']:.2f}%",
        "writing and reloading it": lambda r: f"{r['write_and_reload_s']:.1f} s",
        "times a switch": lambda r: f"{r['reload_over_switch']:.0f}",
        "everything but the model's work": lambda r: f"{100 * r['overhead']:.1f}%",
    }
    for name, show in rows.items():
        print(f"| {name} | " + " | ".join(show(result) for result in results.values()) + " |")
