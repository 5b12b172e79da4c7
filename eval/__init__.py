"""The harness: questions, models that answer them, scores with error bars.

The package's name shadows a builtin when imported bare: always `from eval import evaluate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from eval.api import evaluate, run_sweep
    from eval.suites.table import load_suite

_NAMES: Final = {
    "evaluate": "eval.api",
    "load_suite": "eval.suites.table",
    "run_sweep": "eval.api",
}

__all__ = ["evaluate", "load_suite", "run_sweep"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, for tab completion."""
    return sorted({*globals(), *_NAMES})
