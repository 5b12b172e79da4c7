"""Arguments that several commands take, and what they turn into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from surgery.checkpoint.source import Remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.checkpoint.source import Checkpoint
    from surgery.plan import Plan
    from surgery.recipe import Recipe

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, the name of a bundled one ('surgery recipe list'), or a published "
        "merge, hf://org/name.",
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
RemoteOption = Annotated[
    Remote,
    typer.Option(
        "--remote",
        help="How models on the Hub come here, if they are not in its cache: only the byte ranges "
        "that are used, whole, or whichever is less; 'surgery plan' tells what both cost.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and only JSON, on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Threads; one per processor by default.", show_default=False
    ),
]


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


def load_plan(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> Plan:
    """A plan from open checkpoints; reads no weight."""
    from surgery.plan import make_plan

    return make_plan(recipe, checkpoints)
