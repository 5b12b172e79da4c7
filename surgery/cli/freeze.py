"""`surgery freeze`: a frozen region in the format of another trainer."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, stderr

if TYPE_CHECKING:
    from surgery.train.outline import ModelOutline
    from surgery.train.region import FrozenRegion


class Format(StrEnum):
    """Output format of a frozen region."""

    NAMES = "names"
    REGEX = "regex"
    PEFT = "peft"
    JSON = "json"


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Local folder, org/name@revision or specimen:STAGE; only config.json and "
            "headers are read.",
            show_default=False,
        ),
    ],
    selectors: Annotated[
        list[str],
        typer.Argument(
            metavar="SELECTOR...",
            help="Frozen region, such as 'language[late]' or vision; repeatable.",
            show_default=False,
        ),
    ],
    *,
    train: Annotated[
        bool,
        typer.Option("--train", help="Train SELECTOR and freeze everything else."),
    ] = False,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Output: parameter names, a regex for re.search, LoraConfig arguments "
            "(peft), or all (json).",
        ),
    ] = Format.NAMES,
) -> None:
    """Print the parameters of MODEL to freeze, in the form that a trainer needs."""
    from surgery.checkpoint.open import open_checkpoint
    from surgery.recipe import parse_selector
    from surgery.train.outline import load_outline
    from surgery.train.region import frozen_region

    parsed = [parse_selector(text) for text in selectors]
    with open_checkpoint(model, Remote.RANGES) as checkpoint:
        config = checkpoint.info.config
    outline = load_outline(config)
    region = frozen_region(outline, parsed, inverse=train)
    for note in region.notes():
        stderr().print(note, soft_wrap=True)
    match form:
        case Format.NAMES:
            print(*region.frozen, sep="\n", end="\n" if region.frozen else "")
        case Format.REGEX:
            print(_regex(region))
        case Format.PEFT:
            print_json(_lora(outline, region))
        case Format.JSON:
            print_json(_record(outline, region))


def _regex(region: FrozenRegion) -> str:
    from surgery.train.export import as_regex

    return as_regex(region.frozen, region.trained)


def _lora(outline: ModelOutline, region: FrozenRegion) -> dict[str, Any]:
    from surgery.errors import PlanError
    from surgery.train.export import as_lora

    arguments = as_lora(outline, region)
    if not arguments:
        raise PlanError(
            "no linear layer learns outside the frozen region, so no layer remains for a LoRA "
            "adapter. Freeze less, or use --format names with a trainer of all weights."
        )
    return arguments


def _record(outline: ModelOutline, region: FrozenRegion) -> dict[str, Any]:
    from surgery.train.export import as_lora

    sizes = {names[0]: size for names, size in zip(outline.groups, outline.sizes, strict=True)}
    return {
        "frozen": list(region.frozen),
        "trained": list(region.trained),
        "tied": [list(names) for names in region.tied],
        "parameters": {
            "frozen": sum(sizes[name] for name in region.frozen),
            "trained": sum(sizes[name] for name in region.trained),
        },
        "regex": _regex(region),
        "peft": as_lora(outline, region) or None,
    }
