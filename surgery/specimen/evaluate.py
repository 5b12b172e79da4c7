"""Held-out questions put to a checkpoint: `python -m surgery.specimen.evaluate MODEL --out FILE`.

One line per question and way of answering: greedy, and one sample at temperature 1.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen.batches import encode, reward
from surgery.specimen.world import items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.specimen.world import Item

EVAL_TASKS: Final = ("read", "count", "recognise", "locate", "arithmetic", "expression")
EVAL_SEED: Final = 2026
WAYS: Final = ("greedy", "sampled")
COLUMNS: Final = ("task", "way", "item", "gold", "rare", "correct")

_LONGEST: Final = 48  # tokens; the longest demonstration has 32


def answer(
    model: Any,
    processor: Any,
    questions: Sequence[Item],
    *,
    sampled: bool = False,
    batch: int = 100,
    max_new_tokens: int = _LONGEST,
) -> list[str]:
    """Responses, special tokens dropped.

    Args:
        model: In evaluation mode.
        processor: Its processor.
        questions: What is asked.
        sampled: Whether to draw at temperature 1, from torch's generator, and not greedily.
        batch: Questions at once.
        max_new_tokens: Longest response.
    """
    import torch

    drawing: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    # A sampled image token would crash the next forward pass.
    drawing["suppress_tokens"] = [model.config.image_token_id, model.config.video_token_id]
    texts: list[str] = []
    for start in range(0, len(questions), batch):
        inputs = encode(processor, questions[start : start + batch])
        how: dict[str, Any] = drawing if sampled else {"do_sample": False}
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, **how)
        ends = output[:, inputs["input_ids"].shape[1] :]
        texts += [str(t) for t in processor.batch_decode(ends, skip_special_tokens=True)]
    return texts


def ask(model: Any, processor: Any, n: int) -> list[dict[str, str]]:
    """Every task's held-out questions, answered both ways: rows of `COLUMNS`."""
    import torch

    rows = []
    for task in EVAL_TASKS:
        questions = items(task, n, EVAL_SEED)
        for way in WAYS:
            torch.manual_seed(zlib.crc32(f"{task} {way}".encode()))
            texts = answer(model, processor, questions, sampled=way == "sampled")
            rows += [
                {
                    "task": task,
                    "way": way,
                    "item": item.id,
                    "gold": item.answer,
                    "rare": str(int(item.rare)),
                    "correct": str(int(reward(text, item))),
                }
                for item, text in zip(questions, texts, strict=True)
            ]
    return rows


def validated(model: Any, processor: Any, task: str, n: int) -> float:
    """Share of a task's validation questions that are answered right, greedily."""
    questions = items(task, n, EVAL_SEED, "validation")
    texts = answer(model, processor, questions)
    return sum(reward(text, item) for text, item in zip(texts, questions, strict=True)) / n


def captions_exact(model: Any, processor: Any, n: int) -> tuple[float, float]:
    """Share of held-out captions that are right in full, and share of cells described right."""
    questions = items("caption", n, EVAL_SEED)
    texts = answer(model, processor, questions, max_new_tokens=64)
    pairs = [(t.split(";"), q.answer.split(";")) for t, q in zip(texts, questions, strict=True)]
    whole = sum(said == gold for said, gold in pairs) / n
    cells = sum(s == g for said, gold in pairs for s, g in zip(said, gold, strict=False))
    return whole, cells / (9 * n)


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    import torch

    from surgery.specimen.build import load

    parser = argparse.ArgumentParser(
        prog="python -m surgery.specimen.evaluate", description=__doc__
    )
    parser.add_argument("model", type=Path, help="checkpoint folder")
    parser.add_argument("--out", type=Path, required=True, help="csv to write")
    parser.add_argument("--n", type=int, default=1000, help="questions per task")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = ask(*load(options.model), options.n)
    draft = options.out.with_suffix(".tmp")
    with draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draft.replace(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
