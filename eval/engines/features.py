"""Image features, worked out once per image and reused across conditions, repeats and variants."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from eval.records import Picture

_MOST: Final = 1 << 30
"""Bytes of features that are kept."""


class Features:
    """Features of images for a model whose forward takes them ready made.

    Each image goes through the vision tower alone, so that its features never depend on what else
    was in a batch.

    Args:
        model: A transformers model.
        processor: Its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor
        self._known: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._size = 0
        self.seeing = ""
        """What the vision tower and projector are now, by content; features are kept under it."""
        self._reused: bool | None = None

    @property
    def reused(self) -> bool:
        """Whether this architecture takes features in place of pixels, image by image."""
        if self._reused is None:
            self._reused = self._can()
        return self._reused

    def clear(self) -> None:
        """Give the memory back."""
        self._known.clear()
        self._size = 0

    def of(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """What `generate` takes for a batch's images, in order; nothing where it wants pixels."""
        if not self.reused:
            return {}
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        found = tuple(self._one(picture) for picture in pictures)
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=found)}}

    def _one(self, picture: Picture) -> Tensor:
        key = (self.seeing, picture.digest)
        if key in self._known:
            self._known.move_to_end(key)
        else:
            features = self._compute(picture.open())
            self._known[key] = features
            self._size += features.nbytes
            while self._size > _MOST and len(self._known) > 1:
                self._size -= self._known.popitem(last=False)[1].nbytes
        return self._known[key]

    def _compute(self, image: Any) -> Tensor:
        features: Tensor
        (features,) = self._encode(image).pooler_output
        return features

    def _encode(self, image: Any) -> Any:
        inputs = self._processor.image_processor(images=[image], return_tensors="pt")
        encode = self._model.base_model.get_image_features
        wanted = inspect.signature(encode).parameters
        device = self._model.device
        given = {name: value.to(device) for name, value in inputs.items() if name in wanted}
        return encode(**given, return_dict=True)

    def _can(self) -> bool:
        """Try it: transformers says by signature, and the output's shape says the rest.

        Families whose features are more than one tensor per image (Qwen3-VL's deep stack, tiles of
        LLaVA-NeXT), or depend on how many images a row has (LLaVA-OneVision), go the ordinary way.
        """
        import torch
        from PIL import Image

        if "mm_encoder_outputs" not in inspect.signature(self._model.forward).parameters:
            return False
        encode = getattr(self._model.base_model, "get_image_features", None)
        if encode is None or "batch_num_images" in inspect.signature(encode).parameters:
            return False
        with torch.inference_mode():
            output = self._encode(Image.new("RGB", (112, 112)))
        pooled = getattr(output, "pooler_output", None)
        plain = getattr(output, "deepstack_features", None) is None
        return plain and isinstance(pooled, (tuple, list)) and len(pooled) == 1
