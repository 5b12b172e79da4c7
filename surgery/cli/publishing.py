"""Publishing one merge: checks, scores, card, and off it goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.source import Remote
from surgery.cli.console import stderr
from surgery.cli.progress import ByteProgress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.hub.account import Target
    from surgery.hub.card import Evaluation, Subject
    from surgery.hub.parcel import Parcel
    from surgery.hub.publish import Published


@dataclass(frozen=True)
class Wish:
    """What the user asked for.

    Attributes:
        private: Whether what has to be made is private.
        dry_run: Whether nothing is to be written.
        revision: The branch it goes to, or None.
        collection: Title of a collection, or None.
        licence: What was confirmed, or None.
        models: Where the recipe's models are now, for those that moved.
        remote: How models on the Hub come here.
        quiet: Whether nothing but errors is said.
        overwrite: Whether another merge that is there may be replaced.
    """

    private: bool = True
    dry_run: bool = False
    revision: str | None = None
    collection: str | None = None
    licence: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    remote: Remote = Remote.AUTO
    quiet: bool = False
    overwrite: bool = False

    def say(self, text: str) -> None:
        """Tell what is being done, on stderr."""
        if not self.quiet:
            stderr().print(text, soft_wrap=True)


def publish_merge(
    out: Path, repo: str, wish: Wish, run: Path | None
) -> tuple[Parcel, Published | None]:
    """Publish a merge.

    Args:
        out: What a merge wrote.
        repo: `namespace/name`.
        wish: What the user asked for.
        run: A run with its scores, or None.

    Returns:
        What goes to the Hub, and what is there now; None for a dry run.

    Raises:
        SurgeryError: If something does not hold; nothing was sent then, or what was sent is told.
    """
    from surgery.hub.account import client
    from surgery.hub.sweep import collect

    api = client()
    target = look(api, repo, wish)
    subject = ready(out, repo, wish)
    if run is not None:
        subject = replace(subject, evaluation=evaluation(out, run, subject.name))
    parcel, published = send(api, out, target, subject, wish)
    if published is not None and wish.collection:
        namespace = repo.partition("/")[0]
        items = [(repo, "model", subject.plan.recipe.description)]
        url = collect(api, namespace, wish.collection, "", items, private=wish.private)
        wish.say(f"collection: {url}")
    return parcel, published


def look(api: Any, repo: str, wish: Wish, **kind: Any) -> Target | None:
    """Look at who publishes and where to; None for a dry run without a network or a login.

    Raises:
        PublishError: If the account may not write there, or something is in the way.
    """
    from huggingface_hub import constants, get_token

    from surgery.hub.account import Account, Target

    if wish.dry_run and constants.HF_HUB_OFFLINE:
        wish.say("HF_HUB_OFFLINE is set: the account and what is at the target are not looked at")
        return None
    if wish.dry_run and get_token() is None:
        wish.say("nobody is logged in to the Hub: what is at the target is not looked at")
        return None
    Account.current(api).check(repo.partition("/")[0])
    target = Target.look(api, repo, wish.revision, private=wish.private, **kind)
    target.check_visibility(private=wish.private)
    return target


def ready(out: Path, repo: str, wish: Wish) -> Subject:
    """Prove a merge and settle its licence, with progress on stderr.

    Raises:
        SurgeryError: If it does not hold.
    """
    from surgery.hub.prepare import prepare

    with ByteProgress(f"proving {out.name}", None, quiet=wish.quiet) as progress:
        subject = prepare(
            out, repo, models=wish.models, licence=wish.licence, revision=wish.revision,
            remote=wish.remote, progress=progress,
        )  # fmt: skip
    for doubt in subject.licence.doubts:
        wish.say(f"licence {subject.licence.license}, as you settled it: {doubt}")
    return subject


def send(
    api: Any, out: Path, target: Target | None, subject: Subject, wish: Wish
) -> tuple[Parcel, Published | None]:
    """Put the files together and, unless it is a dry run, send them.

    Raises:
        PublishError: If the Hub refuses, cannot be reached, or has something else than was sent.
    """
    from surgery.hub.account import check_card
    from surgery.hub.parcel import pack
    from surgery.hub.prepare import check_parents_may_be_seen, check_still_holds
    from surgery.hub.publish import publish
    from surgery.report.layers import layers_png

    parcel = pack(out, subject, layers_png(subject.plan))
    if target is not None:
        target.check_content(subject.ledger.fingerprint, overwrite=wish.overwrite)
        check_parents_may_be_seen(api, subject.parents, target)
        check_card(parcel.card, target)
        if target.content is not None:
            wish.say(_replaced(target, subject))
    if wish.dry_run or target is None:
        return parcel, None
    message = f"Merge {subject.plan.recipe.name}"
    merge = (parcel, subject.parents)
    published = publish(api, parcel.bundle, target, message, merge=merge, say=wish.say)
    check_still_holds(out)
    return parcel, published


def _replaced(target: Target, subject: Subject) -> str:
    """What becomes of the publication that is there."""
    same = target.content == subject.ledger.fingerprint
    told = f"{target.repo} is there already, " + (
        "with these weights; its card is written anew" if same else "and is replaced"
    )
    return told if subject.evaluation else f"{told}, without scores: --run gives them"


def evaluation(out: Path, run: Path, name: str) -> Evaluation:
    """What a run says of a merge, which it must have scored: weights and all.

    Raises:
        SurgeryError: If it did not, or there is no such run.
    """
    from eval.published import variant_of
    from eval.sweep.results import load_results
    from surgery.hub.parents import content_of

    results = load_results(run)
    return evaluation_of(run, variant_of(results.summary, content_of(out)), name)


def evaluation_of(run: Path, variant: str, name: str) -> Evaluation:
    """What a run says of one of its variants.

    Args:
        run: The run's folder.
        variant: The variant.
        name: What the model is called on the Hub.
    """
    from eval.entries import eval_results, model_index
    from eval.graded import read_records
    from eval.published import differences_for, parents_of, scores_for
    from eval.sweep.results import load_results
    from surgery.hub.card import Evaluation

    results = load_results(run)
    summary = results.summary
    plain = [parent for parent in parents_of(summary) if parent != variant]
    # A sweep may score models that are no parents of its variants.
    ends = [summary.get(key) for key in ("base", "donor")]
    parents = [parent for parent in plain if parent in ends] or plain
    scores = scores_for(results, variant, parents)
    return Evaluation(
        variant=variant,
        scores=scores,
        differences=differences_for(read_records(run), variant, parents),
        settings=_settings(summary),
        results=eval_results(scores, variant, summary),
        index=model_index(scores, variant, summary, name),
    )


def _settings(summary: Mapping[str, Any]) -> str:
    """How answers were asked for and read."""
    how = summary.get("generation") or {}
    hot = how.get("temperature") or 0.0
    drawn = f"temperature {hot:g}, {how.get('repeats', 1)} answers each" if hot else "greedy"
    versions = summary.get("versions") or {}
    made = ", ".join(
        f"{name} {versions[name]}" for name in ("vlm-surgery", "transformers") if name in versions
    )
    return (
        f"Prompt style `{summary.get('style')}`, grader `{summary.get('grader')}`, {drawn}; p is "
        f"exact and two-sided, and then corrected (Holm) over variants and tasks. "
        f"Measured with {made}."
    )
