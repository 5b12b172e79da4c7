"""Published merges: their local snapshot, and comparison with another merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from surgery.checkpoint.ledger import LEDGER, read_ledger
from surgery.checkpoint.open import split_hub_id
from surgery.errors import CheckpointError
from surgery.reading import is_folder

if TYPE_CHECKING:
    from surgery.checkpoint.ledger import Ledger


def find_merge(reference: str) -> Path:
    """Return the folder of a merge; one on the Hub is fetched whole into its cache.

    Args:
        reference: A folder, `org/name@revision` or `hf://org/name@revision`.

    Raises:
        CheckpointError: If it is not there, or is no merge.
    """
    if is_folder(Path(reference)):
        folder = Path(reference)
        if not (folder / LEDGER).exists():
            raise _without_ledger(reference)
        return folder
    if not reference.startswith("hf://") and reference.count("/") != 1:
        raise CheckpointError(
            f"{reference}: no such folder; expected one that 'surgery merge' wrote, or org/name."
        )
    from surgery.checkpoint.hub import fetch_all, fetch_file

    repo, revision = split_hub_id(reference)
    if fetch_file(repo, revision, LEDGER) is None:  # before all its weights are fetched
        raise _without_ledger(reference)
    return fetch_all(repo, revision)


def is_same_as_published(ledger: Ledger, reference: str) -> bool:
    """Check that a merge has the weights of a published one; other parents or versions differ.

    Args:
        ledger: The merge's.
        reference: The published merge, `hf://org/name@revision`.
    """
    from surgery.checkpoint.hub import fetch_file

    path = fetch_file(*split_hub_id(reference), LEDGER)
    return path is not None and read_ledger(path.parent).fingerprint == ledger.fingerprint


def _without_ledger(reference: str) -> CheckpointError:
    return CheckpointError(
        f"{reference} has no {LEDGER}, so 'surgery merge' did not write it; only its merges "
        f"can be verified. 'surgery inspect {reference}' shows what is there."
    )
