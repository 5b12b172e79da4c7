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
    help="Find where seeing and reasoning live: switch layers off, swap images, follow attention.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


class What(StrEnum):
    """What of a layer is switched off."""

    LAYER = "layer"
    ATTENTION = "attention"
    MLP = "mlp"


class ScoreBy(StrEnum):
    """How a layer's absence is judged."""

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
    """Which layers read the source's image."""

    FROM = "from"
    ONLY = "only"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A folder, org/name@revision, specimen:STAGE, a recipe file or a bundled recipe.",
        show_default=False,
    ),
]
SeveralModels = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Models or recipes; all are compared with the first. NAME=... gives another name.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go; run again to "
                                   "go on.")]  # fmt: skip
OneSuite = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A suite's name, or a YAML of your own. Required, and one."),
]
Layers = Annotated[
    str,
    typer.Option(
        metavar="SPAN", help="Which decoder layers, as in a selector: 0:9, early, '3, 5'."
    ),
]
Sequential = Annotated[
    bool,
    typer.Option(
        "--sequential", help="One question and one layer at a time: slow, and what all must equal."
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
    what: Annotated[
        list[What] | None,
        typer.Option(help="What is switched off: the layer, or one branch; repeatable.",
                     show_default="layer"),
    ] = None,
    score: Annotated[
        ScoreBy,
        typer.Option(
            help="By accuracy; by the suite's own metrics; or by the log-probability of right "
            "answers, which generates nothing and is several times faster."
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
    """Switch off every layer in turn, and see which tasks need it.

    All layers go through one batch: a row per layer, computed once for as long as rows are equal.
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
            branches=what or [What.LAYER], score_by=score, style=style, grader=grader,
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
            metavar="FOLDER", help="Pairs of images with one question; or 'specimen', which draws "
            "them. The folder's format is told in eval/README.md."
        ),
    ],
    out: Out,
    samples: Samples = None,
    seed: Seed = 123,
    mode: Annotated[
        Swap, typer.Option(help="Whether the image is the source's from a layer on, or only there.")
    ] = Swap.FROM,
    layers: Layers = ":",
    boxes: Annotated[
        Boxes | None,
        typer.Option(
            help="Scale of the boxes in responses: pixels of the image, pixels of the image as the "
            "processor resizes it, thousandths (yx: y first), or parts of one.",
            show_default="the family's own",
        ),
    ] = None,
    bound: Models = None,
    style: StyleName = "plain",
    max_new_tokens: Longest = None,
    resize_source: Annotated[
        bool,
        typer.Option("--resize-source", help="Bring the source image to the target's size first."),
    ] = False,
    sequential: Sequential = False,
    batch: Batch = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Let a layer read another image, and see whose answer comes out.

    The image tokens' keys and values are the source's during prefill; nothing else is changed.
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
            metavar="WHOSE", help="Over which responses: each model's 'own', those of one model by "
            "its name, or a jsonl file with task, sample and text."
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
    """Follow attention from the response to image, prompt, earlier response and first token."""
    from eval import run_probe
    from eval.probes.attention import MINUS
    from eval.probes.run import OWN
    from eval.variants import named

    _check_suite(suite)
    variants = named(models, bindings(bound))
    for name in (variant.name for variant in variants):
        if name == OWN or MINUS in name:
            raise typer.BadParameter(
                f"{name!r} would be taken for something else. Name it otherwise: NAME=MODEL.",
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
    """Refuse no suite, and more than one.

    Raises:
        typer.BadParameter: Says what is needed.
    """
    if not names:
        raise typer.BadParameter("needed: name a suite, such as specimen.", param_hint="--suite")
    if len(names) > 1:
        raise typer.BadParameter(
            "one at a time: a suite's tasks are taken together. Give each its own --out.",
            param_hint="--suite",
        )


def _finish(found: RunResult, out: Path, *, json: bool, quiet: bool) -> None:
    """Print what a probe returned."""
    from surgery.report.probes.terminal import bars

    for note in () if quiet else found.summary["notes"]:
        stderr().print(note, soft_wrap=True, markup=False)
    if json:
        print_json(plain_rows(found.layers))
        return
    if quiet:
        return
    console = stdout()
    for part in bars(found, ascii_only=console.options.ascii_only, width=console.width):
        console.print(part)
    files = [f"{name}.png" for name in found.figures if (out / f"{name}.png").is_file()]
    drawn = ", ".join(files)
    console.print(f"layers.csv, records.jsonl, run.json and {drawn} are in {out}")
