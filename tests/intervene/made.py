"""Model inputs made by hand for tiny models of many families: text with an image in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tests.families import build_tiny

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

QWEN = (
    "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "glm4v",
    "glm4v_moe", "glm46v",
)  # fmt: skip
TILED = ("llava_next", "llava_onevision")
VISION = (
    *QWEN, *TILED, "llava", "internvl", "gemma3", "mistral3", "pixtral", "idefics3", "smolvlm",
    "paligemma", "aya_vision",
)  # fmt: skip
"""Families that can be given an image here."""
EMPTY, NEW = 0, 7
TEXTS = [[5, 9, 20, 33], [11, 40, 41, 42, 43, 44, 3], [60, 61, 62]]
"""Three prompts of different length."""
IMAGES = [(1, 2, 2), (2, 2, 3), (3, 1, 2)]
"""Seed, height and width in tokens of an image for each."""
_COUNTS = {
    "internvl": 1, "idefics3": 1, "smolvlm": 1, "aya_vision": 1, "pixtral": 16, "llava_next": 14,
    "llava_onevision": 14,
}  # fmt: skip
"""Tokens of an image, where they are not four."""


@dataclass(frozen=True)
class ModelCase:
    """A tiny model and questions to it.

    Attributes:
        model: With random weights.
        family: Which.
    """

    model: PreTrainedModel
    family: str

    def inputs(
        self, texts: Sequence[Sequence[int]], images: Sequence[tuple[int, int, int]]
    ) -> dict[str, torch.Tensor]:
        """Rows of text tokens, each with one image after its second token, padded on the left.

        Args:
            texts: Token numbers from 3 to 70.
            images: A seed and, for families that take any size, height and width in tokens.
        """
        token = self.model.config.image_token_id
        rows, pixels, grids = [], [], []
        for text, (seed, high, wide) in zip(texts, images, strict=True):
            generator = torch.Generator().manual_seed(int(seed))
            tokens, pixel, grid = self._image(generator, int(high), int(wide))
            rows.append([*text[:2], *[token] * tokens, *text[2:]])
            pixels.append(pixel)
            grids.append(grid)
        longest = max(map(len, rows))
        ids = torch.tensor([[EMPTY] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        output = {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.cat(pixels)}
        if self.family in QWEN:
            output["image_grid_thw"] = torch.tensor(grids)
            output["mm_token_type_ids"] = (ids == token).long()
        if self.family in ("gemma3", "paligemma"):
            output["token_type_ids"] = (ids == token).long()
        if self.family in ("mistral3", "pixtral"):
            output["image_sizes"] = torch.tensor([[56, 56]] * len(texts))
        if self.family in TILED:
            output["image_sizes"] = torch.tensor([[28, 56]] * len(texts))
        return output

    def _image(self, generator: torch.Generator, high: int, wide: int) -> Any:
        if self.family in QWEN:
            patches = 4 * high * wide
            width = 3 * 2 * 14 * 14
            pixel = torch.randn(patches, width, generator=generator)
            return high * wide, pixel, [1, 2 * high, 2 * wide]
        side = 56 if self.family in ("mistral3", "pixtral") else 28
        shape: tuple[int, ...] = (1, 3, side, side)
        if self.family in ("idefics3", "smolvlm"):
            shape = (1, *shape)
        if self.family in TILED:  # the whole, and its two halves
            shape = (1, 3, *shape[1:])
        count = _COUNTS.get(self.family, 4)
        return count, torch.randn(*shape, generator=generator), None

    def say(self, inputs: dict[str, torch.Tensor], new: int = NEW) -> list[list[int]]:
        """New tokens of every row, greedily, the end of turn ignored."""
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=EMPTY,
            )
        return output[:, inputs["input_ids"].shape[1] :].tolist()


def build(family: str, layers: int = 4, **more: Any) -> ModelCase:
    """A tiny model of a family, with so many decoder layers."""
    text = {"num_hidden_layers": layers, **more}
    model = build_tiny(family, seed=5, text_config=text)
    if family == "paligemma":  # or it says its last token again, whatever layers do
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(0.05)
    return ModelCase(model, family)


def tiled(inputs: dict[str, torch.Tensor], copies: int) -> dict[str, torch.Tensor]:
    """A batch, so many times over, as whole blocks."""
    return {name: value.repeat(copies, *[1] * (value.dim() - 1)) for name, value in inputs.items()}
