"""`surgery probe`: where seeing and reasoning live."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgery.cli.console import plain_rows, print_json, stderr, stdout
from surgery.cli.options import (
    Batch,
    Data,
    Device,
    Dtype,
    GraderName,
    Json,
    Longest,
    Models,
    Quiet,
    Samples,
    Seed,
    StyleName,
    bindings,
)
from surgery.cli.process import quiet_libraries
from surgery.cli.progress import AnswerProgress
from surgery.errors import check_choice

if TYPE_CHECKING:
    from surgery.api.results import RunResult

app = typer.Typer(
    help="Locate vision and reasoning: ablate layers, swap images, follow attention.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


class LayerPart(StrEnum):
    """The part of a layer that is disabled."""

    LAYER = "layer"
    ATTENTION = "attention"
    MLP = "mlp"


class ScoreBy(StrEnum):
    """The measure of a layer's importance."""

    ACCURACY = "accuracy"
    METRIC = "metric"
    LOGPROB = "logprob"


class Boxes(StrEnum):
    """The scale on which boxes of responses are compared."""

    PIXELS = "pixels"
    RESIZED = "resized"
    GRID = "grid-1000"
    GRID_YX = "grid-1000-yx"
    UNIT = "unit"


class Swap(StrEnum):
    """The layers that read the source image."""

    FROM = "from"
    ONLY = "only"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder, org/name@revision, specimen:STAGE, recipe file or bundled recipe.",
        show_default=False,
    ),
]
SeveralModels = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Models or recipes, compared with the first; NAME=... sets a name.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="Run folder; run the same command again to resume."),
]
OneSuite = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Suite name, or YAML file of a custom suite (required)."),
]
Layers = Annotated[
    str,
    typer.Option(metavar="SPAN", help="Decoder layers, as in a selector: 0:9, early, '3, 5'."),
]
Sequential = Annotated[
    bool,
    typer.Option(
        "--sequential",
        help="Run one question and one layer at a time: slow; validates the batched results.",
    ),
]


