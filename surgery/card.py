"""Model cards: the form that all of them share, and the card of a merge that is not published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from surgery.checkpoint.companions import companion_code
from surgery.checkpoint.source import AdapterReference
from surgery.markdown import code, fenced, plain, prose, row
from surgery.plan.wording import step_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from surgery.plan.model import Plan
    from surgery.recipe.recipe import Reference


def model_card(plan: Plan, recipe_text: str) -> str:
    """Markdown with the metadata block that the Hub reads.

    Args:
        plan: What was done.
        recipe_text: The recipe as YAML.
    """
    recipe = plan.recipe
    rows = [
        row("name", "checkpoint", "revision", "fingerprint"),
        row(*["---"] * 4),
        *(
            row(
                code(name),
                code(_location(reference)),
                plain(plan.models[name].revision or "local"),
                code(plan.models[name].fingerprint[:16]),
            )
            for name, reference in recipe.models.items()
        ),
    ]
    paragraphs = [
        f"# {plain(recipe.name)}",
        prose(recipe.description),
        describe_origin(plan),
        "## Parents",
        "\n".join(rows),
        *custom_code(plan),
        "## Recipe",
        fenced(recipe_text, "yaml"),
        "`surgery.json` in this repository names the source and the sha256 of every tensor; "
        "`surgery verify` checks them.",
    ]
    return document(metadata(plan), paragraphs)


def document(head: Mapping[str, Any], paragraphs: Sequence[str]) -> str:
    """Return a card: its metadata as YAML, then paragraphs; empty entries are omitted.

    huggingface_hub's ModelCardData writes the same block, and costs a merge 0.3 s to import.
    """
    fields = {key: value for key, value in head.items() if value}
    block = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return "\n\n".join([f"---\n{block}---", *filter(None, paragraphs)]) + "\n"


def custom_code(plan: Plan) -> list[str]:
    """Return a section about a model's custom code, or nothing if it has none.

    Whether a library has a class of its own for the model's type depends on its version.
    """
    custom = companion_code(plan.base)
    if not custom:
        return []
    sentences = []
    if custom.files:
        sentences.append(
            f"This model includes custom Python code: {_join(custom.files)}. The files are "
            "the base's, byte for byte; nothing ran them when it was made."
        )
    if custom.repositories:
        sentences.append(
            f"Its configuration names code in other repositories: {_join(custom.repositories)}."
        )
    if custom.missing:
        sentences.append(
            f"Its configuration names code that the base does not have: {_join(custom.missing)}."
        )
    sentences.append(
        "A library that has no class of its own for this type of model loads it only with "
        "`trust_remote_code=True`. Read the code before you allow that."
    )
    return ["## Custom code", " ".join(sentences)]


def _join(names: Sequence[str]) -> str:
    return ", ".join(map(code, names))


def metadata(plan: Plan, parents: Iterable[tuple[str, str | None]] | None = None) -> dict[str, Any]:
    """Return what the Hub reads of a merge: parents, library, task and tags.

    Args:
        plan: What was done.
        parents: Repositories with the commits that were read; all of the plan's when absent. One
            that was read at several commits has a list of them.
    """
    commits: dict[str, list[str | None]] = {}
    for repo, commit in hub_parents(plan) if parents is None else parents:
        if commit not in commits.setdefault(repo, []):
            commits[repo].append(commit)
    fields = {
        "base_model": list(commits),
        "base_model_relation": "merge" if commits else None,
        "base_model_revisions": {
            repo: read[0] if len(read) == 1 else read for repo, read in commits.items()
        },
        "library_name": "transformers",
        "pipeline_tag": _pipeline(plan),
        "tags": ["merge", "vlm-surgery", *(["custom_code"] if companion_code(plan.base) else [])],
    }
    return {key: value for key, value in fields.items() if value}


def hub_parents(plan: Plan) -> list[tuple[str, str]]:
    """Return the models that are on the Hub: repository and the commit that was read."""
    return [
        (source.removeprefix("hf://").split("@")[0], commit)
        for name, reference in plan.recipe.models.items()
        for source, commit in zip(
            sources(reference), (plan.models[name].revision or "").split(" + "), strict=False
        )
        if commit not in ("", "local")
    ]


def describe_origin(plan: Plan, base: str = "") -> str:
    """Return the origin of the tensors, as a sentence and a list of steps.

    Args:
        plan: What was done.
        base: What the base is called; its name in the recipe when absent.
    """
    steps = [f"- {plain(line)}" for line in step_lines(plan)]
    base = base or code(plan.recipe.base)
    text = (
        f"A merge made with vlm-surgery. Every tensor comes from {base} except where these steps "
        "say otherwise:"
    )
    return text + "\n\n" + ("\n".join(steps) or "- none: a copy of the base")


def sources(reference: Reference | None) -> list[str]:
    """Yield the references in a reference: two for a base with an adapter."""
    if isinstance(reference, AdapterReference):
        return [reference.base, reference.adapter]
    return [] if reference is None else [reference]


def _location(reference: Reference | None) -> str:
    return " + ".join(sources(reference))


def _pipeline(plan: Plan) -> str:
    from surgery.arch.site import Component

    return (
        "image-text-to-text"
        if plan.architecture.layers.get(Component.VISION)
        else "text-generation"
    )
