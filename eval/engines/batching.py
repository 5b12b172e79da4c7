"""Batches of questions, and the number of questions that fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from eval.prompts import size_within
from eval.records import Failure, Picture
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eval.questions import Question

Batch: TypeAlias = "tuple[Question, ...]"
AskT = TypeVar("AskT")
ResultT = TypeVar("ResultT")

_PIXELS_PER_TOKEN: Final = 28 * 28
"""Pixels per token of the Qwen-VL families; others use no more tokens per million pixels."""
_FEWEST_IMAGE_TOKENS: Final = 9
_WORKING: Final = 24
"""Hidden-size vectors per token during prefill: MLP, attention, residuals."""


def longest_answer(question: Question) -> int:
    """Return the maximum number of tokens of an answer."""
    return question.generation.max_new_tokens or 0


def make_batches(
    questions: Sequence[Question],
    length: Callable[[Question], int],
    *,
    per_token: int,
    memory: int,
    most: int,
    more: Callable[[Question], int] = longest_answer,
) -> list[Batch]:
    """Sort questions by condition and length, and cut them into batches that fit.

    Args:
        questions: In any order.
        length: Returns the number of tokens of a question.
        per_token: Bytes that one token of one row takes.
        memory: Bytes a batch may take.
        most: Most questions in one.
        more: Tokens that a row needs in addition to its question.

    Returns:
        Batches that hold every question once. Rows of one task and condition stay together where
        they can: their answers are of like length, too.
    """
    lengths = [length(question) + more(question) for question in questions]
    order = sorted(
        range(len(questions)),
        key=lambda i: (
            _kind(questions[i]),
            questions[i].sample.task,
            lengths[i],
            questions[i].sample.id,
            questions[i].repeat,
        ),
    )
    batches: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        rows = max(1, min(most, memory // (per_token * longest)))
        same = batches and _kind(questions[batches[-1][0]]) == _kind(questions[index])
        if batches and same and len(batches[-1]) < rows:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return [tuple(questions[index] for index in batch) for batch in batches]


def _kind(question: Question) -> tuple[int, str, int]:
    """Return what a batch must share: the limit on answer length, and the number of images.

    Llama 3.2 pads rows with empty images, which tokens in front of an image see.
    """
    parts = [part for turn in question.messages for part in turn.parts]
    images = sum(isinstance(part, Picture) for part in parts)
    return longest_answer(question), question.condition, images


def length(question: Question, processor: Any) -> int:
    """Estimate the number of tokens that a question takes."""
    tokens = 0
    for message in question.messages:
        for part in message.parts:
            if isinstance(part, Picture):
                width, height = size_within(part, None)
                tokens += max(_FEWEST_IMAGE_TOKENS, width * height // _PIXELS_PER_TOKEN)
            else:
                tokens += len(processor.tokenizer(part)["input_ids"])
    return tokens


def bytes_per_token(model: Any) -> int:
    """Memory that one token of one row takes: keys and values of every layer, and working space."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    inner = getattr(config, "intermediate_size", 0) or 4 * config.hidden_size
    size = model.dtype.itemsize
    cache = 2 * int(config.num_hidden_layers) * int(heads) * int(width) * size
    return int(cache + (_WORKING * config.hidden_size + 3 * inner) * size)


class QuestionError(ExecutionError):
    """A question that a model's chat template or processor does not take."""


def excuse(error: Exception) -> str | None:
    """Return the reason why a batch has no answers; None if the error is a bug.

    The fault may be that of one question; only a batch of one question shows whose it is.
    """
    if isinstance(error, QuestionError):
        return str(error)
    return "out of memory with one row at a time" if is_out_of_memory(error) else None


def in_halves(
    asks: Sequence[AskT],
    places: Sequence[int],
    compute: Callable[[Sequence[AskT], Sequence[int]], Sequence[Sequence[ResultT]]],
    free: Callable[[], None],
) -> Iterator[tuple[int, AskT, ResultT | Failure]]:
    """Compute one value for every ask with every item; divide the batch where it fails.

    Where memory runs out, or the processor refuses one of the asks, both halves are tried.

    Args:
        asks: The batch.
        places: Indices of the items, one block of rows each.
        compute: Returns for each place one value per ask.
        free: Called after memory ran out.

    Yields:
        Place, ask and value, or why there is none where a single row fails.
    """
    results, reason = None, None
    try:
        results = compute(asks, places)
    except (QuestionError, RuntimeError, MemoryError) as error:
        reason = excuse(error)
        if reason is None:
            raise
    if results is not None:
        for place, values in zip(places, results, strict=True):
            yield from ((place, ask, value) for ask, value in zip(asks, values, strict=True))
        return
    free()
    if len(asks) > 1:
        middle = len(asks) // 2
        yield from in_halves(asks[:middle], places, compute, free)
        yield from in_halves(asks[middle:], places, compute, free)
    elif len(places) > 1:
        middle = len(places) // 2
        yield from in_halves(asks, places[:middle], compute, free)
        yield from in_halves(asks, places[middle:], compute, free)
    else:
        yield places[0], asks[0], Failure(str(reason))


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether memory ran out; the CPU's allocator has no error type for it."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text
