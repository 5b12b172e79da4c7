"""Measure what training did to the weights: all tensors, on all processors, resumable."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from surgery.execute.run import default_workers, processors
from surgery.execute.work import Stopped, do_all
from surgery.stats.align import align
from surgery.stats.assemble import Subject, assemble
from surgery.stats.options import Decomposition, Options, SpectrumKind
from surgery.stats.pairs import choose_pairs
from surgery.stats.parts import Parts
from surgery.stats.work import Budget, share_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from threading import Event

    from surgery.checkpoint.source import Checkpoint
    from surgery.stats.align import Piece
    from surgery.stats.measurement import Measurement
    from surgery.stats.parts import Part
    from surgery.stats.result import Stats

FORMAT = 1
"""Part of what a measured tensor is kept under: raise it when a number would come out otherwise."""


class Study:
    """Checkpoints lined up and ready to be measured; nothing but headers has been read.

    Args:
        checkpoints: Two or three open checkpoints, by name, in the order of training.
        options: What to measure.
        out: Folder in which measured tensors are kept as they come, so that an interrupted run
            goes on; None keeps them in memory.

    Raises:
        PlanError: If the checkpoints cannot be compared, or a pair makes no sense.
        RecipeError: If the selector matches nothing, or the cuts do not fit the layers.
        ExecutionError: If the folder holds what no study wrote.
    """

    def __init__(
        self,
        checkpoints: Mapping[str, Checkpoint],
        options: Options | None = None,
        out: Path | None = None,
    ) -> None:
        self.options = options or Options()
        self.checkpoints = checkpoints
        models = {name: checkpoint.info for name, checkpoint in checkpoints.items()}
        self.subject = Subject(
            models=models,
            pairs=choose_pairs(tuple(models), self.options.pairs),
            alignment=align(models, self.options.selector, self.options.cuts),
            options=self.options,
        )
        # Before parts are looked for: how bytes come here decides what names their files.
        for name, checkpoint in checkpoints.items():
            checkpoint.bring([p.headers[name].name for p in self.subject.pieces])
        self._parts = None if out is None else self._kept(out)
        self._done: dict[str, Part] = {}
        for piece in self.subject.pieces:
            part = None if self._parts is None else self._parts.load(piece.name)
            if part is not None:
                self._done[piece.name] = part

    @property
    def todo(self) -> tuple[Piece, ...]:
        """Tensors that are not measured yet."""
        return tuple(p for p in self.subject.pieces if p.name not in self._done)

    def run(self, progress: Callable[[int], None] | None = None) -> Stats:
        """Measure what is left and make the tables.

        Args:
            progress: Told the number of bytes as they are done; called from several threads.

        Raises:
            CheckpointError: If an input breaks off, or changed since it was opened.
            ExecutionError: If a measured tensor cannot be kept.
        """
        if self.todo:
            self._measure(progress or (lambda _: None))
        for checkpoint in self.checkpoints.values():
            checkpoint.check_unchanged()
        if self._parts is not None:
            self._parts.forget_others()
        return assemble(self.subject, self._done)

    def _kept(self, out: Path) -> Parts:
        """Where parts are kept, under all that a tensor's numbers depend on."""
        inputs = [(n, c.info.fingerprint, c.stamp()) for n, c in self.checkpoints.items()]
        pairs = [str(pair) for pair in self.subject.pairs]
        options = [FORMAT, pairs, str(self.options.spectrum), self.options.top]
        return Parts(out, json.dumps(inputs), json.dumps(options))

    def _measure(self, progress: Callable[[int], None]) -> None:
        from surgery.stats.measurement import Measurement

        how = _decomposition(self.options)
        needs = _needs(self.todo, how)
        # Without spectra, more threads than a few only wait for memory.
        threads = self.options.workers or (processors() if needs else default_workers())
        crew = share_out(threads, list(needs.values()), self.options.memory)
        shift = _Shift(how, Budget(crew.memory), crew.blas, progress, self._finish)
        jobs: list[tuple[int, Callable[[Event], None]]] = []
        for piece in self.todo:
            work = Measurement(piece, self.checkpoints, self.subject.pairs)
            need = needs.get(piece.name)
            if need is not None:
                jobs.append((piece.nbytes, partial(shift.whole, work, need)))
            else:
                size = piece.nbytes // len(work.starts)
                jobs += [(size, partial(shift.chunk, work, start)) for start in work.starts]
        do_all(jobs, crew.workers, self.checkpoints.values())

    def _finish(self, piece: Piece, part: Part) -> None:
        """Keep a measured tensor; called from several threads."""
        if self._parts is not None:
            self._parts.save(piece.name, part)
        self._done[piece.name] = part


class _Shift:
    """What a thread does with a tensor."""

    def __init__(
        self,
        how: Decomposition,
        budget: Budget,
        blas: int,
        progress: Callable[[int], None],
        finish: Callable[[Piece, Part], None],
    ) -> None:
        self._how = how
        self._budget = budget
        self._blas = blas
        self._progress = progress
        self._finish = finish

    def whole(self, work: Measurement, need: int, stop: Event) -> None:
        """All of a matrix, its spectra included."""
        from surgery.stats.spectral import use_threads

        use_threads(self._blas)
        with self._budget.hold(need):
            for start in work.starts:
                if stop.is_set():
                    raise Stopped
                work.chunk(start)
            self._finish(work.piece, work.part(self._how))
        self._progress(work.piece.nbytes)

    def chunk(self, work: Measurement, start: int, stop: Event) -> None:
        """Some elements of a tensor that needs no spectrum."""
        if stop.is_set():
            raise Stopped
        if work.chunk(start):
            self._finish(work.piece, work.part(self._how))
        self._progress(work.piece.nbytes // len(work.starts))


def _needs(pieces: Sequence[Piece], how: Decomposition) -> dict[str, int]:
    """Bytes that the spectra of each matrix take; nothing where none are wanted."""
    if how.kind is SpectrumKind.NONE:
        return {}
    from surgery.stats.spectral import projected_bytes

    return {
        piece.name: projected_bytes(piece.matrix, how.kind, how.k)
        for piece in pieces
        if piece.matrix is not None
    }


def _decomposition(options: Options) -> Decomposition:
    """The options for matrices, with the device chosen.

    Raises:
        ExecutionError: If the device is not there.
    """
    if options.spectrum is SpectrumKind.NONE:  # then nothing needs torch
        return Decomposition(options.spectrum, options.top, "cpu")
    from surgery.stats.spectral import choose_device

    return Decomposition(options.spectrum, options.top, choose_device(options.device))
