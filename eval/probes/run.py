"""A probe from its questions to the files in the run's folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.asking.changes import AnsweringModel, Unchanged
from eval.asking.loop import ask
from eval.asking.prepare import prepare
from eval.asking.session import Session, Subject
from eval.asking.settings import DISTRIBUTIONS
from eval.asking.store import Store
from eval.engines.resizing import find_shrinkage, limit_note
from eval.probes import ablation, attention, likelihood, swap
from eval.probes.boxes import SCALES, Scale
from eval.probes.pairs import suites_of
from eval.probes.results import probe_run, table
from eval.questions import questions
from eval.suites.rows import json_rows
from surgery.arch.regions import regions
from surgery.errors import ExecutionError, did_you_mean
from surgery.processor import load_processor
from surgery.reading import is_file
from surgery.recipe import parse_selector
from surgery.recipe.dump import to_yaml
from surgery.runs import RunKind, claimed, hardware, versions, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from eval.asking.loop import Report
    from eval.asking.prepare import PreparedVariant
    from eval.asking.settings import EvalSettings
    from eval.probes.pairs import ImagePair
    from eval.records import Suite
    from eval.variants import Variant
    from surgery.intervene import Branch, Mode
    from surgery.runs import RunTables

    Progress = Callable[[str, int, int], None]
    """Callback with a model's name, the number of responses that arrived, and their total."""

OWN_TEXTS = "own"
"""Attention over each model's own responses."""


def run_ablation(
    variant: Variant,
    suites: tuple[Suite, ...],
    settings: EvalSettings,
    folder: Path,
    branches: Sequence[Branch],
    *,
    layers: str = ":",
    likely: bool = False,
    sequential: bool = False,
    grader: str = "strict",
    progress: Progress,
    details: Mapping[str, Any],
) -> RunTables:
    """Switch layers off one at a time.

    Args:
        variant: The model.
        suites: The questions.
        settings: Settings of the run.
        folder: Where results go; what is there is not asked again.
        branches: What of each layer is switched off.
        layers: Which, as in a selector: `:`, `0:9`, `early`, `3, 5`.
        likely: Whether to take log-probabilities of right answers, and generate nothing.
        sequential: One question and one layer at a time.
        grader: How answers are read and compared.
        progress: Called with a model's name, the number of responses that arrived, and of all.
        details: Further entries of the header.

    Raises:
        SurgeryError: If the model cannot be used, or the folder.
    """
    if likely:
        suites = ablation.with_accuracy(suites)
    with _subject(prepare(variant, settings), suites, Session(settings)) as model:
        off = ablation.offs_of(branches, _selected_layers(model, layers))
        switching = ablation.Switching(off)
        report = _report(model, progress)
        with claimed(folder, RunKind.ABLATION):
            if likely:
                likelihoods = likelihood.screen(
                    model, switching, folder, report, sequential=sequential
                )
                records = [item.record() for item in likelihoods]
                rows = likelihood.rows(model.name, likelihoods)
            else:
                answers = ablation.ablate(
                    model, switching, Store(folder), report, grader=grader, sequential=sequential
                )
                records = [
                    {"layer": off.layer if off else None, "what": str(off.branch) if off else ""}
                    | vars(record)
                    for off, record in answers
                ]
                rows = ablation.rows(model.name, answers)
            summary = _summary("ablation", [model], suites, details)
            run = probe_run(table(rows), summary)
            write_run(run, folder, records)
    return run


