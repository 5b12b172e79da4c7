"""Arguments and options shared by several commands, and their parsing."""

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
        help="Recipe file, bundled recipe ('surgery recipe list'), or published merge "
        "hf://org/name.",
        show_default=False,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME=REF",
        help="Checkpoint of a recipe's model: folder, org/name@revision or "
        "specimen:STAGE; repeatable.",
    ),
]
RemoteOption = Annotated[
    Remote,
    typer.Option(
        "--remote",
        help="Fetch only the byte ranges in use, the whole model, or whichever is smaller.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of threads; one per processor by default.",
        show_default=False,
    ),
]


# Of eval, sweep, compare and probe.
Variants = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL_OR_RECIPE...",
        help="Folder, org/name@revision, specimen:STAGE or recipe; NAME=... sets its name.",
        show_default=False,
    ),
]
SuiteNames = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Suite name, or YAML file of a custom suite; repeatable."),
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Samples per task; the suite's own number by default."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="S", help="Seed of the selection of samples.")]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=DIR", help="Local folder of a benchmark, instead of the Hub; repeatable."
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Variant that all others are compared with; the first by default."
    ),
]
GainFrom = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Baseline of recovery, (variant - base) / (donor - base)."),
]
GainTo = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Donor of recovery, (variant - base) / (donor - base)."),
]
StyleName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Prompt style: plain, official, think-answer, think-boxed, template, paper-*, or a "
        "YAML file.",
    ),
]
GraderName = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Grading rules: strict, or paper for those of arXiv 2602.12395."
    ),
]
Longest = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Maximum tokens of a response; the suite's own limit by default."
    ),
]
Temperature = Annotated[
    float, typer.Option(min=0.0, metavar="T", help="Sampling temperature; 0 is greedy.")
]
Repeats = Annotated[
    int, typer.Option(min=1, metavar="K", help="Responses per question when sampling.")
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="OpenAI-compatible server to evaluate; MODELs are model names on it."
    ),
]
Concurrency = Annotated[
    int, typer.Option(min=1, metavar="N", help="Maximum number of concurrent requests.")
]
PowerFor = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        max=1.0,
        metavar="D",
        help="Print the samples needed to detect a difference of D (0.03 = 3 points), then exit.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="RUN", help="Run folder; run the same command again to resume."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key-variable",
        metavar="NAME",
        help="Environment variable with the API key of the endpoints; no key by default.",
        show_default=False,
    ),
]
Judged = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL@URL",
        help="LLM judge at an OpenAI-compatible endpoint; reported next to the rule-based grade.",
    ),
]
Describe = Annotated[
    str | None,
    typer.Option(
        "--describe",
        metavar="MODEL@URL",
        help="Model at an OpenAI-compatible endpoint that describes images; cached in RUN.",
    ),
]
Descriptions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Image descriptions, one JSON object per line."),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        metavar="N",
        help="Number of model processes; as many as processors and memory allow by "
        "default, 1 with CUDA.",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Maximum batch size.")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Device: auto, cpu or cuda.")]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        help="Computation type; auto is float32 on a CPU and bfloat16 with CUDA.",
    ),
]


def bindings(texts: list[str] | None) -> dict[str, str]:
    """Return the references of `NAME=REF` texts by name.

    Raises:
        typer.BadParameter: If one is not of that form, or names a model twice.
    """
    references: dict[str, str] = {}
    for text in texts or ():
        name, equals, reference = text.partition("=")
        if not (name.strip() and equals and reference.strip()):
            raise typer.BadParameter(
                f"{text!r} is not NAME=REF. Example: --model rl=OpenMMReasoner/OpenMMReasoner-RL",
                param_hint="--model",
            )
        if name.strip() in references:
            raise typer.BadParameter(
                f"model {name.strip()!r} is given twice: {references[name.strip()]!r} and "
                f"{reference.strip()!r}",
                param_hint="--model",
            )
        references[name.strip()] = reference.strip()
    return references


def parse_endpoint(text: str, option: str, key: str | None) -> Endpoint:
    """Return the endpoint that an option's `MODEL@URL` means.

    Raises:
        typer.BadParameter: If it is not of that form.
    """
    from eval.endpoint import Endpoint

    name, separator, url = text.partition("@http")
    if not (name and separator):
        raise typer.BadParameter(
            f"{text!r} is not MODEL@URL. Example: {option} qwen3@http://localhost:8000/v1",
            param_hint=option,
        )
    return Endpoint(base_url="http" + url, model=name, key_variable=key)
