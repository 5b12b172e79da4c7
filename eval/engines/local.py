"""A transformers model in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from eval.records import Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from eval.records import Sample


class LocalEngine:
    """Answers greedily, in batches.

    Args:
        model: A transformers image-text-to-text model, in evaluation mode.
        processor: Text and images to model inputs, padding on the left.
        batch: Samples at once.
        max_new_tokens: Longest answer.
    """

    def __init__(
        self, model: Any, processor: Any, *, batch: int = 50, max_new_tokens: int = 48
    ) -> None:
        self.model = model
        self.processor = processor
        self.batch = batch
        self.max_new_tokens = max_new_tokens

    @classmethod
    def load(cls, folder: Path, *, batch: int = 50, max_new_tokens: int = 48) -> Self:
        """Load a checkpoint with plain transformers, in float32.

        Weights are stored in bfloat16, but most CPUs compute several times faster in float32.

        Args:
            folder: The checkpoint.
            batch: Samples at once.
            max_new_tokens: Longest answer.
        """
        import torch
        from transformers import AutoModelForImageTextToText

        from surgery.processor import load_processor

        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        return cls(model.eval(), load_processor(folder), batch=batch, max_new_tokens=max_new_tokens)

    def answer(self, samples: Sequence[Sample]) -> list[Response]:
        """One response per sample, in the order of the samples."""
        found: dict[str, Response] = {}
        # Batches of like length carry the least padding.
        order = sorted(samples, key=lambda s: (s.image is None, s.task, len(s.prompt), s.id))
        for start in range(0, len(order), self.batch):
            for response in self._batch(order[start : start + self.batch]):
                found[response.sample] = response
        return [found[sample.id] for sample in samples]

    def _batch(self, samples: Sequence[Sample]) -> Iterator[Response]:
        import torch

        texts = [self._chat(sample) for sample in samples]
        images = [sample.image for sample in samples]
        inputs = self.processor(text=texts, images=images, return_tensors="pt")
        with torch.inference_mode():
            output = self.model.generate(
                **inputs, do_sample=False, max_new_tokens=self.max_new_tokens
            )
        ends = self._ends()
        for sample, row in zip(samples, output[:, inputs["input_ids"].shape[1] :], strict=True):
            tokens = row.tolist()
            stop = next((i for i, token in enumerate(tokens) if token in ends), None)
            kept = tokens if stop is None else tokens[:stop]
            text = self.processor.tokenizer.decode(kept, skip_special_tokens=True)
            yield Response(sample.id, str(text), len(kept) + (stop is not None), stop is None)

    def _chat(self, sample: Sample) -> str:
        content = [{"type": "image"}] if sample.image is not None else []
        content.append({"type": "text", "text": sample.prompt})
        messages = [{"role": "user", "content": content}]
        return str(
            self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )

    def _ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.processor.tokenizer.eos_token_id
        return frozenset(ends if isinstance(ends, (list, tuple)) else [ends])
