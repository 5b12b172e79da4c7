"""Vision swap: the depth at which an image is read, by swapping its keys and values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from eval.asking.changes import AnsweringModel, Unchanged
from eval.asking.loop import ask
from eval.engines.resizing import output_size
from eval.probes.boxes import Frame, Scale, frame_of
from eval.probes.pairs import SOURCES, TARGETS
from eval.probes.results import LayerValue
from eval.prompts import scaled, size_within
from eval.statistics.intervals import proportion
from surgery.errors import ExecutionError
from surgery.intervene import ImageTokens, Mode, VisionSwap, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.asking.loop import Report
    from eval.asking.session import Subject
    from eval.asking.store import Store
    from eval.engines.transformers import TransformersEngine
    from eval.probes.pairs import ImagePair
    from eval.questions import Question
    from eval.records import Sample
    from surgery.intervene import Blocks, ImageCache


@dataclass
class Swapping:
    """The image of a question swapped for its source's, from or at each layer; first not at all.

    Attributes:
        mode: Whether from a layer on, or only there.
        layers: Which layers.
        sources: By task and id, the same question about the source image.
    """

    mode: Mode
    layers: tuple[int, ...]
    sources: Mapping[tuple[str, str], Question]
    _cache: tuple[tuple[str, ...], ImageCache] | None = None

    @property
    def items(self) -> tuple[int | None, ...]:
        """Nothing swapped, and then each layer."""
        return (None, *self.layers)

    def source(self, question: Question) -> Question:
        """Return the same question about the other image."""
        return self.sources[question.sample.task, question.sample.id]

    def label(self, question: Question, item: int | None) -> str:
        """Return the mode, the layer and the sha256 of the source image."""
        if item is None:
            return ""
        digests = "+".join(picture.digest for picture in self.source(question).sample.images)
        return f"swap.{self.mode}.{item}.{digests}"

    def blocks(
        self,
        engine: TransformersEngine,
        questions: Sequence[Question],
        items: Sequence[int | None],
    ) -> Blocks:
        """Look at the sources once, then one block for each layer."""
        content = tuple(
            question_pair.content
            for question in questions
            for question_pair in (question, self.source(question))
        )
        if self._cache is None or self._cache[0] != content:
            self._cache = None  # its memory goes first
            self._cache = content, self._look(engine, questions)
        return VisionSwap(items, self.mode, self._cache[1])

    def _look(self, engine: TransformersEngine, questions: Sequence[Question]) -> ImageCache:
        """Return the sources' keys and values, on the targets' image tokens."""
        import torch

        tokens = ImageTokens.of(engine.model, engine.inputs(questions))
        inputs = engine.inputs([self.source(question) for question in questions])
        watch = Watch(ImageTokens.of(engine.model, inputs))
        with torch.inference_mode(), engine.changed(watch):
            engine.model(**inputs, use_cache=False, logits_to_keep=1)
        return watch.seen.on(tokens)


@dataclass(frozen=True)
class Swapped:
    """A response to a pair.

    Attributes:
        pair: What was asked.
        layer: From or at which layer the image was the source's; None where nothing was swapped.
        text: The response; None where there is none.
        source: Whether it gives the source's right answer.
        target: Whether it gives the target's.
        changed: Whether it gives another answer than the intact model; None for itself.
        known: Whether the intact model is right about both images; None where that is not known.
    """

    pair: ImagePair
    layer: int | None
    text: str | None
    source: bool
    target: bool
    changed: bool | None
    known: bool | None

    def record(self, mode: Mode) -> dict[str, Any]:
        """As a line of `records.jsonl`."""
        values = {name: value for name, value in vars(self).items() if name != "pair"}
        sample = self.pair.target
        answers = {"target_answer": sample.answer, "source_answer": self.pair.source.answer}
        return {"task": sample.task, "sample": sample.id, "what": mode} | values | answers


def swap(
    subject: Subject,
    pairs: Sequence[ImagePair],
    store: Store,
    report: Callable[[str], Report],
    *,
    mode: Mode,
    layers: Sequence[int],
    sequential: bool = False,
) -> list[Swapped]:
    """Ask every pair's question intact, of the source, and with the image swapped.

    Args:
        subject: The model and the questions of `eval.probes.pairs.suites_of`.
        pairs: What is asked.
        store: Where responses are kept.
        report: Returns, for a step of the work, what is called with its progress.
        mode: Whether from a layer on, or only there.
        layers: Which layers.
        sequential: One pair and one layer at a time.

    Raises:
        SurgeryError: If the model cannot be loaded, or has layers without keys and values.
    """
    targets, sources = (
        {
            (question.task, question.sample.id): question
            for question in subject.questions
            if question.suite == suite
        }
        for suite in (TARGETS, SOURCES)
    )
    swapping = Swapping(mode, tuple(layers), sources)
    plain = AnsweringModel(subject, Unchanged(), sequential=sequential)
    ask(plain, list(sources.values()), store, report("sources"))
    swapped = AnsweringModel(subject, swapping, sequential=sequential)
    ask(swapped, list(targets.values()), store, report("swapped"))

    def response_text(key: str) -> str | None:
        response = store.responses.get(key)
        return response.text if response else None

    results = []
    for pair in pairs:
        place = pair.target.task, pair.target.id
        about_source = response_text(plain.key(sources[place], None))
        intact = response_text(swapped.key(targets[place], None))
        source_known = None
        if about_source is not None and intact is not None:
            source_known = pair.says(about_source, source=True, about_source=True) and pair.says(
                intact, source=False
            )
        for layer in swapping.items:
            text = response_text(swapped.key(targets[place], layer))
            changed = None
            if layer is not None and text is not None and intact is not None:
                changed = not pair.alike(intact, text)
            results.append(
                Swapped(
                    pair, layer, text,
                    source=text is not None and pair.says(text, source=True),
                    target=text is not None and pair.says(text, source=False),
                    changed=changed, known=source_known,
                )
            )  # fmt: skip
    return results


def rows(model: str, mode: Mode, layer_rows: Sequence[Swapped]) -> list[LayerValue]:
    """Rates by layer and task.

    `change` is how often the answer is another than the intact model's, `source` how often it is
    the source's right answer, `target` how often the target's. Each stands a second time, `known`,
    for those pairs alone of which the intact model is right about both images.

    Args:
        model: What it is called.
        mode: How the image was swapped.
        layer_rows: As `swap` returns them.
    """
    tasks = list(dict.fromkeys(attention.pair.target.task for attention in layer_rows))
    layers = list(dict.fromkeys(attention.layer for attention in layer_rows))
    layer_values = []
    for task in [*tasks, "all"] if len(tasks) > 1 else tasks:
        for layer in layers:
            attentions = [
                attention
                for attention in layer_rows
                if attention.layer == layer
                and task in ("all", attention.pair.target.task)
                and attention.text is not None
            ]
            place = (model, layer, str(mode), task)
            for name, indexes in (
                ("", attentions),
                (", known", [attention for attention in attentions if attention.known]),
            ):
                for rate, field in (
                    ("change", "changed"), ("source", "source"), ("target", "target")
                ):  # fmt: skip
                    lines = [
                        attention for attention in indexes if getattr(attention, field) is not None
                    ]
                    if lines:
                        outcomes = [float(getattr(attention, field)) for attention in lines]
                        clusters = [attention.pair.target.cluster for attention in lines]
                        interval = proportion(outcomes, clusters)
                        layer_values.append(
                            LayerValue.of(place, f"{rate}{name}", interval, len(lines))
                        )
    return layer_values


def resized(pairs: Sequence[ImagePair]) -> tuple[ImagePair, ...]:
    """Return the pairs with source images, and boxes on them, resized to the target's size."""
    return tuple(map(_resize, pairs))


