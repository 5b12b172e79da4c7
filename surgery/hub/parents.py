"""The parents of a merge, as its card lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from typing import TYPE_CHECKING, Any

import yaml

from surgery.card import sources
from surgery.checkpoint.adapter_config import CONFIG
from surgery.checkpoint.hub import fetch_file
from surgery.checkpoint.lora import WEIGHTS
from surgery.checkpoint.open import split_hub_id
from surgery.execute.fingerprint import fingerprint
from surgery.hub.licence import StatedLicence
from surgery.plan import make_plan
from surgery.reading import expand_home, resolve
from surgery.recipe import Recipe, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from surgery.plan.model import Plan

_CARD = "README.md"
_LARGEST = 1 << 20
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_SPECIMEN = StatedLicence("apache-2.0")  # this project's own


@dataclass(frozen=True)
class Parent:
    """One checkpoint that supplies tensors of a merge; an adapter counts separately.

    Attributes:
        name: The model's name in the recipe.
        reference: As people may know it: a repository, `specimen:STAGE`, or a folder's own name.
        repo: `org/name`, for one on the Hub.
        commit: The commit it was read at, for one on the Hub.
        licence: What its card states, or None.
        languages: What its card states, in codes that the Hub takes.
        content: Fingerprint of its weights, for one that no commit names; of an adapter, its own.
    """

    name: str
    reference: str
    repo: str | None
    commit: str | None
    licence: StatedLicence | None
    languages: tuple[str, ...]
    content: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.reference})"


def parents_of(plan: Plan) -> tuple[Parent, ...]:
    """Return the models that a plan reads tensors of, with the contents of their cards.

    Cards of repositories are read at the commit whose weights were.

    Raises:
        CheckpointError: If a card on the Hub cannot be fetched.
    """
    # The base gives its configuration and tokenizer even where no weight of it is left.
    used = {plan.recipe.base, *(ref.model for op in plan.ops for ref in op.inputs)}
    return tuple(
        parent for name in plan.recipe.models if name in used for parent in _parents(plan, name)
    )


def content_of(folder: Path) -> str:
    """Return the content fingerprint of a model's folder, as evaluation runs record it.

    Raises:
        SurgeryError: If it cannot be read.
    """
    recipe = Recipe(folder.name, {"model": str(folder.resolve())}, "model", ())
    with opened(recipe) as models:
        plan = make_plan(recipe, models)
        return fingerprint(plan, models).whole


def public_reference(reference: str, commit: str | None) -> str:
    """Return a reference without local details: a folder appears by its name only.

    Args:
        reference: One folder, repository or `specimen:STAGE`.
        commit: The commit it was read at, if it is on the Hub.
    """
    if reference.startswith("specimen:") or commit not in (None, "", "local"):
        return reference
    return resolve(expand_home(reference)).name


def _parents(plan: Plan, name: str) -> Iterator[Parent]:
    info = plan.models[name]
    references = sources(plan.recipe.models[name])
    commits = (info.revision or "").split(" + ")
    for index, reference in enumerate(references):
        commit = commits[index] if index < len(commits) else ""
        if commit in ("", "local"):
            folder = info.folder if index == 0 else _folder(reference)
            card = _metadata(folder / _CARD)
            stated = _SPECIMEN if reference.startswith("specimen:") else StatedLicence.of(card)
            content = content_of(folder) if index == 0 else _adapter_content(folder)
            text = public_reference(reference, None)
            yield Parent(name, text, None, None, stated, _languages(card), content)
            continue
        repo, _ = split_hub_id(reference)
        path = fetch_file(repo, commit, _CARD)
        card = {} if path is None else _metadata(path)
        stated = _linked(StatedLicence.of(card), repo, commit)
        yield Parent(name, repo, repo, commit, stated, _languages(card))


def _linked(stated: StatedLicence | None, repo: str, commit: str) -> StatedLicence | None:
    """Return a license whose link works outside its repository."""
    if stated is None or not stated.link or "://" in stated.link:
        return stated
    link = f"https://huggingface.co/{repo}/blob/{commit}/{stated.link.lstrip('/')}"
    return replace(stated, link=link)


def _adapter_content(folder: Path) -> str:
    """sha256 over an adapter's configuration and weights."""
    digest = sha256()
    for name in (CONFIG, WEIGHTS):
        with (folder / name).open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _folder(reference: str) -> Path:
    return expand_home(reference)


def _metadata(card: Path) -> Mapping[str, Any]:
    """Return the metadata block of a card; empty without a card or block."""
    from huggingface_hub import metadata_load

    try:
        if card.stat().st_size > _LARGEST:
            return {}
        return metadata_load(card) or {}
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError):
        return {}


def _is_short(value: object) -> bool:
    """Check for plain text, not a structure that grows when it is written as text."""
    return value is False or (isinstance(value, str) and len(value) < 20)


def _languages(card: Mapping[str, Any]) -> tuple[str, ...]:
    languages = card.get("language")
    language_list = languages[:50] if isinstance(languages, list) else [languages]
    # YAML takes Norwegian for a refusal. The Hub takes no cards with other than ISO 639 codes.
    codes = (
        "no" if language is False else str(language).lower()
        for language in language_list
        if _is_short(language)
    )
    return tuple(code for code in codes if _LANGUAGE.fullmatch(code))
