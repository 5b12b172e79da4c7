"""One loader for processors: text and images in, model inputs out.

transformers' own processor is used where it can be built. Many need torchvision, for videos, even
when there are none; where torchvision is missing they are built without the part for videos, and
Qwen-VL's is replaced by an image-only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, cast

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.processing_auto import (
    PROCESSOR_MAPPING_NAMES,
    processor_class_from_name,
)
from transformers.processing_utils import ProcessorMixin
from transformers.utils import is_torchvision_available

from surgery.errors import SurgeryError
from surgery.pretrained import load_pretrained

PROCESSING_ERRORS: Final = (
    ImportError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError,
)  # fmt: skip
"""Errors of transformers for broken processor files, and for text that a processor refuses."""
_QWEN: Final = frozenset({"Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor"})
"""Processors that `ImageOnlyProcessor` stands in for."""


class Processor(ProcessorMixin):  # type: ignore[misc, unused-ignore]
    """A transformers processor with four conventions added, as `load_processor` returns it.

    Rows without an image may stand as None or an empty list among `images` (a flat list of
    images in reading order serves as well), rows are padded to one length, padding is on the
    left, as generation needs, and a text that begins with the first token gets no second one.

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
        texts = [text] if isinstance(text, str) else list(text or ())
        kwargs.setdefault("padding", self.pads)
        # As in apply_chat_template: the template has written the first token already.
        bos = self.tokenizer.bos_token
        if bos and texts and texts[0].startswith(bos):
            kwargs.setdefault("add_special_tokens", False)
        rows = image_rows(images, texts, getattr(self, "image_token", None))
        return super().__call__(images=rows, text=text, **kwargs)


class _WithoutVideos(Processor):
    """A family's processor of which image processor and tokenizer alone could be built."""

    def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
        """Accept a missing part."""
        if not isinstance(argument, _Missing):
            return super().check_argument_for_proper_class(name, argument)
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.image_processor}, {self.tokenizer})"

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Save image processor and tokenizer; the rest stays as it was read."""
        return _save_parts(self, save_directory, **kwargs)


class _Missing:
    """The part for videos or sound where it cannot be built: every setting of it is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


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
        """Names of the parts that are saved and loaded."""
        return ["image_processor", "tokenizer"]

    def replace_image_token(self, image_inputs: Any, image_idx: int, **kwargs: Any) -> str:
        """Repeat the placeholder per visual token: t*h*w patches over merge_size squared."""
        patches = int(image_inputs["image_grid_thw"][image_idx].prod())
        return str(self.image_token) * (patches // int(self.image_processor.merge_size) ** 2)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Save the parts each for itself.

        The folder then reads as a stock Qwen-VL checkpoint: transformers builds its own
        processor from it where it can, and never looks for this class.
        """
        return _save_parts(self, save_directory, **kwargs)

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
        candidate = load_pretrained(AutoProcessor, source, revision=revision)
        failure = f"AutoProcessor returned {type(candidate).__name__}, which is no processor"
    except PROCESSING_ERRORS as error:
        candidate, failure = None, f"AutoProcessor: {_describe(error)}"
    if is_real_processor(candidate):
        processor = _with_habits(candidate)
    else:
        processor = _in_parts(source, revision, failure)
    _pad_left(processor.tokenizer)
    if processor.chat_template is None:  # some classes do not take the tokenizer's
        processor.chat_template = processor.tokenizer.chat_template
    return processor


def is_real_processor(loaded: object) -> bool:
    """Check that AutoProcessor returned a processor; it may silently return a tokenizer."""
    return isinstance(loaded, ProcessorMixin) and all(
        getattr(loaded, part, None) is not None for part in ("tokenizer", "image_processor")
    )


def image_rows(images: Any, texts: Sequence[str], token: str | None) -> list[list[Any]] | None:
    """Return images as one list per row, which every family takes.

    Args:
        images: As `Processor` takes them.
        texts: The rows.
        token: The placeholder of an image, by which a flat list is divided.

    Returns:
        A list per row; for a flat list that does not fit the placeholders one list of all, which
        the family's processor refuses in its own words; None where there is no image.
    """
    entries = _entries(images)
    if any(entry is None or _is_list(entry) for entry in entries):
        rows = [[image for image in _entries(entry) if image is not None] for entry in entries]
    else:
        counts = [text.count(token) if token else 1 for text in texts]
        fits = sum(counts) == len(entries)
        ends = list(accumulate(counts))
        rows = [entries[end - n : end] for end, n in zip(ends, counts, strict=True)]
        rows = rows if fits else [entries]
    return rows if any(rows) else None


def _entries(images: Any) -> list[Any]:
    """Return images, or rows of them, as a list."""
    if not _is_list(images):
        return [] if images is None else [images]
    return list(images)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _with_habits(loaded: Any) -> Processor:
    """Give an existing processor `Processor.__call__`, keeping its class name for saving."""
    kind = type(loaded)
    loaded.__class__ = type(kind.__name__, (Processor, kind), {"__module__": kind.__module__})
    return cast("Processor", loaded)


def _in_parts(source: str, revision: str | None, failure: str) -> Processor:
    """Build a processor of image processor and tokenizer alone.

    Raises:
        SurgeryError: If that fails, too.
    """
    try:
        config = load_pretrained(AutoConfig, source, revision=revision)
        tokenizer = load_pretrained(AutoTokenizer, source, revision=revision)
        image_processor = load_pretrained(AutoImageProcessor, source, revision=revision)
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise SurgeryError(f"{source}: expected a tokenizer, found {type(tokenizer).__name__}")
        settings, _ = ProcessorMixin.get_processor_dict(source, revision=revision)
        # The class that the files name, else that of the model's type.
        name = settings.get("processor_class") or tokenizer.init_kwargs.get("processor_class")
        name = name or PROCESSOR_MAPPING_NAMES.get(config.model_type)
        if name is None or name in _QWEN:
            token = _image_token(source, config, tokenizer)
            return ImageOnlyProcessor(image_processor, tokenizer, image_token=token)
        kind = processor_class_from_name(name)
        habits: Any = type(kind.__name__, (_WithoutVideos, kind), {"__module__": kind.__module__})
        parts = {"image_processor": image_processor, "tokenizer": tokenizer}
        arguments = [parts.get(part, _Missing()) for part in habits.get_attributes()]
        return cast("Processor", habits.from_args_and_dict(arguments, settings))
    except PROCESSING_ERRORS as error:
        if "orchvision" in str(error) and not is_torchvision_available():
            raise SurgeryError(
                f"{source}: its processor needs torchvision, which is not installed. Install the "
                f"torchvision that belongs to this torch, or ask the model through a server."
            ) from None
        raise SurgeryError(
            f"{source}: its processor cannot be loaded. {failure}. Loading it without its video "
            f"part fails, too: {_describe(error)}."
        ) from None


def _save_parts(processor: Any, folder: str | Path, **kwargs: Any) -> list[str]:
    image_files = processor.image_processor.save_pretrained(folder, **kwargs)
    return [*image_files, *processor.tokenizer.save_pretrained(folder)]


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


def _describe(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