def run_swap(
    variant: Variant,
    pairs: Sequence[ImagePair],
    settings: EvalSettings,
    folder: Path,
    mode: Mode,
    *,
    layers: str = ":",
    boxes: Scale | None = None,
    sequential: bool = False,
    progress: Progress,
    details: Mapping[str, Any],
) -> RunTables:
    """Swap the image's keys and values, from or at one layer at a time.

    Args:
        variant: The model.
        pairs: What is asked.
        settings: Settings of the run.
        folder: Where results go; what is there is not asked again.
        mode: Whether from a layer on, or only there.
        layers: Which, as in a selector.
        boxes: The scale on which boxes are compared; None takes the family's.
        sequential: One pair and one layer at a time.
        progress: Called with a model's name, the number of responses that arrived, and of all.
        details: Further entries of the header.

    Raises:
        SurgeryError: If the model cannot be used, or the folder.
    """
    suites = suites_of(pairs)
    with _subject(prepare(variant, settings), suites, Session(settings)) as model:
        selected = _selected_layers(model, layers)
        with claimed(folder, RunKind.SWAP):
            details, notes = dict(details), []
            if any(pair.boxes for pair in pairs):
                pairs, details["boxes"], note = _with_frames(pairs, model, boxes)
                notes.append(note)
            swapped = swap.swap(
                model, pairs, Store(folder), partial(_report, model, progress),
                mode=mode, layers=selected, sequential=sequential,
            )  # fmt: skip
            notes.append(swap.unknown_note(swapped))
            summary = _summary("vision-swap", [model], suites, details, notes)
            run = probe_run(table(swap.rows(model.name, mode, swapped)), summary)
            write_run(run, folder, [answer.record(mode) for answer in swapped])
    return run


def run_attention(
    variants: Sequence[Variant],
    suites: tuple[Suite, ...],
    settings: EvalSettings,
    folder: Path,
    *,
    text: str = OWN_TEXTS,
    progress: Progress,
    details: Mapping[str, Any],
) -> RunTables:
    """Observe attention of models over responses.

    Args:
        variants: The models; all are compared with the first.
        suites: The questions.
        settings: Settings of the run.
        folder: Where results go; what is there is not done again.
        text: `own`: each model's own responses; a model's name: its responses for all; else a
            jsonl file with `task`, `sample` and `text`, such as another run's records.
        progress: Called with a model's name, the number of responses that arrived, and of all.
        details: Further entries of the header.

    Raises:
        SurgeryError: If a model cannot be used, the folder, or the texts.
    """
    names = [variant.name for variant in variants]
    value = None if text == OWN_TEXTS or text in names else _texts(suites, text, names)
    if value is not None and Path(text).resolve().is_relative_to(folder.resolve()):
        raise ExecutionError(
            f"the texts {text} lie in {folder}, whose files this run replaces. Choose another "
            "--out."
        )
    suites = ablation.with_accuracy(suites)
    session = Session(settings)
    prepared = [prepare(variant, settings) for variant in variants]
    _check_alike(prepared, session)
    attentions, subjects = {}, []
    with claimed(folder, RunKind.ATTENTION):
        # The model whose responses all are shown goes first.
        for variant_prepared in sorted(
            prepared, key=lambda variant_prepared: variant_prepared.variant.name != text
        ):
            with _subject(variant_prepared, suites, session) as model:
                texts = value
                if texts is None:
                    report = _report(model, progress, "responses")
                    texts = _responses(model, Store(folder), report)
                if text == model.name:
                    value = texts
                report = _report(model, progress, "attention")
                attentions[model.name] = attention.attend(model, texts, folder, report)
                subjects.append(model)
        ordered = {name: attentions[name] for name in names}
        summary = _summary("attention", subjects, suites, {**details, "text": text})
        run = probe_run(
            table(attention.rows(ordered)),
            summary,
            table(attention.heads(ordered), attention.Head),
        )
        records = [
            it.record(name) for name, attentions_of in ordered.items() for it in attentions_of
        ]
        write_run(run, folder, records)
    return run


def _selected_layers(model: Subject, layers: str) -> list[int]:
    """Return the decoder layers that a selector's span selects."""
    sites = parse_selector(f"language[{layers}]").match(model.architecture)
    return sorted({site.layer for site in sites if site.layer is not None})


def _subject(
    prepared: PreparedVariant, suites: tuple[Suite, ...], session: Session
) -> AbstractContextManager[Subject]:
    requests = questions(suites, prepared.style, session.settings.generation)
    return session.subject(prepared, tuple(requests))


