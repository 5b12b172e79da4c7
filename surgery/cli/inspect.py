"""`surgery inspect`: components, layers and sizes of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, stdout
from surgery.cli.options import Json
from surgery.text import layer_ranges

if TYPE_CHECKING:
    from rich.console import Console

    from surgery.arch.site import Architecture
    from surgery.checkpoint.source import CheckpointInfo


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Local folder, org/name@revision, or specimen:base, specimen:in, specimen:rl, ...",
            show_default=False,
        ),
    ],
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List every tensor with its site.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a checkpoint's components, layers, sizes and regions. Reads headers only."""
    from surgery.arch import resolve
    from surgery.checkpoint.open import open_checkpoint
    from surgery.report.record import inspect_record

    with open_checkpoint(model, Remote.RANGES) as checkpoint:
        info = checkpoint.info
    architecture = resolve(info.config, info.tensors)
    record = inspect_record(info, architecture)
    if json:
        print_json(record | ({"tensors": _tensors(info, architecture)} if tensors else {}))
        return
    console = stdout()
    _print_summary(console, record)
    if tensors:
        _print_tensors(console, info, architecture)


def _tensors(info: CheckpointInfo, architecture: Architecture) -> list[dict[str, Any]]:
    from surgery.report.record import site_record

    return [
        {
            "name": name,
            "site": site_record(architecture.sites[name]),
            "shape": list(header.shape),
            "dtype": header.dtype.value,
            "bytes": header.nbytes,
            "shard": header.shard,
            "formed": name in info.formed,
        }
        for name, header in info.tensors.items()
    ]


def _print_summary(console: Console, record: dict[str, Any]) -> None:
    from rich.text import Text

    from surgery.text import count_text, quantity, size_text

    parts = record["components"].values()
    nbytes = size_text(sum(part["bytes"] for part in parts))
    console.print(
        Text.assemble(
            (str(record["reference"]), "bold"),
            f"  {record['family']}, {count_text(sum(p['parameters'] for p in parts))} parameters, "
            f"{nbytes} in {quantity(len(record['shards']), 'file')}\n",
        )
    )
    _print_components(console, record)
    lines = [f"regions of {text}" for text in _regions(record)]
    if record["tied_head"]:
        has_head = "head" in record["components"]
        lines.append(
            "head tied to the embedding by the configuration, though the files hold both"
            if has_head
            else "head tied to the embedding: one tensor serves as both"
        )
    if record["revision"]:
        lines.append(f"revision {record['revision']}")
    lines.append(f"fingerprint {record['fingerprint']}")
    lines += [f"guessed: {sentence}" for sentence in record["guessed"]]
    console.print("\n" + "\n".join(lines), soft_wrap=True)


def _print_components(console: Console, record: dict[str, Any]) -> None:
    from rich.table import Table

    from surgery.text import count_text, size_text

    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    for column in ("component", "layers"):
        table.add_column(column)
    for column in ("tensors", "parameters", "bytes"):
        table.add_column(column, justify="right")
    table.add_column("dtype")
    for name, part in record["components"].items():
        layers = f"{part['layers']} (0-{part['layers'] - 1})" if part["layers"] else ""
        dtypes = ", ".join(part["dtypes"])
        cells = (f"{part['tensors']:,}", count_text(part["parameters"]), size_text(part["bytes"]))
        table.add_row(name, layers, *cells, dtypes)
    console.print(table)


def _regions(record: dict[str, Any]) -> list[str]:
    """Yield regions with inclusive layer numbers; empty regions are omitted."""
    return [
        f"{name}: "
        + ", ".join(
            f"{region} {layer_ranges(range(first, end))}"
            for region, (first, end) in part["regions"].items()
            if end > first
        )
        for name, part in record["components"].items()
        if part["regions"]
    ]


def _print_tensors(console: Console, info: CheckpointInfo, architecture: Architecture) -> None:
    """One tab-free line per tensor; never folded, so that it can be searched."""
    width = max(len(site.canonical) for site in architecture.sites.values())
    console.print()
    for name, header in info.tensors.items():
        canonical = architecture.sites[name].canonical
        shape = "x".join(map(str, header.shape)) or "scalar"
        console.print(f"{canonical:<{width}}  {header.dtype}  {shape:<14}  {name}", soft_wrap=True)
