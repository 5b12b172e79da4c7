"""`surgery verify`: prove a merged folder against its ledger and its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, stdout
from surgery.cli.options import Json, Models, RemoteOption, bindings
from surgery.cli.progress import ByteProgress
from surgery.text import printable

if TYPE_CHECKING:
    from surgery.execute.verify import Verification

_SHOWN = 20


def command(
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="A folder that a merge wrote, or a published one: org/name@revision.",
            show_default=False,
        ),
    ],
    model: Models = None,
    inputs: Annotated[
        bool,
        typer.Option(
            "--inputs/--no-inputs",
            help="Prove tensors against the models they came from, or the folder alone.",
        ),
    ] = True,
    remote: RemoteOption = Remote.AUTO,
    json: Json = False,
) -> None:
    """Prove every tensor of a merge. Exits with 2 if anything does not hold."""
    from surgery.checkpoint.ledger import read_ledger
    from surgery.execute.published import find_merge
    from surgery.execute.verify import verify

    folder = find_merge(out)
    ledger = read_ledger(folder)
    bound = bindings(model)
    nbytes = sum(_nbytes(entry) for entry in ledger.tensors)
    total = nbytes * 2 if inputs else nbytes
    with ByteProgress(f"verifying {out}", total, quiet=json) as progress:
        found = verify(folder, bound, inputs=inputs, remote=remote, progress=progress)
    if json:
        print_json(_record(out, found))
    else:
        _print(out, found)
    if not found.ok:
        raise typer.Exit(2)


def _nbytes(entry: Any) -> int:
    count: int = entry.dtype.size
    for length in entry.shape:
        count *= length
    return count


def _record(out: str, found: Verification) -> dict[str, Any]:
    return {
        "out": out,
        "ok": found.ok,
        "tensors": found.tensors,
        "copies": found.copies,
        "recomputed": found.recomputed,
        "files": found.files,
        "inputs": found.inputs,
        "faults": [{"where": fault.where, "what": fault.what} for fault in found.faults],
    }


def _print(out: str, found: Verification) -> None:
    from rich.text import Text

    from surgery.text import quantity

    console = stdout()
    for fault in found.faults[:_SHOWN]:
        text = printable(f"{fault.where} {fault.what}").replace("\n", r"\n")
        line = Text.assemble(("fault ", "bold red"), text)
        console.print(line, soft_wrap=True)
    if len(found.faults) > _SHOWN:
        console.print(f"... and {len(found.faults) - _SHOWN:,} more; --json lists all")
    if not found.ok:
        console.print(
            f"{out} does not hold: {quantity(len(found.faults), 'fault')}", soft_wrap=True
        )
        return
    console.print(
        f"{out} holds: {quantity(found.tensors, 'tensor')} and {quantity(found.files, 'file')} as "
        f"the ledger says",
        soft_wrap=True,
    )
    if found.inputs:
        console.print(
            f"  {found.copies:,} bit-identical to the input tensor they came from, "
            f"{found.recomputed:,} computed again with the same result"
        )
    else:
        console.print("  the models it was made from were not looked at")
