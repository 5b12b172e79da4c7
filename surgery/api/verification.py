"""The proof of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.checkpoint.hub import fixed_revisions
from surgery.checkpoint.progress import no_progress
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.checkpoint.progress import Progress
    from surgery.execute.verify import Verification


@fixed_revisions()
def verify(
    folder: str | Path,
    models: Mapping[str, str] | None = None,
    *,
    inputs: bool = True,
    progress: Progress = no_progress,
) -> Verification:
    """Prove every tensor of a merged folder against its ledger and its inputs.

    Args:
        folder: A folder that a merge wrote; as text also a published merge, `org/name@revision`.
        models: Where the recipe's models are now, for those that moved.
        inputs: Whether to read the models too; without them only the folder is proven.
        progress: Called with bytes as they are read, from several threads.

    Raises:
        ExecutionError: If anything does not hold; names the first fault.
        CheckpointError: If the folder is no merge, or a model cannot be opened.

    Example:
        >>> import surgery
        >>> merged = surgery.merge("specimen/in-rl-in", out / "verified")
        >>> surgery.verify(merged.path).ok
        True
    """
    from surgery.execute.published import find_merge
    from surgery.execute.verify import verify as prove

    source = find_merge(folder) if isinstance(folder, str) else folder
    proof = prove(source, models, inputs=inputs, progress=progress)
    if not proof.ok:
        first = proof.faults[0]
        raise ExecutionError(
            f"{folder} failed verification: {first.where} {first.what}"
            + (f" (and {len(proof.faults) - 1:,} more faults)" if len(proof.faults) > 1 else "")
            + ". Merge again, or find out who changed the folder."
        )
    return proof
