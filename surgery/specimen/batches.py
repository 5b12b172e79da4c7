"""Items to model inputs, and answers out of responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.specimen.world import Item

STRICT: Final = re.compile(r"<think>([^<]+)</think><answer>([^<]+)</answer>")
IGNORE: Final = -100  # torch's cross entropy skips this label


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


def _labels(processor: Any, input_ids: Any, replies: Sequence[str]) -> Any:
    import torch

    labels = torch.full_like(input_ids, IGNORE)
    lengths = [len(ids) + 1 for ids in processor.tokenizer(list(replies))["input_ids"]]
    for row, length in enumerate(lengths):  # rows are padded on the left, so replies end them
        labels[row, -length:] = input_ids[row, -length:]
    return labels
