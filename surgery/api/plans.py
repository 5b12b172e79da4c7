"""A plan as notebooks use it: show it, merge it, put it into a loaded model."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from surgery.checkpoint.progress import no_progress
from surgery.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.figure import Figure
    from pandas import DataFrame
    from rich.console import RenderableType
    from torch import nn

    from surgery.checkpoint.ledger import Ledger
    from surgery.checkpoint.progress import Progress
    from surgery.checkpoint.source import Checkpoint
    from surgery.execute.verify import Verification
    from surgery.plan import Plan
    from surgery.recipe import Recipe


@dataclass(frozen=True, repr=False)
class MergePlan:
    """A recipe worked out against the headers of its models; shows itself as a layer picture.

    Attributes:
        plan: The plan itself: operations, models, architectures.

    Example:
        >>> import surgery
        >>> plan = surgery.make_plan("specimen/in-rl-in")
        >>> plan.df["source"].unique().tolist()
        ['in', 'rl']
    """

    plan: Plan

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.plan.recipe

    @property
    def df(self) -> DataFrame:
        """One row per output tensor: its place, its origin and what is done."""
        from pandas import DataFrame

        return DataFrame(
            [
                {
                    "name": op.name,
                    "component": str(op.site.component),
                    "layer": op.site.layer,
                    "module": op.site.module,
                    "operation": op.method,
                    "source": op.source,
                    "step": None if op.step is None else op.step + 1,
                    "dtype": str(op.dtype.torch_name),
                    "bytes": op.nbytes,
                }
                for op in self.plan.ops
            ]
        ).astype({"layer": "Int64", "step": "Int64"})

    def merge(
        self,
        out: str | Path,
        *,
        workers: int | None = None,
        overwrite: bool = False,
        progress: Progress = no_progress,
    ) -> MergedModel:
        """Write the model that the plan describes; the folder appears complete or not at all.

        Args:
            out: The folder to make.
            workers: Threads; one per processor by default.
            overwrite: Whether a folder that an earlier merge wrote may be replaced.
            progress: Called with the output bytes as they are done, from several threads.

        Raises:
            SurgeryError: If the plan would fail or mislead, a model changed since the plan was
                made, or the disk fails.
        """
        from surgery.execute.run import execute

        with self._opened() as checkpoints:
            ledger = execute(
                self.plan, checkpoints, Path(out), workers=workers, overwrite=overwrite,
                progress=progress,
            )  # fmt: skip
        return MergedModel(Path(out), ledger)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[nn.Module]:
        """Turn a loaded transformers model of the base into the merge for a `with` block.

        The weights that were there before come back bit for bit. No other thread may use the
        model meanwhile.

        Args:
            model: A loaded model that holds the plan's base.

        Raises:
            SurgeryError: If the model is not of the base's architecture, or a checkpoint changed.
        """
        from surgery.live import transplanted

        with self._opened() as checkpoints, transplanted(model, self.plan, checkpoints) as changed:
            yield changed

    def plot(self) -> Figure:
        """Draw the layer picture as a matplotlib figure."""
        from surgery.report.layers import layers_figure

        return layers_figure(self.plan)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the recipe, the operations as CSV and the layer picture.

        Args:
            folder: Made where it does not exist.

        Raises:
            ExecutionError: If the folder cannot be written, or holds something else.
        """
        from surgery.api.saving import save_plan

        return save_plan(self.plan, self.df, Path(folder))

    def __repr__(self) -> str:
        from surgery.report.export import as_text

        return as_text(self._drawing())

    def _repr_html_(self) -> str:
        from surgery.report.export import as_html

        return as_html(self._drawing())

    def _drawing(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from surgery.execute.work import default_workers
        from surgery.plan.memory import projected_memory
        from surgery.report.overview import needs, title
        from surgery.report.picture import picture

        memory = projected_memory(self.plan, default_workers())
        return Group(title(self.plan), Text(), picture(self.plan), Text(), needs(self.plan, memory))

    @contextmanager
    def _opened(self) -> Iterator[Mapping[str, Checkpoint]]:
        """Open the models as they were when the plan was made.

        Raises:
            PlanError: If one of them is another now.
        """
        from surgery.plan import make_plan as work_out
        from surgery.recipe import opened
        from surgery.recipe.models import pinned

        revisions = {name: info.revision for name, info in self.plan.models.items()}
        with opened(pinned(self.recipe, revisions)) as checkpoints:
            now = work_out(self.recipe, checkpoints)
            if now.ops != self.plan.ops:
                raise PlanError(
                    f"the models of {self.recipe.name!r} changed since the plan was made: their "
                    "headers lead to other operations. Call make_plan again."
                )
            yield checkpoints


@dataclass(frozen=True)
class MergedModel:
    """A merge on disk.

    Attributes:
        path: Its folder, which any library loads as a checkpoint.
        ledger: The record of the merge, as in the folder's `surgery.json`.

    Example:
        >>> import surgery
        >>> merged = surgery.merge("specimen/in-rl-in", out / "in-rl-in")
        >>> merged.verify().ok
        True
    """

    path: Path
    ledger: Ledger = field(repr=False)

    def verify(self, *, inputs: bool = True) -> Verification:
        """Prove every tensor against the ledger and the models it came from.

        Args:
            inputs: Whether to read the models too; without them only the folder is proven.

        Raises:
            ExecutionError: If anything does not hold; names the first fault.
        """
        from surgery.api.verification import verify

        return verify(self.path, inputs=inputs)
