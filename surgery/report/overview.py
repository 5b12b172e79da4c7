"""The printed form of a plan: picture, steps, tensor counts, memory and disk."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from surgery.checkpoint.source import Remote
from surgery.plan.wording import step_detail
from surgery.report.picture import picture
from surgery.text import quantity, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import RenderableType

    from surgery.checkpoint.source import Fetch
    from surgery.plan.model import Conservation, Plan


def overview(
    plan: Plan, memory: int, fetches: Mapping[str, Fetch] = MappingProxyType({})
) -> RenderableType:
    """Return a plan as `surgery plan` prints it.

    Args:
        plan: What to show.
        memory: Projected memory in bytes.
        fetches: What has to be fetched from the Hub, by the recipe's name of the model.

    Returns:
        A renderable that fits itself to the width it is given.
    """
    parts: list[RenderableType] = [title(plan), Text(), picture(plan), Text()]
    parts += [_head("steps"), _indented(steps(plan)), Text()]
    parts += [_head("every tensor of the models"), _indented(_fates(plan)), Text()]
    parts.append(needs(plan, memory))
    parts += [fetch_line(name, cost) for name, cost in fetches.items()]
    parts += [Text.assemble(("note ", "bold yellow"), note) for note in plan.notes]
    return Group(*parts)


def title(plan: Plan) -> Text:
    """Name and description."""
    text = Text(plan.recipe.name, "bold")
    if plan.recipe.description:
        text.append(f"  {plan.recipe.description.strip()}", "not bold")
    return text


def needs(plan: Plan, memory: int) -> Text:
    """Return the size, types and memory of the output."""
    dtypes = ", ".join(dict.fromkeys(op.dtype.torch_name for op in plan.ops))
    computed = sum(op.nbytes for op in plan.ops if not op.is_copy)
    moved = "all moved byte for byte"
    if computed:
        moved = f"{size_text(computed)} computed, the rest moved byte for byte"
    output = f"{size_text(plan.nbytes)} in {quantity(len(plan.shards), 'file')}, {dtypes}; {moved}"
    return Text.assemble(("output ", "bold"), f"{output}; memory at most {size_text(memory)}")


def fetch_line(name: str, cost: Fetch) -> Text:
    """Return the cost of fetching a model from the Hub, both ways, and which is taken."""
    ways = {
        Remote.RANGES: f"{size_text(cost.ranges)} by range in {quantity(cost.requests, 'request')}",
        Remote.CACHE: f"{size_text(cost.whole)} whole, into the Hub's cache",
    }
    text = f"{name}: {ways.pop(cost.way)}"
    other = next(iter(ways.values()))
    return Text.assemble(("fetch ", "bold"), f"{text} (instead of {other}); {cost.repo}")


def steps(plan: Plan) -> RenderableType:
    """Return the recipe's steps, with inclusive layer numbers."""
    if not plan.recipe.steps:
        return Text("none: the output is the base, rewritten")
    table = _grid("right", "left", "left", "left", "right", "right")
    for index, step in enumerate(plan.recipe.steps):
        ops = plan.ops_of(index)
        table.add_row(
            str(index + 1),
            step.kind,
            step.selector.describe(plan.architecture, plan.recipe.cuts),
            step_detail(step, plan.recipe.base),
            quantity(len(ops), "tensor"),
            size_text(sum(op.nbytes for op in ops)),
        )
    return table


def _fates(plan: Plan) -> RenderableType:
    table = _grid("left", "left")
    for name, fate in plan.conservation.items():
        table.add_row(name, ", ".join(_counts(fate)))
    return table


def _counts(fate: Conservation) -> Iterable[str]:
    """Return the numbers of used tensors and so on; zeros are omitted."""
    for word in ("used", "replaced", "unused"):
        names = getattr(fate, word)
        if names:
            yield f"{len(names):,} {word}"
    if fate.absent:
        yield f"{len(fate.absent):,} without a place in the output ({fate.absent[0]}, ...)"


def _grid(*justify: str) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for side in justify:
        table.add_column(justify=side, overflow="fold")  # type: ignore[arg-type]
    return table


def _head(text: str) -> Text:
    return Text(text, "bold")


def _indented(body: RenderableType) -> RenderableType:
    return Padding(body, (0, 0, 0, 2), expand=False)
