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
    """Image features for a model whose forward accepts them.

    Each image goes through the vision tower alone, so that its features never depend on what else
    was in a batch.

    Args:
        model: A transformers model.
        processor: Its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor
        self._cached: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._size = 0
        self.seeing = ""
        """Return the content hash of vision tower and projector, the key of cached features."""
        self._reused: bool | None = None

    @property
    def reused(self) -> bool:
        """Check whether this architecture takes features in place of pixels, image by image."""
        if self._reused is None:
            self._reused = self._can()
        return self._reused

    def clear(self) -> None:
        """Give the memory back."""
        self._cached.clear()
        self._size = 0

    def of(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """Return the arguments of `generate` for a batch's images; empty if it needs pixels."""
        if not self.reused:
            return {}
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        features = tuple(self._features_of(picture) for picture in pictures)
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}

    def _features_of(self, picture: Picture) -> Tensor:
        key = (self.seeing, picture.digest)
        if key in self._cached:
            self._cached.move_to_end(key)
        else:
            features = self._compute(picture.open())
            self._cached[key] = features
            self._size += features.nbytes
            while self._size > _MOST and len(self._cached) > 1:
                self._size -= self._cached.popitem(last=False)[1].nbytes
        return self._cached[key]

    def _compute(self, image: Any) -> Tensor:
        features: Tensor
        (features,) = self._encode(image).pooler_output
        return features

    def _encode(self, image: Any) -> Any:
        inputs = self._processor.image_processor(images=[image], return_tensors="pt")
        encode = self._model.base_model.get_image_features
        parameters = inspect.signature(encode).parameters
        device = self._model.device
        arguments = {name: value.to(device) for name, value in inputs.items() if name in parameters}
        return encode(**arguments, return_dict=True)

    def _can(self) -> bool:
        """Encode images; the signature and the output's shape decide whether features can be used.

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
