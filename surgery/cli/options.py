"""Arguments and options that several commands take, and what they turn into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgery.checkpoint.source import Remote

if TYPE_CHECKING:
    from eval.endpoint import Endpoint

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


# Of eval, sweep, compare and probe.
Given = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL_OR_RECIPE...",
        help="Folders, org/name@revision, specimen:STAGE, recipe files or names of bundled "
        "recipes; NAME=... gives one another name.",
        show_default=False,
    ),
]
SuiteNames = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A suite's name, or a YAML of your own; repeatable."),
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Samples per task; the suite's own number by default."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="S", help="Which samples are drawn.")]
Data = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=DIR", help="A local folder of a benchmark, instead of the Hub."),
]
Against = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Compare all with this one; the first by default."),
]
GainFrom = Annotated[
    str | None, typer.Option(metavar="NAME", help="Where a gain starts, for recovery.")
]
GainTo = Annotated[
    str | None, typer.Option(metavar="NAME", help="Where a gain ends, for recovery.")
]
StyleName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Prompt style: plain, think-answer, think-boxed, paper-base, paper-reasoner, "
        "paper-revisual, paper-api, template, or a YAML of your own.",
    ),
]
GraderName = Annotated[
    str, typer.Option(metavar="NAME", help="How answers are read: strict or paper.")
]
Longest = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Longest answer; the suite's own limit if absent."),
]
Temperature = Annotated[
    float, typer.Option(min=0.0, metavar="T", help="0 is greedy; above 0 samples.")
]
Repeats = Annotated[
    int, typer.Option(min=1, metavar="K", help="Answers per question when sampling.")
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Ask an OpenAI-compatible server; MODELs are its models' names."
    ),
]
Concurrency = Annotated[
    int, typer.Option(min=1, metavar="N", help="Questions to the server at once.")
]
PowerFor = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        max=1.0,
        metavar="D",
        help="Say how many samples show a difference of D (0.03 is 3 points), and stop.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="RUN", help="Folder of the run; run again to go on."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key-variable",
        metavar="NAME",
        help="Environment variable that holds the key of the endpoints; no key is sent without it.",
        show_default=False,
    ),
]
Judged = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL@URL",
        help="A model at an OpenAI-compatible endpoint that reads every response, too; reported "
        "beside the rule.",
    ),
]
Describe = Annotated[
    str | None,
    typer.Option(
        "--describe",
        metavar="MODEL@URL",
        help="A model at an OpenAI-compatible endpoint that describes images which have no "
        "description; cached in RUN.",
    ),
]
Descriptions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Descriptions of images, one JSON object per line."),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        metavar="N",
        help="Models in memory at once, each in a process of its own. On a CPU as many as there "
        "are processors and memory for; 1 with CUDA.",
        show_default=False,
    ),
]
Batch = Annotated[
    int, typer.Option("--batch", min=1, metavar="N", help="Most questions answered at once.")
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Where models answer: auto, cpu, cuda.")
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        help="Element type models compute in; auto is float32 on a CPU and bfloat16 with CUDA.",
    ),
]


def bindings(given: list[str] | None) -> dict[str, str]:
    """Return the references of `NAME=REF` texts by name.

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


def parse_endpoint(text: str, option: str, key: str | None) -> Endpoint:
    """Return the endpoint that an option's `MODEL@URL` means.

    Raises:
        typer.BadParameter: If it is not of that form.
    """
    from eval.endpoint import Endpoint

    name, at, url = text.partition("@http")
    if not (name and at):
        raise typer.BadParameter(
            f"{text!r} is not MODEL@URL. Example: {option} qwen3@http://localhost:8000/v1",
            param_hint=option,
        )
    return Endpoint(base_url="http" + url, model=name, key_variable=key)
