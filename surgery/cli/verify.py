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

_MOST_FAULTS = 20


def command(
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="Folder written by a merge, or a published merge org/name@revision.",
            show_default=False,
        ),
    ],
    model: Models = None,
    inputs: Annotated[
        bool,
        typer.Option(
            "--inputs/--no-inputs",
            help="Compare with the input models, or (--no-inputs) with the ledger alone.",
        ),
    ] = True,
    remote: RemoteOption = Remote.AUTO,
    json: Json = False,
) -> None:
    """Verify every tensor of a merge. Exits with 2 if any check fails."""
    from surgery.checkpoint.ledger import read_ledger
    from surgery.execute.published import find_merge
    from surgery.execute.verify import verify

    folder = find_merge(out)
    ledger = read_ledger(folder)
    bound = bindings(model)
    nbytes = sum(_nbytes(entry) for entry in ledger.tensors)
    total = nbytes * 2 if inputs else nbytes
    with ByteProgress(f"verifying {out}", total, quiet=json) as progress:
        tables = verify(folder, bound, inputs=inputs, remote=remote, progress=progress)
    if json:
        print_json(_record(out, tables))
    else:
        _print(out, tables)
    if not tables.ok:
        raise typer.Exit(2)


def _nbytes(entry: Any) -> int:
    count: int = entry.dtype.size
    for length in entry.shape:
        count *= length
    return count


def _record(out: str, verification: Verification) -> dict[str, Any]:
    return {
        "out": out,
        "ok": verification.ok,
        "tensors": verification.tensors,
        "copies": verification.copies,
        "recomputed": verification.recomputed,
        "files": verification.files,
        "inputs": verification.inputs,
        "faults": [{"where": fault.where, "what": fault.what} for fault in verification.faults],
    }


def _print(out: str, verification: Verification) -> None:
    from rich.text import Text

    from surgery.text import quantity

    console = stdout()
    for fault in verification.faults[:_MOST_FAULTS]:
        text = printable(f"{fault.where} {fault.what}").replace("\n", r"\n")
        line = Text.assemble(("fault ", "bold red"), text)
        console.print(line, soft_wrap=True)
    if len(verification.faults) > _MOST_FAULTS:
        console.print(f"... and {len(verification.faults) - _MOST_FAULTS:,} more; --json lists all")
    if not verification.ok:
        console.print(
            f"{out} failed verification: {quantity(len(verification.faults), 'fault')}",
            soft_wrap=True,
        )
        return
    console.print(
        f"{out} is intact: {quantity(verification.tensors, 'tensor')} and "
        f"{quantity(verification.files, 'file')} equal the ledger",
        soft_wrap=True,
    )
    if verification.inputs:
        console.print(
            f"  {verification.copies:,} bit-identical to their input tensor, "
            f"{verification.recomputed:,} recomputed with the same result"
        )
    else:
        console.print("  the input models were not checked")
