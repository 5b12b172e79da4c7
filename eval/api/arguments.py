"""Arguments that the public functions share."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

from eval.records import Suite
from eval.suites.table import Choice, load_suite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Suites: TypeAlias = "str | Path | Suite | Sequence[str | Path | Suite]"


@contextmanager
def run_folder(out: str | Path | None) -> Iterator[Path]:
    """Yield the run's folder, a temporary one where nothing is to be kept."""
    if out is not None:
        yield Path(out)
        return
    with TemporaryDirectory(prefix="vlm-surgery-") as folder:
        yield Path(folder) / "run"


def load_suites(suite: Suites, choice: Choice) -> tuple[Suite, ...]:
    """Return suites from their names or files; a loaded one stays as it is."""
    several = [suite] if isinstance(suite, str | Path | Suite) else suite
    return tuple(
        entry if isinstance(entry, Suite) else load_suite(str(entry), choice) for entry in several
    )
