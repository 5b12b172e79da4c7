"""One loader for processors: text and images in, model inputs out.

transformers' own processor is used where it can be built. Qwen's needs torchvision, for videos,
even when there are none; where torchvision is missing an image-only processor takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    PreTrainedTokenizerBase,
)
from transformers.processing_utils import ProcessorMixin

from surgery.errors import SurgeryError
from surgery.pretrained import load_pretrained


class Processor(ProcessorMixin):  # type: ignore[misc, unused-ignore]
    """What `load_processor` returns: any transformers processor with three habits added.

    Rows without an image may stand as None or an empty list among `images` (a flat list of
    images in reading order serves as well), rows are padded to one length, and padding is on
    the left, as generation needs.

    Attributes:
        pads: Whether rows are padded unless the call says otherwise.
    """

    pads: bool = True

    def __call__(self, images: Any = None, text: Any = None, **kwargs: Any) -> BatchFeature:
        """Tokenize and prepare a batch.

        Args:
            images: None, one image, a flat list of images, or one entry (an image, None, or a
                list of images) per row.
            text: One string or a list of strings, with one placeholder per image.
            **kwargs: As transformers takes them, for example `return_tensors="pt"`.

        Returns:
            input_ids, attention_mask and, with images, what the model's forward needs for them.
        """
        kwargs.setdefault("padding", self.pads)
        return super().__call__(images=flat_images(images) or None, text=text, **kwargs)


class ImageOnlyProcessor(Processor):
    """A Qwen-VL processor without the video half, so that it needs no torchvision.

    Args:
        image_processor: A Qwen2-VL image processor (it knows patch and merge size).
        tokenizer: The checkpoint's tokenizer.
        image_token: The placeholder in text, such as `<|image_pad|>`; taken from the tokenizer
            when None.
        chat_template: Jinja; the tokenizer's when None.
    """

    return_mm_token_type_ids = True

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_token: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(
            image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template
        )
        self.image_token = image_token or getattr(tokenizer, "image_token", "<|image_pad|>")
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that are saved and loaded."""
        return ["image_processor", "tokenizer"]

    def replace_image_token(self, image_inputs: Any, image_idx: int, **kwargs: Any) -> str:
        """The placeholder once per visual token: t*h*w patches over merge_size squared."""
        patches = int(image_inputs["image_grid_thw"][image_idx].prod())
        return str(self.image_token) * (patches // int(self.image_processor.merge_size) ** 2)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Save the parts each for itself.

        The folder then reads as a stock Qwen-VL checkpoint: transformers builds its own
        processor from it where it can, and never looks for this class.
        """
        image_files = self.image_processor.save_pretrained(save_directory, **kwargs)
        return [*image_files, *self.tokenizer.save_pretrained(save_directory)]

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything `__call__` may return."""
        return [*super().model_input_names, "mm_token_type_ids"]


def load_processor(path: str | Path, revision: str | None = None) -> Processor:
    """Load the processor of a vision-language checkpoint, padding on the left.

    Args:
        path: A local folder or a Hub id.
        revision: A Hub revision; None for the default branch.

    Returns:
        transformers' own processor where it can be built, otherwise an `ImageOnlyProcessor`.

    Raises:
        SurgeryError: Neither can be built, or only by running the checkpoint's own code; the text
            says what is missing.
    """
    source = str(path)
    if Path(source).exists() is False and (Path(source).is_absolute() or source.startswith(".")):
        raise SurgeryError(f"no checkpoint folder at {source}")
    try:
        loaded = load_pretrained(AutoProcessor, source, revision=revision)
        found = f"AutoProcessor returned {type(loaded).__name__}, which is no processor"
    except (ImportError, OSError, ValueError) as error:
        loaded, found = None, f"AutoProcessor: {_first_line(error)}"
    if is_real_processor(loaded):
        processor = _with_habits(loaded)
    else:
        processor = _image_only(source, revision, found)
    _pad_left(processor.tokenizer)
    return processor


def is_real_processor(loaded: object) -> bool:
    """Whether AutoProcessor really gave a processor: it can silently return a bare tokenizer."""
    return isinstance(loaded, ProcessorMixin) and all(
        getattr(loaded, part, None) is not None for part in ("tokenizer", "image_processor")
    )


def flat_images(images: Any) -> list[Any]:
    """Images in reading order: nested rows opened, rows without an image dropped."""
    if images is None:
        return []
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        return [image for row in images for image in flat_images(row)]
    return [images]


def _with_habits(loaded: Any) -> Processor:
    """Give an existing processor `Processor.__call__`, keeping its class name for saving."""
    kind = type(loaded)
    loaded.__class__ = type(kind.__name__, (Processor, kind), {"__module__": kind.__module__})
    return cast("Processor", loaded)


def _image_only(source: str, revision: str | None, found: str) -> ImageOnlyProcessor:
    try:
        config = load_pretrained(AutoConfig, source, revision=revision)
        tokenizer = load_pretrained(AutoTokenizer, source, revision=revision)
        image_processor = load_pretrained(AutoImageProcessor, source, revision=revision)
    except (ImportError, OSError, ValueError) as error:
        raise SurgeryError(
            f"{source} has no processor that can be built here. {found}. The image-only way, with "
            f"config, tokenizer and image processor each for itself, failed too: "
            f"{_first_line(error)}"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise SurgeryError(f"{source}: expected a tokenizer, found {type(tokenizer).__name__}")
    token = _image_token(source, config, tokenizer)
    if not hasattr(image_processor, "merge_size"):
        raise SurgeryError(
            f"{source}: {type(image_processor).__name__} has no merge_size, so it is not of the "
            f"Qwen-VL kind, the only one with an image-only processor. {found}. Installing "
            "torchvision may give transformers what it misses"
        )
    return ImageOnlyProcessor(image_processor, tokenizer, image_token=token)


def _image_token(source: str, config: Any, tokenizer: Any) -> str:
    number = getattr(config, "image_token_id", None)
    if number is None:
        raise SurgeryError(
            f"{source}: its config (model_type {config.model_type!r}) names no image_token_id, "
            "so it takes no images; for a text model use its tokenizer alone"
        )
    token = tokenizer.convert_ids_to_tokens(int(number))
    if not isinstance(token, str):
        raise SurgeryError(
            f"{source}: config.json says image_token_id {number}, but the tokenizer has only "
            f"{len(tokenizer)} tokens; config and tokenizer are of different checkpoints"
        )
    return token


def _pad_left(tokenizer: Any) -> None:
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
