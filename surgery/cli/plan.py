"""`surgery plan`: what a recipe would do, as a picture or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import plain_console, print_json, stdout
from surgery.cli.options import (
    Json,
    Models,
    RecipeArgument,
    RemoteOption,
    bindings,
    load_plan,
)
from surgery.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from surgery.checkpoint.source import Fetch
    from surgery.plan import Plan

_SVG_WIDTH = 100
_DRAWN = b'<svg class="rich-terminal"'


def command(
    recipe: RecipeArgument,
    model: Models = None,
    remote: RemoteOption = Remote.AUTO,
    json: Json = False,
    out_svg: Annotated[
        Path | None,
        typer.Option("--out-svg", metavar="FILE", help="Also write the picture as an SVG file."),
    ] = None,
) -> None:
    """Show what a recipe would do, layer by layer. Reads headers only, writes nothing."""
    made, memory, fetched = _plan(recipe, bindings(model), remote)
    if json:
        from surgery.report.record import plan_record

        print_json(plan_record(made, memory, fetched))
        if out_svg is None:
            return
    from surgery.report.overview import overview

    if not json:
        stdout().print(overview(made, memory, fetched))
    if out_svg is not None:
        write_svg(overview(made, memory, fetched), out_svg, title=f"surgery plan {recipe}")


def _plan(
    recipe: str, models: dict[str, str], remote: Remote
) -> tuple[Plan, int, dict[str, Fetch]]:
    from surgery.execute.fetch import fetches
    from surgery.execute.work import default_workers
    from surgery.plan.memory import projected_memory
    from surgery.recipe import load_recipe, opened

    loaded = load_recipe(recipe, models=models)
    with opened(loaded, remote) as checkpoints:
        made = load_plan(loaded, checkpoints)
        fetched = fetches(made, checkpoints)
    return made, projected_memory(made, default_workers()), fetched


def write_svg(drawing: RenderableType, path: Path, title: str) -> None:
    """Draw into an SVG file that looks like a terminal window.

    Raises:
        ExecutionError: If the file cannot be written, or is another than such a picture.
    """
    import io

    from surgery.checkpoint.sibling import put
    from surgery.errors import ExecutionError

    console = plain_console(
        record=True, width=_SVG_WIDTH, file=io.StringIO(), force_terminal=True,
        color_system="truecolor",
    )  # fmt: skip
    console.print(drawing)
    # rich numbers its CSS classes by content; a fixed id keeps the file the same every time.
    svg = console.export_svg(title=one_line(title), unique_id="plan")
    if path.is_file() and not path.read_bytes().startswith(_DRAWN):
        raise ExecutionError(f"{path} is no picture of a plan, and is not replaced. Name another.")
    put(path, lambda draft: draft.write_text(svg, encoding="utf-8"))
