"""A transformers model in this process: answers in batches, and becomes other variants in place."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self

from eval.engines.batching import (
    Batch,
    QuestionError,
    bytes_per_token,
    in_halves,
    is_out_of_memory,
    length,
    longest_answer,
    make_batches,
)
from eval.engines.features import Features
from eval.prompts import Message, blank
from eval.records import Failure, Picture, Response
from surgery.errors import CheckpointError, ExecutionError, first_line
from surgery.pretrained import load_pretrained, loading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from eval.questions import Question
    from surgery.checkpoint.source import Checkpoint
    from surgery.execute.fingerprint import Fingerprint
    from surgery.intervene import Blocks, Decoder
    from surgery.live import Resident
    from surgery.plan.model import Plan

_PLAIN: Final = (Message("user", ("How are you?",)),)
_MOST_ADDED: Final = 1_000_000
"""Characters that a chat template may add to the messages; a tokenizer takes minutes for more."""
_LONGEST_ERROR: Final = 4096
"""Answers whose text is kept."""
_ENCODED: Final = 4096
"""Batches whose inputs are kept: text and grids only, so they are small."""


@dataclass
class TransformersEngine:
    """One resident model.

    Attributes:
        model: A transformers image-text-to-text model, in evaluation mode.
        processor: Text and images to model inputs, padding on the left.
        max_batch: Maximum batch size.
        memory: Bytes that a batch may take; found when absent.
        generating: Seconds that the model itself has taken so far: seeing and generating.
    """

    model: Any
    processor: Any
    max_batch: int = 128
    memory: int | None = None
    generating: float = 0.0
    _features: Features = field(init=False)
    _resident: Resident | None = field(default=None, repr=False)
    _text: Callable[[tuple[int, ...]], str] = field(init=False, repr=False)
    _encoded: OrderedDict[tuple[str, ...], dict[str, Any]] = field(default_factory=OrderedDict)
    _lengths: dict[tuple[str, ...], int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._features = Features(self.model, self.processor)
        # Variants often say the same, and decoding costs more than finding it again.
        self._text = lru_cache(_LONGEST_ERROR)(self._decoded)

    def _decoded(self, tokens: tuple[int, ...]) -> str:
        return str(self.processor.tokenizer.decode(list(tokens), skip_special_tokens=True))

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_batch: int = 128,
    ) -> Self:
        """Load a checkpoint with plain transformers.

        Args:
            folder: The checkpoint.
            device: "cpu", "cuda", or "auto": CUDA where there is one, spread over several if there
                are several.
            dtype: Element type it computes in; "auto" is float32 on a CPU, where bfloat16 is
                several times slower, and bfloat16 elsewhere.
            max_batch: Maximum batch size.
        """
        import torch
        from transformers import AutoModelForImageTextToText

        from surgery.processor import ImageOnlyProcessor, load_processor

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        torch_dtype = compute_dtype(device, dtype)
        several = device == "cuda" and torch.cuda.device_count() > 1
        processor = load_processor(folder)
        check_template(processor, folder)
        with loading(folder):
            model = load_pretrained(
                AutoModelForImageTextToText,
                folder,
                dtype=getattr(torch, torch_dtype),
                device_map="auto" if several else device,
                use_safetensors=True,
            )
            if isinstance(processor, ImageOnlyProcessor):
                parameters = inspect.signature(model.forward).parameters
                processor.return_mm_token_type_ids = "mm_token_type_ids" in parameters
            engine = cls(model.eval(), processor, max_batch=max_batch)
            try:
                engine.check()
            except QuestionError as error:
                raise ExecutionError(
                    f"{folder}: {error}. That is a plain question: the tokenizer may lack a "
                    f"special token that the processor needs, such as bos_token. Restore "
                    f"tokenizer and processor files from the checkpoint's source."
                ) from None
        return engine

    def check(self) -> None:
        """Ask one plain question, so that mismatched files fail before the run starts."""
        import torch

        def ask(messages: Sequence[Message]) -> None:
            pictures = _pictures(messages)
            inputs = self._encode([chat(self.processor, messages)], [pictures])
            features = self._features.of(pictures) if pictures else {}
            self.model.generate(
                **inputs, **features, do_sample=False, trust_remote_code=False, max_new_tokens=1
            )

        with torch.inference_mode():
            try:
                ask(_PLAIN)
            except (QuestionError, TypeError, ValueError):  # PaliGemma takes no text alone
                ask((Message("user", (blank(56, 56), "How are you?")),))
        self._ends()

    @property
    def chat_template(self) -> str:
        """The model's own."""
        return str(self.processor.chat_template or self.processor.tokenizer.chat_template or "")

    def batches(
        self,
        questions: Sequence[Question],
        copies: int = 1,
        more: Callable[[Question], int] = longest_answer,
    ) -> list[Batch]:
        """Divide questions into batches that fit into memory, with similar lengths.

        The division depends on nothing but the questions, the model and the memory there is, so
        that an interrupted run meets the same batches again and gives the same answers.

        Args:
            questions: In any order.
            copies: How many rows each takes.
            more: Tokens that a row needs in addition to its question.
        """
        return make_batches(
            questions,
            self._length,
            per_token=bytes_per_token(self.model) * copies,
            memory=self.memory or _room(self.model),
            most=max(1, self.max_batch // copies),
            more=more,
        )

    def most_copies(
        self, questions: Sequence[Question], more: Callable[[Question], int] = longest_answer
    ) -> int:
        """Return the number of rows of the longest question that fit into memory."""
        per_token = bytes_per_token(self.model)
        tokens = max(self._length(question) + more(question) for question in questions)
        room = self.memory or _room(self.model)
        return max(1, min(self.max_batch, room // (per_token * tokens)))

    def _length(self, question: Question) -> int:
        """Count tokens once: every variant divides the same questions into batches."""
        if question.digests not in self._lengths:
            self._lengths[question.digests] = length(question, self.processor)
        return self._lengths[question.digests]

    @contextmanager
    def variant(
        self, plan: Plan, checkpoints: Mapping[str, Checkpoint], fingerprint: Fingerprint
    ) -> Iterator[Self]:
        """Turn the loaded model into a plan's result inside the block, and check its fingerprint.

        Raises:
            CheckpointError: If a file of its models changed since the fingerprint was taken: the
                model here may hold either.
        """
        from surgery.execute.fingerprint import state_of
        from surgery.live import Resident, transplanted

        if state_of(plan, checkpoints) != fingerprint.state:
            raise CheckpointError(
                f"{', '.join(info.reference for info in plan.models.values())}: one of these "
                "changed since the run opened it. Responses so far are saved for the old model. "
                "Wait until the program that writes there has finished, then start the run again."
            )
        if self._resident is None:
            self._resident = Resident(_room(self.model) // 2)
        with transplanted(self.model, plan, checkpoints, fingerprint.digests, self._resident):
            self._features.seeing = fingerprint.seeing
            try:
                yield self
            finally:
                self._features.seeing = ""

    def answer(
        self,
        questions: Sequence[Question],
        keys: Sequence[str],
        places: Sequence[int] = (0,),
        change: Callable[[Sequence[Question], Sequence[int]], Blocks | None] = lambda *_: None,
    ) -> Iterator[tuple[Question, int, Response | Failure]]:
        """Answer a batch of questions with equal generation settings.

        Where memory runs out, or a question cannot be asked, the batch is divided in halves.

        Args:
            questions: The questions.
            keys: Keys of their responses, which seed sampled responses.
            places: Places of the changes under which each is asked.
            change: Returns the hooks for some questions and places; None where nothing is changed.

        Yields:
            Question, place and outcome.
        """

        def compute(
            rows: Sequence[tuple[Question, str]], places: Sequence[int]
        ) -> list[list[Response]]:
            batch, its_keys = zip(*rows, strict=True)
            return self.answer_blocks(batch, change(batch, places), its_keys)

        rows = list(zip(questions, keys, strict=True))
        for place, (question, _), outcome in in_halves(rows, places, compute, self.free):
            yield question, place, outcome

    def free(self) -> None:
        """Give back memory that is not the model's."""
        import torch

        self._features.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def answer_blocks(
        self, questions: Sequence[Question], blocks: Blocks | None, keys: Sequence[str] = ()
    ) -> list[list[Response]]:
        """Answer a batch of questions in every block of a change.

        Args:
            questions: The questions; greedy if there are several blocks.
            blocks: The change, or None for the model as it is.
            keys: Keys of the responses, which seed sampled responses.

        Returns:
            For each block its responses, in the order of the questions.

        Raises:
            RuntimeError: If memory runs out (`is_out_of_memory`), or for a bug.
        """
        import torch

        inputs = self.inputs(questions, 1 if blocks is None else blocks.size)
        start = inputs["input_ids"].shape[1]
        began = perf_counter()
        with torch.inference_mode(), self.changed(blocks):
            output = self.model.generate(
                **inputs,
                **self._sampling(questions, keys),
                trust_remote_code=False,
                max_new_tokens=questions[0].generation.max_new_tokens,
            )
        rows = output[:, start:].tolist()  # on an accelerator this waits for the answers
        self.generating += perf_counter() - began
        responses = [self._response(row) for row in rows]
        count = len(questions)
        return [responses[begin : begin + count] for begin in range(0, len(responses), count)]

    @contextmanager
    def changed(self, blocks: Blocks | None) -> Iterator[None]:
        """Be changed, block by block, for the length of a `with` block."""
        if blocks is None:
            yield
            return
        from surgery.intervene import seen_once

        with seen_once(self.model, blocks.size), blocks.applied(self.decoder):
            yield

    @cached_property
    def decoder(self) -> Decoder:
        """The model's decoder layers."""
        from surgery.intervene import Decoder

        return Decoder.of(self.model)

    def _sampling(self, questions: Sequence[Question], keys: Sequence[str]) -> dict[str, Any]:
        """Return arguments of `generate` that overrule all of the checkpoint's own sampling."""
        plain: dict[str, Any] = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0}
        plain |= {"temperature": None, "top_p": None, "top_k": None}
        if questions[0].generation.greedy:
            return plain
        from eval.engines.sampling import seeded

        return {**plain, "logits_processor": seeded(keys, questions[0].generation)}

    def _response(self, tokens: list[int]) -> Response:
        ends = self._ends()
        stop = next((i for i, token in enumerate(tokens) if token in ends), None)
        new_tokens = tokens if stop is None else tokens[:stop]
        return Response(
            self._text(tuple(new_tokens)),
            len(new_tokens) + (stop is not None),
            truncated=stop is None,
        )

    def _ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.processor.tokenizer.eos_token_id
        return frozenset(ends if isinstance(ends, (list, tuple)) else [ends])

    def inputs(
        self, questions: Sequence[Question], copies: int = 1, endings: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return the model inputs of a batch; encoding is done once for all variants.

        Args:
            questions: The questions.
            copies: Number of whole blocks of rows, each with every question.
            endings: Beginning of the response to each.
        """
        endings = endings or [""] * len(questions)
        key = (*(digest for question in questions for digest in question.digests), *endings)
        pictures = [_pictures(question.messages) for question in questions]
        inputs = self._encoded.get(key)
        if inputs is None:
            texts = [chat(self.processor, question.messages) for question in questions]
            texts = [text + ending for text, ending in zip(texts, endings, strict=True)]
            inputs = self._encode(texts, pictures)
            self._encoded[key] = inputs
            if len(self._encoded) > _ENCODED:
                self._encoded.popitem(last=False)
        if copies > 1:
            inputs = {
                name: value.repeat(copies, *[1] * (value.dim() - 1))
                for name, value in inputs.items()
            }
        flat = [picture for row in pictures for picture in row]
        if not flat:
            return dict(inputs)
        began = perf_counter()
        features = self._features.of(flat * copies)
        self.generating += perf_counter() - began
        return {**inputs, **features}

    def _encode(self, texts: list[str], pictures: list[list[Picture]]) -> dict[str, Any]:
        from surgery.processor import PROCESSING_ERRORS

        # Where features come ready made, nothing but the size of an image counts here.
        show = _black if self._features.reused else Picture.open
        images = [[show(picture) for picture in row] or None for row in pictures]
        try:
            encoded = dict(self.processor(text=texts, images=images, return_tensors="pt"))
        except PROCESSING_ERRORS as error:  # such as an image's own token in the text
            if is_out_of_memory(error):
                raise
            raise QuestionError(
                f"the model's processor refuses a question: {type(error).__name__}, "
                f"{first_line(error)}"
            ) from None
        if self._features.reused:
            encoded.pop("pixel_values", None)
        return {name: value.to(self.model.device) for name, value in encoded.items()}


def chat(processor: Any, messages: Sequence[Message]) -> str:
    """Return messages in the model's own chat template, ready for its turn.

    Raises:
        QuestionError: If the template fails, or refuses them.
    """
    from jinja2 import TemplateError

    from surgery.processor import PROCESSING_ERRORS

    turns = []
    for message in messages:
        content = [
            {"type": "image"} if isinstance(part, Picture) else {"type": "text", "text": part}
            for part in message.parts
        ]
        turns.append({"role": message.role, "content": content})
    try:
        text = str(processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        text.encode()
    except (TemplateError, ArithmeticError, AssertionError, *PROCESSING_ERRORS) as error:
        raise QuestionError(
            f"the model's chat template refuses a question: {type(error).__name__}, "
            f"{first_line(error).rstrip('.')}"
        ) from None
    spoken = sum(len(part) for m in messages for part in m.parts if isinstance(part, str))
    if len(text) > spoken + _MOST_ADDED:
        raise QuestionError(
            f"the model's chat template adds {len(text) - spoken:,} characters to a question; at "
            f"most {_MOST_ADDED:,} are allowed"
        )
    return text


def check_template(processor: Any, folder: Path) -> None:
    """Check that a model takes the turns of a conversation.

    Raises:
        ExecutionError: If it has no chat template, or one that fails for a plain question.
    """
    if not (processor.chat_template or processor.tokenizer.chat_template):
        raise ExecutionError(
            f"{folder} has no chat template, so it cannot answer questions: it is a base model, or "
            f"the file is missing. Add its chat_template.jinja to the folder."
        )
    try:
        chat(processor, _PLAIN)
    except QuestionError as error:
        raise ExecutionError(
            f"{folder} has a chat template that fails for a plain question: {error}. Restore the "
            f"template from the checkpoint's source."
        ) from None


def compute_dtype(device: str, dtype: str) -> str:
    """Return the element type of a model's computation, by its torch name."""
    if dtype != "auto":
        return dtype
    return "float32" if device == "cpu" else "bfloat16"


def _black(picture: Picture) -> Any:
    from PIL import Image

    return Image.new("RGB", picture.size)


def _pictures(messages: Sequence[Message]) -> list[Picture]:
    return [part for message in messages for part in message.parts if isinstance(part, Picture)]


def _room(model: Any) -> int:
    """Memory budget of a batch, by the machine's size and not by its current load.

    Weights of variants may take half as much again.
    """
    import torch

    if model.device.type == "cuda":
        total = int(torch.cuda.get_device_properties(model.device).total_memory)
        weights: int = sum(parameter.nbytes for parameter in model.parameters())
        return int(max(0, total - weights) // 10 * 6)
    import psutil

    return int(psutil.virtual_memory().total) // 8
