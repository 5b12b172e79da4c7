"""Kinds of run."""

from __future__ import annotations

from enum import Enum


class RunKind(Enum):
    """A kind of run: its name in the lock, and the command that makes it."""

    EVALUATION = ("evaluation", "surgery eval or sweep")
    ABLATION = ("ablation", "surgery probe ablation")
    SWAP = ("vision-swap", "surgery probe vision-swap")
    ATTENTION = ("attention", "surgery probe attention")
    STATISTICS = ("statistics", "surgery stats")
    TRAINING = ("training", "surgery train")
    PROFILE = ("profile", "surgery profile")
    DEMO = ("demo", "surgery demo")

    @property
    def label(self) -> str:
        """Return the kind's name in the lock file."""
        return self.value[0]

    @property
    def command(self) -> str:
        """Return the command that makes runs of this kind."""
        return self.value[1]
