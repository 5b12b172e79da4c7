"""Options of `eval`, `sweep` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