def _resize(pair: ImagePair) -> ImagePair:
    (source,), (target,) = pair.source.images, pair.target.images
    images = (scaled(source, target.size),)
    boxes = pair.boxes
    if boxes is not None:
        boxes = (boxes[0], Frame(*source.size).on(boxes[1], target.size))
    return replace(pair, source=replace(pair.source, images=images), boxes=boxes)


def with_frames(pairs: Sequence[ImagePair], scale: Scale, processor: Any) -> tuple[ImagePair, ...]:
    """Return the pairs with the coordinate frames in which the model answers.

    Args:
        pairs: Pairs with any answers.
        scale: What the numbers of a response count.
        processor: The model's.

    Raises:
        ExecutionError: If boxes are in pixels of the image as the processor shows it, and it shows
            tiles.
    """
    cached_size = cache(partial(output_size, processor))

    def frame(sample: Sample) -> Frame:
        size = size_within(sample.images[0], None)
        output = cached_size(size) if scale is Scale.RESIZED else None
        if scale is Scale.RESIZED and output is None:
            raise ExecutionError(
                "boxes cannot be compared in pixels of the resized image: the model's processor "
                "cuts images into tiles. Choose another scale with --boxes."
            )
        return frame_of(scale, size, output)

    return tuple(
        replace(pair, frames=(frame(pair.target), frame(pair.source))) if pair.boxes else pair
        for pair in pairs
    )


def unknown_note(results: Sequence[Swapped]) -> str:
    """Return a note if the intact model knows both images of no pair; otherwise ""."""
    intact = [result for result in results if result.layer is None]
    if not intact or any(result.known for result in intact):
        return ""
    return (
        f"The intact model is right about both images of none of the {len(intact)} pairs: rates of "
        f"source and target say nothing about where it reads an image."
    )
