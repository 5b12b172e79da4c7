"""Arguments that several commands take, and what they turn into."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgery.errors import RecipeError
from surgery.specimen import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from surgery.checkpoint.ledger import Ledger
    from surgery.checkpoint.source import AdapterReference, Checkpoint
    from surgery.plan import Plan
    from surgery.recipe import Recipe

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, or the name of a bundled one ('surgery recipe list').",
        show_default=False,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME=REF",
        help="Which checkpoint a model of the recipe is: a folder, org/name@revision or "
        "specimen:STAGE. May be given several times.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and only JSON, on stdout.")]


def bindings(given: list[str] | None) -> dict[str, str]:
    """`NAME=REF` texts to references by name.

    Raises:
        typer.BadParameter: If one is not of that form, or names a model twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, reference = text.partition("=")
        if not (name.strip() and equals and reference.strip()):
            raise typer.BadParameter(
                f"{text!r} is not NAME=REF. Example: --model rl=OpenMMReasoner/OpenMMReasoner-RL",
                param_hint="--model",
            )
        if name.strip() in found:
            raise typer.BadParameter(
                f"model {name.strip()!r} is given twice: {found[name.strip()]!r} and "
                f"{reference.strip()!r}",
                param_hint="--model",
            )
        found[name.strip()] = reference.strip()
    return found


def open_model(reference: str | AdapterReference) -> Checkpoint:
    """Open what a user or a recipe calls a model.

    Raises:
        CheckpointError: If there is no such checkpoint, or it cannot be used.
    """
    from surgery.checkpoint.local import LocalCheckpoint
    from surgery.checkpoint.open import open_checkpoint
    from surgery.recipe import resolve_reference

    if isinstance(reference, str):
        found = resolve_reference(reference)
        if found != reference:
            # The ledger shall say `specimen:rl`, not where this machine keeps it.
            return LocalCheckpoint(Path(found), reference)
    return open_checkpoint(reference)


def rebound(ledger: Ledger, models: Mapping[str, str]) -> dict[str, str]:
    """Where a ledger's models are: as bound by the user, and the specimen's where it is now."""
    from surgery.recipe import resolve_reference

    found = {name: resolve_reference(entry.reference) for name, entry in ledger.models.items()}
    moved = {n: ref for n, ref in found.items() if ref != ledger.models[n].reference}
    return {**moved, **{name: resolve_reference(ref) for name, ref in models.items()}}


@contextmanager
def opened(recipe: Recipe) -> Iterator[dict[str, Checkpoint]]:
    """All of a recipe's models, open for the length of the block.

    Raises:
        RecipeError: If one has no checkpoint yet.
        CheckpointError: If one cannot be used.
    """
    references = _bound(recipe)
    with ExitStack() as stack:
        checkpoints = {}
        for name, reference in references.items():
            checkpoint = open_model(reference)
            stack.callback(checkpoint.close)
            checkpoints[name] = checkpoint
        yield checkpoints


def _bound(recipe: Recipe) -> dict[str, str | AdapterReference]:
    missing = recipe.unbound
    if missing:
        names = " and ".join(repr(name) for name in missing)
        example = " ".join(f"--model {name}=REF" for name in missing)
        raise RecipeError(
            f"recipe {recipe.name!r} does not say which checkpoint {names} "
            f"{'is' if len(missing) == 1 else 'are'}. Add {example}, where REF is a folder, "
            f"org/name@revision, or specimen:{missing[-1] if missing[-1] in STAGES else 'in'}."
        )
    return {name: ref for name, ref in recipe.models.items() if ref is not None}


def load_plan(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> Plan:
    """A plan from open checkpoints; reads no weight."""
    from surgery.plan import make_plan

    return make_plan(recipe, {name: opened.info for name, opened in checkpoints.items()})
