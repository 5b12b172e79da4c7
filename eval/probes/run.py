"""A probe from its questions to the files in the run's folder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.engines.resizing import find_shrinkage, limit_note
from eval.probes import ablation, attention, likelihood, swap
from eval.probes.ask import Asking, Unchanged
from eval.probes.boxes import SCALES, Scale
from eval.probes.pairs import suites_of
from eval.probes.results import probe_run, table, write_probe
from eval.probes.subject import Subject, subject
from eval.store import Store
from eval.suites.rows import json_rows
from eval.sweep.results import machine
from surgery.arch.regions import regions
from surgery.errors import ExecutionError, did_you_mean
from surgery.processor import load_processor
from surgery.reading import is_file
from surgery.recipe import parse_selector
from surgery.recipe.dump import to_yaml
from surgery.runs import RunKind, claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.probes.ask import Told
    from eval.probes.pairs import ImagePair
    from eval.sweep.desk import Work
    from eval.sweep.variants import Variant
    from surgery.intervene import Branch, Mode
    from surgery.runs import RunTables

    Progress = Callable[[str, int, int], None]
    """Told a model's name, how many responses came in, and how many there will be."""

OWN = "own"
"""Attention over each model's own responses."""


def run_ablation(
    variant: Variant,
    work: Work,
    folder: Path,
    branches: Sequence[Branch],
    *,
    layers: str = ":",
    likely: bool = False,
    sequential: bool = False,
    grader: str = "strict",
    progress: Progress,
    settings: Mapping[str, Any],
) -> RunTables:
    """Switch layers off one at a time.

    Args:
        variant: The model.
        work: What is asked, and how.
        folder: Where results go; what is there is not asked again.
        branches: What of each layer is switched off.
        layers: Which, as in a selector: `:`, `0:9`, `early`, `3, 5`.
        likely: Whether to take log-probabilities of right answers, and generate nothing.
        sequential: One question and one layer at a time.
        grader: How answers are read and compared.
        progress: Told how it goes.
        settings: What else the summary should tell.

    Raises:
        SurgeryError: If the model cannot be used, or the folder.
    """
    if likely:
        work = replace(work, suites=ablation.with_accuracy(work.suites))
    with subject(variant, work) as model:
        off = ablation.offs_of(branches, _chosen(model, layers))
        switching = ablation.Switching(off)
        told = _told(model, progress)
        with claimed(folder, RunKind.ABLATION):
            store = Store(folder)
            if likely:
                found = likelihood.screen(
                    model, switching, folder, store, told, sequential=sequential
                )
                records = [one.record() for one in found]
                rows = likelihood.rows(model.name, found)
            else:
                answers = ablation.ablate(
                    model, switching, store, told, grader=grader, sequential=sequential
                )
                records = [
                    {"layer": off.layer if off else None, "what": str(off.branch) if off else ""}
                    | vars(record)
                    for off, record in answers
                ]
                rows = ablation.rows(model.name, answers)
            summary = _summary("ablation", [model], work, settings)
            made = probe_run(table(rows), summary)
            write_probe(made, folder, records)
    return made


def run_swap(
    variant: Variant,
    pairs: Sequence[ImagePair],
    work: Work,
    folder: Path,
    mode: Mode,
    *,
    layers: str = ":",
    boxes: Scale | None = None,
    sequential: bool = False,
    progress: Progress,
    settings: Mapping[str, Any],
) -> RunTables:
    """Swap the image's keys and values, from or at one layer at a time.

    Args:
        variant: The model.
        pairs: What is asked.
        work: How it is asked; its suites do not count.
        folder: Where results go; what is there is not asked again.
        mode: Whether from a layer on, or only there.
        layers: Which, as in a selector.
        boxes: The scale on which boxes are compared; None takes the family's.
        sequential: One pair and one layer at a time.
        progress: Told how it goes.
        settings: What else the summary should tell.

    Raises:
        SurgeryError: If the model cannot be used, or the folder.
    """
    work = replace(work, suites=suites_of(pairs))
    with subject(variant, work) as model:
        chosen = _chosen(model, layers)
        with claimed(folder, RunKind.SWAP):
            settings, notes = dict(settings), []
            if any(pair.boxes for pair in pairs):
                pairs, settings["boxes"], note = _with_frames(pairs, model, boxes)
                notes.append(note)
            found = swap.swap(
                model, pairs, Store(folder), partial(_told, model, progress),
                mode=mode, layers=chosen, sequential=sequential,
            )  # fmt: skip
            notes.append(swap.unknown_note(found))
            summary = _summary("vision-swap", [model], work, settings, notes)
            made = probe_run(table(swap.rows(model.name, mode, found)), summary)
            write_probe(made, folder, [one.record(mode) for one in found])
    return made