def _report(model: Subject, progress: Progress, step: str = "") -> Report:
    """Return what reports progress under the model's name."""
    return partial(progress, f"{model.name} {step}".strip())


def _responses(model: Subject, store: Store, report: Report) -> dict[tuple[str, str], str]:
    respondent = AnsweringModel(model, Unchanged())
    ask(respondent, model.questions, store, report)
    keys = {(q.task, q.sample.id): respondent.key(q, None) for q in model.questions}
    return {
        place: store.responses[key].text
        for place, key in keys.items() if key in store.responses
    }  # fmt: skip


def _check_alike(prepared: Sequence[PreparedVariant], session: Session) -> None:
    """Refuse models whose attention does not line up, before anything is asked.

    Raises:
        ExecutionError: Names the two.
    """
    first: tuple[str, int, int] | None = None
    for variant in prepared:
        with session.subject(variant, ()) as model:
            shape = (model.name, model.layers, model.heads)
        first = first or shape
        if shape[1:] != first[1:]:
            raise ExecutionError(
                f"{shape[0]} has {shape[1]} decoder layers of {shape[2]} heads, {first[0]} has "
                f"{first[1]} of {first[2]}. Only models of one architecture can be compared."
            )


def _texts(suites: Sequence[Suite], text: str, names: Sequence[str]) -> dict[tuple[str, str], str]:
    path = Path(text)
    if not is_file(path):
        near = did_you_mean(text, [OWN_TEXTS, *names])
        raise ExecutionError(
            f"there are no texts {text!r}.{near} A jsonl file with task, sample and text is also "
            f"accepted."
        )
    texts: dict[tuple[str, str], str] = {}
    for row in json_rows(path, path.parent):
        texts.setdefault((row.text("task"), row.text("sample")), str(row["text"] or ""))
    samples = {
        (task.name, sample.id)
        for suite in suites for task in suite.tasks for sample in task.samples
    }  # fmt: skip
    if not any(texts.get(place) for place in samples):
        raise ExecutionError(
            f"{path} has no text for any of the samples that are asked. Its task and sample must "
            f"be theirs; --samples and --seed say which are drawn."
        )
    return texts


def _with_frames(
    pairs: Sequence[ImagePair], model: Subject, boxes: Scale | None
) -> tuple[Sequence[ImagePair], str, str]:
    """Return pairs on the scale of the model's boxes, the scale, and a note about it."""
    scale = boxes or SCALES.get(model.model_type, Scale.PIXELS)
    if boxes is not None:
        reason = "as --boxes says"
    elif model.model_type in SCALES:
        reason = f"as {model.model_type} answers; --boxes chooses another scale"
    else:
        reason = (
            f"an assumption, as no format is known for {model.model_type}; --boxes sets another"
        )
    result = swap.with_frames(pairs, scale, load_processor(model.folder))
    return result, str(scale), f"Boxes of responses are read on the scale '{scale}': {reason}."


def _summary(
    probe: str,
    models: Sequence[Subject],
    suites: Sequence[Suite],
    details: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    first = models[0]
    shrinkage = {find_shrinkage(model.folder, model.questions) for model in models} - {None}
    limited = limit_note(suites, first.settings.generation.max_pixels)
    return {
        "probe": probe,
        "models": [
            {
                "name": model.name,
                "fingerprint": model.content,
                "recipe": to_yaml(model.prepared.recipe),
            }
            for model in models
        ],
        "layers": first.layers,
        "regions": {name: [span.start, span.stop] for name, span in regions(first.layers).items()},
        **details,
        "notes": [
            note
            for note in (*notes, limited, *(entry.note for entry in shrinkage if entry))
            if note
        ],
        **first.settings.header(),
        "tasks": {
            task.name: len(task.samples) for suite in suites for task in suite.tasks
        },
        "versions": versions(*DISTRIBUTIONS),
        "hardware": hardware(),
    }  # fmt: skip
