"""Publish one merge: prove it, write its card, send it, compare."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from surgery.checkpoint.hub import fixed_revisions
from surgery.checkpoint.progress import no_progress
from surgery.checkpoint.source import Remote
from surgery.hub.account import Account, Target, check_card, client
from surgery.hub.package import Package, pack
from surgery.hub.prepare import check_parents_may_be_seen, check_still_holds, prepare
from surgery.hub.publish import Published, publish
from surgery.hub.sweep import collect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from surgery.checkpoint.progress import Progress
    from surgery.hub.card import Evaluation, ProvenMerge
    from surgery.plan import Plan

    Draw: TypeAlias = Callable[[Plan], bytes]
    """Draws which layers come from which model, as a PNG."""


def _no_report(message: str) -> None:
    """Show nothing."""


def _no_progress(label: str) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(no_progress)


@dataclass(frozen=True)
class PublishOptions:
    """Settings of a publication.

    Attributes:
        private: Whether a repository or collection that has to be made is private.
        dry_run: Whether everything is checked and nothing is written.
        revision: The branch it goes to, or None for the default one.
        collection: Title of a collection that it is put into, or None.
        licence: The licence that the user settled on: an id of the Hub or `other:NAME:LINK`.
        models: Where the recipe's models are now, for those that moved.
        remote: How models on the Hub are read.
        overwrite: Whether another merge that is there may be replaced.
        report: Called with a sentence about each step.
        progress: Starts the progress of a step, by its label, for a `with` block.
    """

    private: bool = True
    dry_run: bool = False
    revision: str | None = None
    collection: str | None = None
    licence: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    remote: Remote = Remote.AUTO
    overwrite: bool = False
    report: Callable[[str], None] = _no_report
    progress: Callable[[str], AbstractContextManager[Progress]] = _no_progress


@fixed_revisions()
def publish_merge(
    folder: Path,
    repository: str,
    options: PublishOptions,
    *,
    draw: Draw,
    evaluate: Callable[[str], Evaluation] | None = None,
) -> tuple[Package, Published | None]:
    """Publish a merge.

    Args:
        folder: The merge.
        repository: `namespace/name`.
        options: Settings.
        draw: Draws the picture of the layers.
        evaluate: Returns the merge's scores, given its name on the Hub; None for no scores.

    Returns:
        The files for the Hub, and the publication; None for a dry run.

    Raises:
        SurgeryError: If a check fails, in which case nothing was sent, or if sending fails.
    """
    api = client()
    target = find_target(api, repository, options)
    merge = prove(folder, repository, options)
    if evaluate is not None:
        merge = replace(merge, evaluation=evaluate(merge.name))
    package, published = send(api, folder, target, merge, options, draw=draw)
    if published is not None and options.collection:
        namespace = repository.partition("/")[0]
        items = [(repository, "model", merge.plan.recipe.description)]
        url = collect(api, namespace, options.collection, "", items, private=options.private)
        options.report(f"collection: {url}")
    return package, published


def find_target(api: Any, repository: str, options: PublishOptions, **kind: Any) -> Target | None:
    """Check who publishes and where to; return None for a dry run without network or login.

    Raises:
        PublishError: If the account may not write there, or something is in the way.
    """
    from huggingface_hub import constants, get_token

    if options.dry_run and constants.HF_HUB_OFFLINE:
        options.report("HF_HUB_OFFLINE is set: account and target are not checked")
        return None
    if options.dry_run and get_token() is None:
        options.report("no account is logged in to the Hub: the target is not checked")
        return None
    Account.current(api).check(repository.partition("/")[0])
    target = Target.look(api, repository, options.revision, private=options.private, **kind)
    target.check_visibility(private=options.private)
    return target


def prove(folder: Path, repository: str, options: PublishOptions) -> ProvenMerge:
    """Prove a merge and settle its licence.

    Raises:
        SurgeryError: If it does not hold.
    """
    with options.progress(f"proving {folder.name}") as progress:
        merge = prepare(
            folder, repository, models=options.models, licence=options.licence,
            revision=options.revision, remote=options.remote, progress=progress,
        )  # fmt: skip
    for issue in merge.licence.issues:
        options.report(f"license {merge.licence.license}, as set with --license: {issue}")
    return merge


def send(
    api: Any,
    folder: Path,
    target: Target | None,
    merge: ProvenMerge,
    options: PublishOptions,
    *,
    draw: Draw,
) -> tuple[Package, Published | None]:
    """Collect the files and, unless it is a dry run, send them.

    Raises:
        PublishError: If the Hub refuses, cannot be reached, or has something else than was sent.
    """
    package = pack(folder, merge, draw(merge.plan))
    if target is not None:
        target.check_content(merge.ledger.fingerprint, overwrite=options.overwrite)
        check_parents_may_be_seen(api, merge.parents, target)
        check_card(package.card, target)
        if target.content is not None:
            options.report(_replaced(target, merge))
    if options.dry_run or target is None:
        return package, None
    message = f"Merge {merge.plan.recipe.name}"
    published = publish(
        api, package.bundle, target, message,
        merge=(package, merge.parents), report=options.report,
    )  # fmt: skip
    check_still_holds(folder)
    return package, published


def _replaced(target: Target, merge: ProvenMerge) -> str:
    """Describe the effect on the publication that is there."""
    same = target.content == merge.ledger.fingerprint
    message = f"{target.repo} already exists, " + (
        "with these weights; its card is rewritten" if same else "and is replaced"
    )
    return message if merge.evaluation else f"{message}, without scores: --run gives them"
