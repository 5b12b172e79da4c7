"""`surgery stats`: statistics of weight updates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, show_warning, stderr, stdout
from surgery.cli.options import Json, Quiet, RemoteOption, Workers, bindings
from surgery.cli.progress import ByteProgress
from surgery.stats.options import SpectrumKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.arch.site import Component
    from surgery.runs import RunTables
    from surgery.stats.options import Options
    from surgery.stats.study import Study

Base = Annotated[
    str | None, typer.Option("--base", metavar="REF", help="Checkpoint before training.")
]
In = Annotated[
    str | None,
    typer.Option("--in", metavar="REF", help="Checkpoint after the supervised cold start."),
]
Rl = Annotated[
    str | None, typer.Option("--rl", metavar="REF", help="Checkpoint after reinforcement learning.")
]
Named = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME=REF",
        help="Checkpoint with another name; two or three in all, in the order of training.",
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="Run folder; run the same command again to resume."),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--pair",
        metavar="A..B",
        help="Pair to compare, repeatable; neighbors, and first with last, by default.",
    ),
]
Select = Annotated[
    str | None,
    typer.Option(
        "--select", metavar="SELECTOR", help="Tensors to measure, as a recipe's selector."
    ),
]
CutsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cuts",
        metavar="A,B",
        help="First layers of mid and late instead of thirds: 8,20 for language, or vision=8,20.",
    ),
]
Spectrum = Annotated[
    SpectrumKind,
    typer.Option(
        help="Singular values: none, top (the largest, fast) or full (exact, slow for "
        "large models)."
    ),
]
Top = Annotated[
    int,
    typer.Option(min=1, max=65536, metavar="K", help="Number of leading singular values."),
]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=1e6,
        metavar="GB",
        help="Memory budget for spectra; enough for the largest matrix by default.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Device of spectra: auto, cpu or cuda.")
]
Svg = Annotated[bool, typer.Option("--svg", help="Also write figures as SVG.")]


def command(
    *,
    base: Base = None,
    in_: In = None,
    rl: Rl = None,
    model: Named = None,
    out: Out,
    pair: Pairs = None,
    select: Select = None,
    cuts: CutsOption = None,
    spectrum: Spectrum = SpectrumKind.TOP,
    top: Top = 64,
    workers: Workers = None,
    memory: Memory = None,
    device: Device = "auto",
    remote: RemoteOption = Remote.AUTO,
    svg: Svg = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure weight updates by layer: norms, angles, sparsity, spectra.

    Reads two or three checkpoints (a folder, org/name@revision or specimen:STAGE) side by side,
    once, in bounded memory. Writes tables and figures into DIR. Run the same command to resume.
    """
    from surgery.stats.options import Options

    references = bindings([*_named(base, in_, rl), *(model or ())])
    options = Options(
        selector=_selector(select),
        pairs=tuple(pair or ()),
        spectrum=spectrum,
        top=top,
        cuts=_cuts(cuts),
        workers=workers,
        memory=None if memory is None else round(memory * 1e9),
        device=device,
    )
    stats, files, (seconds, nbytes) = _measure(
        references, options, out, remote, svg=svg, quiet=quiet or json
    )
    if json:
        print_json({**stats.summary, "out": str(out), "files": [path.name for path in files]})
    elif not quiet:
        _print(stats, out, seconds, nbytes)


def _named(base: str | None, in_: str | None, rl: str | None) -> list[str]:
    stages = {"base": base, "in": in_, "rl": rl}
    return [f"{name}={reference}" for name, reference in stages.items() if reference is not None]


def _selector(text: str | None) -> Any:
    from surgery.recipe import parse_selector

    return None if text is None else parse_selector(text)


def _cuts(texts: list[str] | None) -> dict[Component, tuple[int, int]]:
    """`8,20` and `vision=8,20`.

    Raises:
        typer.BadParameter: If one is of another form.
    """
    from surgery.arch import Component
    from surgery.errors import did_you_mean

    names = [component.value for component in Component]
    cuts: dict[Component, tuple[int, int]] = {}
    for text in texts or ():
        name, _, numbers = text.rpartition("=")
        name = name.strip() or Component.LANGUAGE
        if name not in names:
            raise typer.BadParameter(
                f"{text!r}: no component {name!r}.{did_you_mean(name, names)}",
                param_hint="--cuts",
            )
        first, _, second = (part.strip() for part in numbers.partition(","))
        if not (first.isdecimal() and second.isdecimal()):
            raise typer.BadParameter(
                f"{text!r} is not A,B, the first layer of mid and of late; for example 8,20.",
                param_hint="--cuts",
            )
        cuts[Component(name)] = (int(first), int(second))
    return cuts


def _measure(
    models: dict[str, str], options: Options, out: Path, remote: Remote, *, svg: bool, quiet: bool
) -> tuple[RunTables, list[Path], tuple[float, int]]:
    """Measure with progress on stderr; return results, files, and the seconds and bytes it took."""
    from surgery.report.figures import write_figures
    from surgery.runs import write_run
    from surgery.stats import open_study

    with open_study(models, options, out, remote) as study:
        _say_what(study, quiet=quiet)
        todo = study.todo
        nbytes = sum(piece.nbytes for piece in todo)
        label = f"measuring {len(todo):,} tensors"
        with ByteProgress(label, nbytes, quiet=quiet or not todo) as progress:
            stats = study.run(progress)
        files = write_run(stats, out)
        files += write_figures(stats, out, formats=("png", "svg") if svg else ("png",))
    reason = "holds NaN or infinity; its metrics are empty and not pooled"
    for line in _some([f"{name} {reason}" for name in stats.summary["nonfinite"]]):
        show_warning(line)
    return stats, files, (progress.seconds, nbytes)


def _say_what(study: Study, *, quiet: bool) -> None:
    """Print on stderr what will be read and what is omitted."""
    from surgery.text import quantity, size_text

    for line in _some([f"not compared: {item}" for item in study.subject.alignment.unmatched]):
        show_warning(line)
    if quiet:
        return
    pieces = study.subject.pieces
    done = len(pieces) - len(study.todo)
    parts = [
        ", ".join(map(str, study.subject.pairs)),
        quantity(len(pieces), "tensor"),
        size_text(sum(piece.nbytes for piece in pieces)),
        *([f"{done:,} of them measured earlier"] if done else []),
    ]
    stderr().print("; ".join(parts), soft_wrap=True)


def _some(sentences: Sequence[str], most: int = 5) -> list[str]:
    """Yield the first few lines, and the number of the others."""
    more = len(sentences) - most
    return [*sentences[:most], *([f"{more:,} more, see run.json"] if more > 0 else [])]


def _print(stats: RunTables, out: Path, seconds: float, nbytes: int) -> None:
    from surgery.report.stats.terminal import bars
    from surgery.text import duration_text, size_text

    console = stdout()
    console.print(bars(stats))
    text = f"measured {size_text(nbytes)} in {duration_text(seconds)}; " if nbytes else ""
    console.print(f"{text}tables, figures and run.json are in {out}")
