"""All that must hold before a merge is published, found out before a byte leaves."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.ledger import LEDGER, read_ledger
from surgery.checkpoint.open import open_checkpoint, open_recorded
from surgery.checkpoint.progress import no_progress
from surgery.checkpoint.source import Remote
from surgery.errors import PublishError
from surgery.execute.verify import verify
from surgery.hub.card import ProvenMerge, published_plan
from surgery.hub.check import check_loads
from surgery.hub.failure import publish_errors
from surgery.hub.licence import combine, confirm
from surgery.hub.parents import parents_of
from surgery.plan import make_plan
from surgery.reading import is_file, is_folder
from surgery.recipe.load import parse_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.ledger import Ledger
    from surgery.checkpoint.progress import Progress
    from surgery.hub.account import Target
    from surgery.hub.licence import MergeLicence
    from surgery.hub.parents import Parent
    from surgery.plan.model import Plan


def prepare(
    out: Path,
    repo: str,
    *,
    models: Mapping[str, str] | None = None,
    licence: str | None = None,
    revision: str | None = None,
    remote: Remote = Remote.AUTO,
    progress: Progress = no_progress,
) -> ProvenMerge:
    """Prove a merge, load it on the meta device, and settle its licence.

    Args:
        out: What a merge wrote.
        repo: `namespace/name`, where it goes.
        models: Where the recipe's models are now, for those that moved.
        licence: What the user confirmed with `--license`.
        revision: The branch it goes to.
        remote: How parents on the Hub come here.
        progress: Called with the number of verified bytes.

    Returns:
        What its card is to tell; no scores yet.

    Raises:
        PublishError: If the merge does not hold or load, or its licence is doubtful.
        SurgeryError: If a parent is not there.
    """
    if not is_folder(out):
        raise PublishError(f"{out}: no such folder; expected one that 'surgery merge' wrote.")
    if not is_file(out / LEDGER):
        raise PublishError(
            f"{out} has no {LEDGER}: expected a folder that 'surgery merge' wrote. Only what can "
            f"be proven is published."
        )
    ledger = read_ledger(out)
    verification = verify(out, models, remote=remote, progress=progress)
    if not verification.ok:
        first = verification.faults[0]
        more = f" ({len(verification.faults) - 1} more)" if len(verification.faults) > 1 else ""
        raise PublishError(
            f"{out} failed verification, so it is not published: {first.where} {first.what}{more}. "
            f"'surgery verify {out}' lists all."
        )
    plan = plan_again(out, ledger, models or {})
    with open_checkpoint(str(out.resolve())) as checkpoint:
        loaded = check_loads(out, checkpoint.info.config)
    parents = parents_of(plan)
    settled = settle(parents, licence)
    return ProvenMerge(repo, published_plan(plan), ledger, loaded, parents, settled, None, revision)


def check_still_holds(out: Path) -> None:
    """Check that the folder has not changed between verification and sending.

    Args:
        out: The merge, whose files on the Hub are those here.

    Raises:
        PublishError: If a tensor or file is not as the ledger says.
    """
    verification = verify(out, inputs=False)
    if not verification.ok:
        first = verification.faults[0]
        raise PublishError(
            f"{out} changed while it was being published: {first.where} {first.what}. Do not use "
            f"what is on the Hub; correct the merge, and publish it again."
        )


def check_parents_may_be_seen(api: Any, parents: Sequence[Parent], target: Target) -> None:
    """Refuse to show weights of private repositories to everybody.

    Raises:
        PublishError: If a parent is private and the target is public.
    """
    if target.private:
        return
    for repo in dict.fromkeys(parent.repo for parent in parents if parent.repo):
        with publish_errors(f"{repo}: looking at who may see it"):
            private = bool(api.model_info(repo).private)
        if private:
            raise PublishError(
                f"{repo} is private, and {target.repo} would publish its weights. Omit --public, "
                f"or make {repo} public first."
            )


def settle(parents: Sequence[Parent], licence: str | None) -> MergeLicence:
    """Return the license of a merge.

    Args:
        parents: The models it descends from.
        licence: What the user confirmed with `--license`.

    Raises:
        PublishError: If something about it is doubtful and nothing was confirmed, or what was
            confirmed is no licence.
    """
    combined = combine({str(parent): parent.licence for parent in parents})
    if licence is not None:
        return confirm(combined, licence)
    if combined.issues:
        raise PublishError("the license must be set. " + " ".join(combined.issues))
    return combined


def plan_again(out: Path, ledger: Ledger, models: Mapping[str, str]) -> Plan:
    """Return the plan of a merge, from its ledger and its parents' headers."""
    recipe = parse_recipe(ledger.recipe, str(out / LEDGER), models)
    with ExitStack() as stack:
        infos = {}
        for name, reference in recipe.models.items():
            if reference is None:
                raise PublishError(f"{out / LEDGER}: model {name!r} has no checkpoint.")
            opened = (
                open_checkpoint(reference, Remote.RANGES)
                if name in models
                else open_recorded(reference, ledger.models[name].revision, Remote.RANGES)
            )
            infos[name] = stack.enter_context(opened).info
        return make_plan(recipe, infos)
