"""The harness: questions, models that answer them, scores with error bars.

The package's name shadows a builtin when imported bare: always `from eval import evaluate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from eval.api.comparing import compare, compare_logs
    from eval.api.evaluation import evaluate, run_sweep
    from eval.api.probing import run_probe, run_profile
    from eval.endpoint import Endpoint
    from eval.publishing import publish_model, publish_sweep
    from eval.records import Sample, Suite
    from eval.suites.table import Choice, list_suites, load_suite
    from eval.training import train_on_demonstrations, train_on_rewards

_NAMES: Final = {
    "Choice": "eval.suites.table",
    "Endpoint": "eval.endpoint",
    "Sample": "eval.records",
    "Suite": "eval.records",
    "compare": "eval.api.comparing",
    "compare_logs": "eval.api.comparing",
    "evaluate": "eval.api.evaluation",
    "list_suites": "eval.suites.table",
    "load_suite": "eval.suites.table",
    "publish_model": "eval.publishing",
    "publish_sweep": "eval.publishing",
    "run_probe": "eval.api.probing",
    "run_profile": "eval.api.probing",
    "run_sweep": "eval.api.evaluation",
    "train_on_demonstrations": "eval.training",
    "train_on_rewards": "eval.training",
}

__all__ = [
    "Choice",
    "Endpoint",
    "Sample",
    "Suite",
    "compare",
    "compare_logs",
    "evaluate",
    "list_suites",
    "load_suite",
    "publish_model",
    "publish_sweep",
    "run_probe",
    "run_profile",
    "run_sweep",
    "train_on_demonstrations",
    "train_on_rewards",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for tab completion."""
    return sorted({*globals(), *_NAMES})
