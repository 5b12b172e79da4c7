"""`surgery train`: supervised training and reinforcement with regions held still."""

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
    help="Train a checkpoint with regions held still, and prove that they were.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigFile = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="The training's YAML.", show_default=False),
]
Out = Annotated[
    Path,
    typer.Option("--out", metavar="RUN", help="Folder of the run; run again to go on."),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="REF", help="Start here, not at the file's model.")
]
Freeze = Annotated[
    list[str] | None,
    typer.Option("--freeze", metavar="SELECTOR", help="Hold this still, not what the file says."),
]
Seed = Annotated[
    int | None, typer.Option(min=0, metavar="S", help="The run's seed, not the file's.")
]
Steps = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Optimizer steps, not the file's.")
]
RewardNames = Annotated[
    list[str] | None,
    typer.Option(
        "--reward", metavar="NAME[=WEIGHT]", help="Reward this, not what the file says; repeatable."
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
    """Train on demonstrations: the assistant's turns of your samples."""
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
    """Reinforce by rewards: several responses to each prompt, compared with each other."""
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
    given = {"model": model, "freeze": freeze, "seed": seed, "steps": steps}
    return {key: value for key, value in given.items() if value is not None}


def _weights(given: list[str]) -> dict[str, float]:
    """`NAME=WEIGHT` texts to weights by name; 1 where none is given."""
    found = {}
    for text in given:
        name, _, weight = text.partition("=")
        try:
            found[name] = float(weight or 1)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is not NAME or NAME=WEIGHT. Example: --reward length=0.5",
                param_hint="--reward",
            ) from None
    return found


def _quiet_libraries() -> None:
    import datasets

    quiet_libraries()
    datasets.disable_progress_bars()


class _Lines:
    """A line on stderr every ten seconds, and at the last step."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._said = 0.0

    def __call__(self, row: Mapping[str, str], steps: int) -> None:
        step = int(row["step"])
        if self._quiet or (time.monotonic() - self._said < 10 and step < steps):
            return
        self._said = time.monotonic()
        told = [
            f"{name} {float(row[name]):.3g}"
            for name in ("loss", "reward", "length", "kl", "token_accuracy")
            if row.get(name)
        ]
        stderr().print(f"step {step} of {steps}: {', '.join(told)}", soft_wrap=True)


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
    for names, told in (
        (trained.unmoved, "could learn and did not change"),
        (trained.rounded, "could learn and are what they were as far as their element type tells"),
        (trained.left_out, "are no part of the model in memory, and not of the result"),
    ):
        if names:
            stderr().print(
                f"{quantity(len(names), 'tensor')} {told}: {first_names(names)}", soft_wrap=True
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
        kept = len(trained.region.frozen)
        stdout().print(
            f"{trained.folder}: {quantity(len(trained.region.trained), 'parameter')} trained in "
            f"{duration_text(trained.seconds)}, {quantity(kept, 'parameter')} frozen and bit for "
            f"bit what they were",
            soft_wrap=True,
        )
        stdout().print(f"log and curves: {out / 'log.csv'}, {out / 'curves.png'}", soft_wrap=True)