@app.command("ablation")
def ablation(
    model: Model,
    *,
    suite: OneSuite = None,
    out: Out,
    samples: Samples = None,
    seed: Seed = 123,
    branches: Annotated[
        list[LayerPart] | None,
        typer.Option(
            "--what",help="Ablated part: the layer, or one branch; repeatable.",
                     show_default="layer"),
    ] = None,
    score: Annotated[
        ScoreBy,
        typer.Option(
            help="Measure: accuracy, the suite's metric, or log-probability of right answers "
            "(fastest)."
        ),
    ] = ScoreBy.ACCURACY,
    layers: Layers = ":",
    data: Data = None,
    bound: Models = None,
    style: StyleName = "plain",
    grader: GraderName = "strict",
    max_new_tokens: Longest = None,
    sequential: Sequential = False,
    batch: Batch = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Ablate each layer in turn and measure the drop in score per task.

    All layers run in one batch, with a row per layer; rows are computed once while they are equal.
    """
    from eval import run_probe
    from eval.grading.grade import GRADERS

    check_choice("--grader", grader, GRADERS)
    _check_suite(suite)
    quiet_libraries()
    with AnswerProgress(quiet=quiet or json, among=None) as progress:
        run = run_probe(
            "ablation", [model], suite=suite[0] if suite else None, out=out, layers=layers,
            samples=samples, seed=seed, data=bindings(data), bindings=bindings(bound),
            branches=branches or [LayerPart.LAYER], score_by=score, style=style, grader=grader,
            max_new_tokens=max_new_tokens, sequential=sequential, batch_size=batch, device=device,
            dtype=dtype, progress=progress,
        )  # fmt: skip
    _finish(run, out, json=json, quiet=quiet)


@app.command("vision-swap")
def vision_swap(
    model: Model,
    *,
    pairs: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Folder of image pairs (eval/probes/README.md has the format), or 'specimen'.",
        ),
    ],
    out: Out,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pairs per task; all pairs of FOLDER, or the specimen's 100, by default.",
        ),
    ] = None,
    seed: Seed = 123,
    mode: Annotated[
        Swap, typer.Option(help="Swap from a layer on, or at that layer only.")
    ] = Swap.FROM,
    layers: Layers = ":",
    boxes: Annotated[
        Boxes | None,
        typer.Option(
            help="Coordinate format of bounding boxes in responses.",
            show_default="that of the model family, else pixels",
        ),
    ] = None,
    bound: Models = None,
    style: StyleName = "plain",
    max_new_tokens: Longest = None,
    resize_source: Annotated[
        bool,
        typer.Option("--resize-source", help="Resize the source image to the target's size."),
    ] = False,
    sequential: Sequential = False,
    batch: Batch = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Swap the image in a layer's KV cache and count the answers that follow it.

    Keys and values of image tokens come from a source image during prefill only.
    """
    from eval import run_probe

    quiet_libraries()
    with AnswerProgress(quiet=quiet or json, among=None) as progress:
        run = run_probe(
            "vision-swap", [model], pairs=pairs, out=out, layers=layers, samples=samples,
            seed=seed, bindings=bindings(bound), mode=mode, boxes=boxes,
            resize_source=resize_source, style=style, max_new_tokens=max_new_tokens,
            sequential=sequential, batch_size=batch, device=device, dtype=dtype, progress=progress,
        )  # fmt: skip
    _finish(run, out, json=json, quiet=quiet)


@app.command("attention")
def attention(
    models: SeveralModels,
    *,
    suite: OneSuite = None,
    out: Out,
    samples: Samples = None,
    seed: Seed = 123,
    text: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Responses: each model's 'own', those of one model by name, or a JSON Lines "
"file."
        ),
    ] = "own",
    data: Data = None,
    bound: Models = None,
    style: StyleName = "plain",
    max_new_tokens: Longest = None,
    batch: Batch = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure attention to image, prompt, earlier response and first token."""
    from eval import run_probe
    from eval.probes.attention import MINUS
    from eval.probes.run import OWN_TEXTS
    from eval.variants import named

    _check_suite(suite)
    variants = named(models, bindings(bound))
    for name in (variant.name for variant in variants):
        if name == OWN_TEXTS or MINUS in name:
            raise typer.BadParameter(
                f"{name!r} is a reserved name. Rename the model: NAME=MODEL.",
                param_hint="MODEL",
            )
    quiet_libraries()
    with AnswerProgress(quiet=quiet or json, among=None) as progress:
        run = run_probe(
            "attention", variants, suite=suite[0] if suite else None, out=out, text=text,
            samples=samples, seed=seed, data=bindings(data), style=style,
            max_new_tokens=max_new_tokens, batch_size=batch, device=device, dtype=dtype,
            progress=progress,
        )  # fmt: skip
    _finish(run, out, json=json, quiet=quiet)


def _check_suite(names: list[str] | None) -> None:
    """Check that exactly one suite is named.

    Raises:
        typer.BadParameter: No suite, or several.
    """
    if not names:
        raise typer.BadParameter("required: name a suite, such as specimen.", param_hint="--suite")
    if len(names) > 1:
        raise typer.BadParameter(
            "a probe takes one suite. Run it once per suite, each with its own --out.",
            param_hint="--suite",
        )


def _finish(run: RunResult, out: Path, *, json: bool, quiet: bool) -> None:
    """Print what a probe returned."""
    from surgery.report.probes.terminal import bars

    for note in () if quiet else run.summary["notes"]:
        stderr().print(note, soft_wrap=True, markup=False)
    if json:
        print_json(plain_rows(run.layers))
        return
    if quiet:
        return
    console = stdout()
    for part in bars(run, ascii_only=console.options.ascii_only, width=console.width):
        console.print(part)
    files = [f"{name}.png" for name in run.figures if (out / f"{name}.png").is_file()]
    panels = ", ".join(files)
    console.print(f"layers.csv, records.jsonl, run.json and {panels} are in {out}")