def run_attention(
    variants: Sequence[Variant],
    work: Work,
    folder: Path,
    *,
    text: str = OWN,
    progress: Progress,
    settings: Mapping[str, Any],
) -> RunTables:
    """Observe attention of models over responses.

    Args:
        variants: The models; all are compared with the first.
        work: What is asked, and how.
        folder: Where results go; what is there is not done again.
        text: `own`: each model's own responses; a model's name: its responses for all; else a
            jsonl file with `task`, `sample` and `text`, such as another run's records.
        progress: Told how it goes.
        settings: What else the summary should tell.

    Raises:
        SurgeryError: If a model cannot be used, the folder, or the texts.
    """
    names = [variant.name for variant in variants]
    given = None if text == OWN or text in names else _texts(work, text, names)
    if given is not None and Path(text).resolve().is_relative_to(folder.resolve()):
        raise ExecutionError(
            f"the texts {text} lie in {folder}, whose files this run replaces. Choose another "
            "--out."
        )
    work = replace(work, suites=ablation.with_accuracy(work.suites))
    _check_alike(variants, work)
    found, subjects = {}, []
    with claimed(folder, RunKind.ATTENTION):
        # The model whose responses all are shown goes first.
        for variant in sorted(variants, key=lambda one: one.name != text):
            with subject(variant, work) as model:
                texts = given
                if texts is None:
                    texts = _responses(model, Store(folder), _told(model, progress, "responses"))
                if text == variant.name:
                    given = texts
                told = _told(model, progress, "attention")
                found[variant.name] = attention.attend(model, texts, folder, told)
                subjects.append(model)
        ordered = {name: found[name] for name in names}
        summary = _summary("attention", subjects, work, {**settings, "text": text})
        made = probe_run(
            table(attention.rows(ordered)),
            summary,
            table(attention.heads(ordered), attention.Head),
        )
        records = [one.record(name) for name, its in ordered.items() for one in its]
        write_probe(made, folder, records)
    return made


def _chosen(model: Subject, layers: str) -> list[int]:
    """The decoder layers that a selector's span picks."""
    sites = parse_selector(f"language[{layers}]").match(model.architecture)
    return sorted({site.layer for site in sites if site.layer is not None})


def _told(model: Subject, progress: Progress, what: str = "") -> Told:
    """Progress under the model's name."""
    name = f"{model.name} {what}".strip()
    return lambda came, total: progress(name, came, total)


def _responses(model: Subject, store: Store, told: Told) -> dict[tuple[str, str], str]:
    asking = Asking(model, Unchanged(), store)
    asking.ask(model.questions, told)
    found = {}
    for task, question in model.places:
        response = store.responses.get(asking.address(question, None).key)
        if response is not None:
            found[task, question.sample.id] = response.text
    return found


def _check_alike(variants: Sequence[Variant], work: Work) -> None:
    """Refuse models whose attention does not line up, before anything is asked.

    Raises:
        ExecutionError: Names the two.
    """
    first: tuple[str, int, int] | None = None
    for variant in variants:
        with subject(variant, work) as model:
            shape = (model.name, model.layers, model.heads)
        first = first or shape
        if shape[1:] != first[1:]:
            raise ExecutionError(
                f"{shape[0]} has {shape[1]} decoder layers of {shape[2]} heads, {first[0]} has "
                f"{first[1]} of {first[2]}. Only models of one architecture can be compared."
            )


def _texts(work: Work, text: str, names: Sequence[str]) -> dict[tuple[str, str], str]:
    path = Path(text)
    if not is_file(path):
        near = did_you_mean(text, [OWN, *names])
        raise ExecutionError(
            f"there are no texts {text!r}.{near} A jsonl file with task, sample and text will "
            f"do, too."
        )
    found: dict[tuple[str, str], str] = {}
    for row in json_rows(path, path.parent):
        found.setdefault((row.text("task"), row.text("sample")), str(row["text"] or ""))
    asked = {
        (task.name, sample.id)
        for suite in work.suites for task in suite.tasks for sample in task.samples
    }  # fmt: skip
    if not any(found.get(place) for place in asked):
        raise ExecutionError(
            f"{path} has no text for any of the samples that are asked. Its task and sample must "
            f"be theirs; --samples and --seed say which are drawn."
        )
    return found


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
        reason = f"a guess, as {model.model_type} documents no scale; --boxes chooses another"
    result = swap.with_frames(pairs, scale, load_processor(model.folder))
    return result, str(scale), f"Boxes of responses are read on the scale '{scale}': {reason}."


def _summary(
    probe: str,
    models: Sequence[Subject],
    work: Work,
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    first = models[0]
    shrinkage = {find_shrinkage(model.folder, model.questions) for model in models} - {None}
    limited = limit_note(work.suites, work.generation.max_pixels)
    return {
        "probe": probe,
        "models": [
            {
                "name": model.name,
                "fingerprint": model.content,
                "recipe": to_yaml(model.planned.variant.recipe)
                if model.planned.variant.recipe else None,
            }
            for model in models
        ],
        "layers": first.layers,
        "regions": {name: [span.start, span.stop] for name, span in regions(first.layers).items()},
        **settings,
        "notes": [
            note for note in (*notes, limited, *(one.note for one in shrinkage if one)) if note
        ],
        **work.header_fields(),
        "tasks": {
            task.name: len(task.samples) for suite in work.suites for task in suite.tasks
        },
        **machine(),
    }  # fmt: skip
