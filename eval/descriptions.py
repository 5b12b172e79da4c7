"""Image descriptions for M_v2r: from a file, a run's cache, or a model at an endpoint."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from eval.conditions import conditions_of
from eval.prompts import Message, fitted
from eval.records import Condition, Failure
from eval.suites.rows import json_rows
from surgery.errors import ExecutionError
from surgery.reading import is_file
from surgery.runs import RunKind, check_folder, claimed
from surgery.runs.lines import KeyedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from eval.endpoint import Endpoint
    from eval.records import Sample, Suite, Task

PROMPT: Final = (
    "Write down everything this image shows, for a person who cannot see it and has to answer "
    "questions about it from your words alone. Give every label, number, axis, mark, shape and "
    "relation exactly as it is drawn. Do not solve anything and do not draw conclusions."
)
CACHE: Final = "descriptions.jsonl"
"""The file in a run's folder that holds the descriptions made for it."""

_LONGEST: Final = 1024  # tokens
_PIXELS: Final = 1280 * 720
_AT_ONCE: Final = 8


def read_descriptions(path: Path) -> dict[str, str]:
    """Descriptions by the sha256 of an image, or by a sample's id.

    Args:
        path: One JSON object per line: `description`, and `image` (sha256 of the image's file, of
            several their sha256 one after another, hashed again) or `id`.

    Raises:
        ExecutionError: If there is no such file, or a line holds something else.
    """
    if not is_file(path):
        raise ExecutionError(f"there is no file of descriptions at {path}.")
    descriptions: dict[str, str] = {}
    for row in json_rows(path, path.parent):
        name = row.values.get("image") or row.values.get("id")
        text = row.values.get("description")
        if not isinstance(text, str) or name is None:
            raise ExecutionError(
                f"{row.where} is not a description. Expected "
                f'{{"id": "...", "description": "..."}}, or "image" with a sha256 in place of "id".'
            )
        descriptions[str(name)] = text
    return descriptions


def describer(endpoint: Endpoint) -> Callable[[Sample], str | Failure]:
    """Return a function that asks a model to describe an image, greedily."""

    def ask(sample: Sample) -> str | Failure:
        pictures = tuple(fitted(picture, _PIXELS) for picture in sample.images)
        response = endpoint.complete(
            [Message("user", (*pictures, PROMPT))], max_tokens=_LONGEST, temperature=0.0
        )
        return response if isinstance(response, Failure) else response.text.strip()

    return ask


def described(
    suite: Suite,
    cache: Path,
    ask_for: Callable[[Sample], str | Failure] | None = None,
    *,
    model: str = "",
    existing: Mapping[str, str] | None = None,
    failed: Callable[[str], object] = lambda _: None,
) -> Suite:
    """Return the suite with descriptions for conditions that need one and data that has none.

    Args:
        suite: The suite.
        cache: File of descriptions that were made earlier, by image; those made now are added.
        ask_for: Makes one; nothing is made when absent.
        model: The describing model; descriptions of other models are not reused.
        existing: Descriptions by image or by sample, which go before all others.
        failed: Called once per sample without a description, with the reason.

    Raises:
        ExecutionError: If the cache cannot be read or written, or the endpoint is not there.
    """
    lacks = [sample for task in suite.tasks for sample in task.samples if _lacks(task, sample)]
    file = _cached(cache, model) if lacks else None
    texts = {**file.values, **(existing or {})} if file else {}
    if ask_for is not None and file is not None:
        todo = {image_key(s): s for s in lacks if _description_of(s, texts) is None}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for key, response in zip(todo, pool.map(ask_for, todo.values()), strict=True):
                if isinstance(response, Failure):
                    failed(response.reason)
                    continue
                texts[key] = response
                file.append([_line(key, model, response)])
    return replace(suite, tasks=tuple(_filled(task, texts) for task in suite.tasks))


def describe_suites(
    suites: tuple[Suite, ...],
    folder: Path,
    *,
    file: Path | None = None,
    endpoint: Endpoint | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> tuple[Suite, ...]:
    """Return the suites with descriptions for the samples that need one and have none.

    Args:
        suites: The suites.
        folder: The run's folder, in which descriptions are cached.
        file: Descriptions that go before all others.
        endpoint: The model that describes what is left; nothing is described without one.
        report: Called with a line about every failure, and about samples without a description.

    Raises:
        ExecutionError: If a file cannot be read or written, or the endpoint cannot be reached.
    """
    check_folder(folder, RunKind.EVALUATION)
    cache = folder / CACHE
    if file and endpoint and file.resolve() == cache.resolve():
        raise ExecutionError(
            f"--descriptions {file} is the file in which --describe stores its results; it is "
            f"always read. Omit --descriptions."
        )
    existing = read_descriptions(file) if file else None
    with claimed(folder, RunKind.EVALUATION) if endpoint else nullcontext():
        suites = tuple(
            described(
                suite,
                cache,
                describer(endpoint) if endpoint else None,
                model=endpoint.model if endpoint else "",
                existing=existing,
                failed=lambda reason: report(f"an image got no description: {reason}"),
            )
            for suite in suites
        )
    count = sum(map(lacking, suites))
    if count:
        report(
            f"{count} samples need a description of their image and have none: their M_v2r will "
            "be missing. Give --descriptions FILE or --describe MODEL@URL."
        )
    return suites


def lacking(suite: Suite) -> int:
    """Count the samples that need a description and have none."""
    return sum(_lacks(task, sample) for task in suite.tasks for sample in task.samples)


def image_key(sample: Sample) -> str:
    """sha256 of a sample's image, or of its images' sha256 one after another."""
    digests = [picture.digest for picture in sample.images]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


def _lacks(task: Task, sample: Sample) -> bool:
    if sample.description is not None or not sample.images:
        return False
    return Condition.DESCRIBED in conditions_of(task.metric, sample)


def _description_of(sample: Sample, texts: Mapping[str, str]) -> str | None:
    return texts.get(image_key(sample), texts.get(sample.id))


def _filled(task: Task, texts: Mapping[str, str]) -> Task:
    samples = tuple(
        replace(sample, description=_description_of(sample, texts))
        if _lacks(task, sample)
        else sample
        for sample in task.samples
    )
    return replace(task, samples=samples)


def _line(key: str, model: str, text: str) -> dict[str, Any]:
    return {"image": key, "model": model, "prompt": _prompt(), "description": text}


def _prompt() -> str:
    return sha256(PROMPT.encode()).hexdigest()[:16]


def _cached(path: Path, model: str) -> KeyedFile[str]:
    """Return what was made earlier by a model; by any of them where none is to be asked."""

    def parse(line: Mapping[str, Any]) -> tuple[str, str] | None:
        if not all(isinstance(line[name], str) for name in _line("", "", "")):
            raise TypeError("not a description")
        if model and (line["model"], line["prompt"]) != (model, _prompt()):
            return None
        return line["image"], line["description"]

    return KeyedFile(path, parse, latest=True)
