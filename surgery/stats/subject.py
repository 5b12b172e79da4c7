"""The subject of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.stats.align import Alignment, Piece
    from surgery.stats.options import CheckpointPair, Options


@dataclass(frozen=True)
class StudySubject:
    """The checkpoints, pairs and tensors of a study.

    Attributes:
        models: Headers by name, in the order of training.
        pairs: What is compared.
        alignment: The tensors.
        options: How they are looked at.
    """

    models: Mapping[str, CheckpointInfo]
    pairs: tuple[CheckpointPair, ...]
    alignment: Alignment
    options: Options

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The tensors, one row each."""
        return self.alignment.pieces
