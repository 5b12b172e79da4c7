"""`surgery train`: SFT and GRPO with frozen regions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.cli.console import print_json, stderr, stdout
from surgery.cli.options import Json, Quiet
from surgery.cli.process import quiet_libraries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.train.run import Trained

app = typer.Typer(
    help="Train a checkpoint with frozen regions, and verify that they did not change.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="YAML configuration; surgery/train/README.md lists its keys.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", metavar="RUN", help="Run folder; run the same command again to resume."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="REF", help="Initial model, instead of the configuration's."),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        metavar="SELECTOR",
        help="Frozen selector, instead of the configuration's; repeatable.",
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, metavar="S", help="Seed, instead of the configuration's.")
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Optimizer steps, instead of the configuration's."),
]
RewardNames = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        metavar="NAME[=WEIGHT]",
        help="Reward, instead of the configuration's; repeatable.",
    ),
]


@app.command("sft")
def sft(
    config: ConfigFile,
    *,
    out: Out,
    model: Model = None,
    freeze: Freeze = None,
    seed: Seed = None,
    steps: Steps = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on demonstrations (SFT): the assistant turns of the samples."""
    from eval.training import train_on_demonstrations

    _quiet_libraries()
    changes = _changes(model, freeze, seed, steps)
    trained = train_on_demonstrations(config, out, progress=_Lines(quiet or json), **changes)
    _finish(trained, out, json=json, quiet=quiet)


@app.command("grpo")
def grpo(
    config: ConfigFile,
    *,
    out: Out,
    model: Model = None,
    freeze: Freeze = None,
    seed: Seed = None,
    steps: Steps = None,
    reward: RewardNames = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train with rewards (GRPO): several responses to each prompt, compared with each other."""
    from eval.training import train_on_rewards

    _quiet_libraries()
    changes = _changes(model, freeze, seed, steps)
    if reward:
        changes["rewards"] = _weights(reward)
    trained = train_on_rewards(config, out, progress=_Lines(quiet or json), **changes)
    _finish(trained, out, json=json, quiet=quiet)


def _changes(
    model: str | None, freeze: list[str] | None, seed: int | None, steps: int | None
) -> dict[str, Any]:
    options = {"model": model, "freeze": freeze, "seed": seed, "steps": steps}
    return {key: value for key, value in options.items() if value is not None}


def _weights(texts: list[str]) -> dict[str, float]:
    """`NAME=WEIGHT` texts to weights by name; 1 where none is given."""
    weights = {}
    for text in texts:
        name, _, weight = text.partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is not NAME or NAME=WEIGHT. Example: --reward length=0.5",
                param_hint="--reward",
            ) from None
    return weights


def _quiet_libraries() -> None:
    import datasets

    quiet_libraries()
    datasets.disable_progress_bars()


class _Lines:
    """A line on stderr every ten seconds, and at the last step."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._reported_at = 0.0

    def __call__(self, row: Mapping[str, str], steps: int) -> None:
        step = int(row["step"])
        if self._quiet or (time.monotonic() - self._reported_at < 10 and step < steps):
            return
        self._reported_at = time.monotonic()
        lines = [
            f"{name} {float(row[name]):.3g}"
            for name in ("loss", "reward", "length", "kl", "token_accuracy")
            if row.get(name)
        ]
        stderr().print(f"step {step} of {steps}: {', '.join(lines)}", soft_wrap=True)


def _finish(trained: Trained, out: Path, *, json: bool, quiet: bool) -> None:
    from surgery.report.figures import write_figures
    from surgery.runs import RunKind, read_run
    from surgery.text import duration_text, first_names, quantity
    from surgery.train.folder import is_first

    if not is_first():
        return
    write_figures(read_run(out, RunKind.TRAINING), out)
    for note in trained.region.notes():
        stderr().print(note, soft_wrap=True)
    for names, line in (
        (trained.unmoved, "were trained and did not change"),
        (trained.rounded, "were trained, but their change is too small for their element type"),
        (trained.left_out, "are not part of the loaded model and are missing from the result"),
    ):
        if names:
            stderr().print(
                f"{quantity(len(names), 'tensor')} {line}: {first_names(names)}", soft_wrap=True
            )
    if json:
        print_json(
            {
                "model": str(trained.folder),
                "frozen": list(trained.region.frozen),
                "trained": list(trained.region.trained),
                "unmoved": list(trained.unmoved),
                "rounded": list(trained.rounded),
                "left_out": list(trained.left_out),
                "resumed_from_step": trained.resumed,
                "seconds": round(trained.seconds, 3),
            }
        )
    elif not quiet:
        frozen = len(trained.region.frozen)
        stdout().print(
            f"{trained.folder}: {quantity(len(trained.region.trained), 'parameter')} trained in "
            f"{duration_text(trained.seconds)}, {quantity(frozen, 'parameter')} frozen and "
            f"unchanged, bit for bit",
            soft_wrap=True,
        )
        stdout().print(f"log and curves: {out / 'log.csv'}, {out / 'curves.png'}", soft_wrap=True)
