"""Measure what training did to the weights, tensor by tensor, in bounded memory.

    from surgery.stats import Options, open_study

    with open_study({"in": "specimen:in", "rl": "specimen:rl"}, Options(top=8)) as study:
        stats = study.run()

The columns of its tables are explained in this folder's README.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from surgery.stats.options import Options, SpectrumKind
    from surgery.stats.study import Study, open_study

__all__ = ["Options", "SpectrumKind", "Study", "open_study"]

_HOMES: Final = {
    "Options": "options", "SpectrumKind": "options", "Study": "study", "open_study": "study",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a study loads pandas, the command not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
