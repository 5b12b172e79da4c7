"""Items to model inputs, and answers out of responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen.world import items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.specimen.world import Item

STRICT: Final = re.compile(r"<think>([^<]+)</think><answer>([^<]+)</answer>")
IGNORE: Final = -100  # torch's cross entropy skips this label

_LONGEST: Final = 48  # tokens; the longest demonstration has 32
_VALIDATION_SEED: Final = 2026


def chat(processor: Any, item: Item) -> str:
    """The item's prompt in the chat template, ready for the assistant's turn."""
    content = [{"type": "image"}] if item.image is not None else []
    content.append({"type": "text", "text": item.prompt})
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(text)


def encode(
    processor: Any, items: Sequence[Item], replies: Sequence[str] | None = None
) -> dict[str, Any]:
    """A batch of model inputs.

    Args:
        processor: From `surgery.processor.load_processor`.
        items: Questions, with or without image.
        replies: The assistant's turn of each item; without them the batch ends where the
            assistant begins.

    Returns:
        What the model's forward takes; with replies also `labels`, `Int[batch, tokens]`, which
        hold the reply's tokens and `IGNORE` elsewhere.
    """
    texts = [chat(processor, item) for item in items]
    if replies is not None:
        texts = [text + reply + "<|im_end|>" for text, reply in zip(texts, replies, strict=True)]
    images = [item.image for item in items]
    batch = dict(processor(text=texts, images=images, return_tensors="pt"))
    if replies is not None:
        batch["labels"] = _labels(processor, batch["input_ids"], replies)
    return batch


def parse(response: str) -> tuple[str, str] | None:
    """Thought and answer of a response in the strict format, otherwise None."""
    match = STRICT.fullmatch(response.strip())
    return (match[1], match[2]) if match else None


def reward(response: str, item: Item) -> float:
    """1 for the exact answer in the strict format, otherwise 0."""
    parts = parse(response)
    return float(parts is not None and parts[1] == item.answer)


def answer(model: Any, processor: Any, questions: Sequence[Item], *, batch: int = 100) -> list[str]:
    """Return greedy responses by plain `generate`, special tokens dropped.

    Args:
        model: A model in evaluation mode.
        processor: Its processor.
        questions: The questions.
        batch: Questions at once.
    """
    import torch

    # An image token in a response would crash the next forward pass.
    suppressed = [model.config.image_token_id, model.config.video_token_id]
    texts: list[str] = []
    for start in range(0, len(questions), batch):
        inputs = encode(processor, questions[start : start + batch])
        with torch.no_grad():
            output = model.generate(
                **inputs, max_new_tokens=_LONGEST, do_sample=False, suppress_tokens=suppressed
            )
        ends = output[:, inputs["input_ids"].shape[1] :]
        texts += [str(t) for t in processor.batch_decode(ends, skip_special_tokens=True)]
    return texts


def validated(model: Any, processor: Any, task: str, n: int) -> float:
    """Return the share of a task's validation questions that are answered right, greedily."""
    questions = items(task, n, _VALIDATION_SEED, "validation")
    texts = answer(model, processor, questions)
    return sum(reward(text, item) for text, item in zip(texts, questions, strict=True)) / n


def _labels(processor: Any, input_ids: Any, replies: Sequence[str]) -> Any:
    import torch

    labels = torch.full_like(input_ids, IGNORE)
    lengths = [len(ids) + 1 for ids in processor.tokenizer(list(replies))["input_ids"]]
    for row, length in enumerate(lengths):  # rows are padded on the left, so replies end them
        labels[row, -length:] = input_ids[row, -length:]
    return labels
