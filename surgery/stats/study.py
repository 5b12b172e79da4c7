"""Measure what training did to the weights: all tensors, on all processors, resumable."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import Condition
from typing import TYPE_CHECKING

from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.progress import no_progress
from surgery.checkpoint.source import Remote
from surgery.execute.work import JobStopped, default_workers, do_all, processors
from surgery.runs import RunKind, claimed
from surgery.stats.align import align
from surgery.stats.options import Options, SpectrumKind, choose_pairs
from surgery.stats.parts import PieceStore
from surgery.stats.subject import StudySubject
from surgery.stats.tables import assemble
from surgery.threads import torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from threading import Event

    from surgery.checkpoint.progress import Progress
    from surgery.checkpoint.source import Checkpoint
    from surgery.runs import RunTables
    from surgery.stats.align import Piece
    from surgery.stats.measurement import Measurement
    from surgery.stats.parts import PieceResult

FORMAT = 1
"""Part of the storage key of measured tensors: increase it when measures change."""

SLACK = 200 << 20
"""Memory beyond the largest spectrum's in bytes, so that small spectra run in parallel."""


class Study:
    """Checkpoints lined up and ready to be measured; nothing but headers has been read.

    Args:
        checkpoints: Two or three open checkpoints, by name, in the order of training.
        options: What to measure.
        out: Folder in which measured tensors are kept as they come, so that an interrupted run
            resumes; None keeps them in memory.

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
        self.subject = StudySubject(
            models=models,
            pairs=choose_pairs(tuple(models), self.options.pairs),
            alignment=align(models, self.options.selector, self.options.cuts),
            options=self.options,
        )
        # Before parts are looked for: how bytes come here decides what names their files.
        for name, checkpoint in checkpoints.items():
            checkpoint.prefetch([p.headers[name].name for p in self.subject.pieces])
        self._parts = None if out is None else self._piece_store(out)
        self._done: dict[str, PieceResult] = {}
        for piece in self.subject.pieces:
            part = None if self._parts is None else self._parts.load(piece.name)
            if part is not None:
                self._done[piece.name] = part

    @property
    def todo(self) -> tuple[Piece, ...]:
        """The tensors that are not measured yet."""
        return tuple(p for p in self.subject.pieces if p.name not in self._done)

    def run(self, progress: Progress = no_progress) -> RunTables:
        """Measure what is left and make the tables.

        Args:
            progress: Called with the number of bytes done; called from several threads.

        Raises:
            CheckpointError: If an input breaks off, or changed since it was opened.
            ExecutionError: If a measured tensor cannot be kept.
        """
        if self.todo:
            self._measure(progress)
        for checkpoint in self.checkpoints.values():
            checkpoint.check_unchanged()
        if self._parts is not None:
            self._parts.forget_others()
        return assemble(self.subject, self._done)

    def _piece_store(self, out: Path) -> PieceStore:
        """Return the store for all that a tensor's numbers depend on."""
        inputs = [(n, c.info.fingerprint, c.stamp()) for n, c in self.checkpoints.items()]
        pairs = [str(pair) for pair in self.subject.pairs]
        options = [FORMAT, pairs, str(self.options.spectrum), self.options.top]
        return PieceStore(out, json.dumps(inputs), json.dumps(options))

    def _measure(self, progress: Progress) -> None:
        from surgery.stats.measurement import Measurement

        options = _with_device(self.options)
        needs = _needs(self.todo, options)
        # Without spectra, more threads than a few only wait for memory.
        threads = self.options.workers or (processors() if needs else default_workers())
        allocation = share_out(threads, list(needs.values()), self.options.memory)
        worker = _Worker(
            options, Budget(allocation.memory), allocation.blas, progress, self._finish
        )
        jobs: list[tuple[int, Callable[[Event], None]]] = []
        for piece in self.todo:
            work = Measurement(piece, self.checkpoints, self.subject.pairs)
            need = needs.get(piece.name)
            if need is not None:
                jobs.append((piece.nbytes, partial(worker.whole, work, need)))
            else:
                size = piece.nbytes // len(work.starts)
                jobs += [(size, partial(worker.chunk, work, start)) for start in work.starts]
        do_all(jobs, allocation.workers, self.checkpoints.values())

    def _finish(self, piece: Piece, part: PieceResult) -> None:
        """Keep a measured tensor; called from several threads."""
        if self._parts is not None:
            self._parts.save(piece.name, part)
        self._done[piece.name] = part


@contextmanager
def open_study(
    models: Mapping[str, str],
    options: Options | None = None,
    out: Path | None = None,
    remote: Remote = Remote.AUTO,
) -> Iterator[Study]:
    """Open checkpoints and line them up; the folder is the study's own for a `with` block.

    Args:
        models: Two or three references by name, in the order of training.
        options: What to measure.
        out: Folder of the run, as for `Study`.
        remote: How models on the Hub come here.

    Raises:
        SurgeryError: If a checkpoint cannot be opened, or as `Study`; if the folder is in use, or
            holds another kind of run.
    """
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(claimed(out, RunKind.STATISTICS))
        checkpoints = {
            name: stack.enter_context(open_checkpoint(reference, remote))
            for name, reference in models.items()
        }
        yield Study(checkpoints, options, out)


@dataclass(frozen=True)
class Allocation:
    """The processors and the memory of a study, divided between threads.

    Attributes:
        workers: Threads of ours.
        blas: Threads of the linear algebra library under each.
        memory: Bytes that all of them may hold together.
    """

    workers: int
    blas: int
    memory: int


def share_out(processors: int, needs: Sequence[int], memory: int | None) -> Allocation:
    """Return as many workers as memory allows for, one thread each, then threads for each.

    Decompositions spend half their time waiting for memory, so that two matrices on one thread each
    are done sooner than one after the other on two.

    Args:
        processors: Threads in all.
        needs: Bytes each matrix needs; empty without spectra.
        memory: Most bytes in all; what the largest needs and `SLACK` when None.
    """
    if not needs:
        return Allocation(processors, 1, 0)
    limit = max(needs) + SLACK if memory is None else memory
    usual = sorted(needs)[len(needs) // 2]
    at_once = max(1, min(processors, limit // max(1, usual)))
    blas = max(1, processors // at_once)
    return Allocation(max(1, processors // blas), blas, limit)


class Budget:
    """A limit on the memory that threads hold together.

    A thread that needs more than the limit runs alone.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reserved = 0
        self._change = Condition()

    @contextmanager
    def hold(self, nbytes: int) -> Iterator[None]:
        """Wait until the memory is free, and reserve it for the length of the block."""
        with self._change:
            self._change.wait_for(
                lambda: not self._reserved or self._reserved + nbytes <= self._limit
            )
            self._reserved += nbytes
        try:
            yield
        finally:
            with self._change:
                self._reserved -= nbytes
                self._change.notify_all()


class _Worker:
    """The measuring of one tensor on one thread."""

    def __init__(
        self,
        options: Options,
        budget: Budget,
        blas: int,
        progress: Progress,
        finish: Callable[[Piece, PieceResult], None],
    ) -> None:
        self._options = options
        self._budget = budget
        self._blas = blas
        self._progress = progress
        self._finish = finish

    def whole(self, work: Measurement, need: int, stop: Event) -> None:
        """Measure all of a matrix, its spectra included."""
        with torch_threads(self._blas), self._budget.hold(need):
            for start in work.starts:
                if stop.is_set():
                    raise JobStopped
                work.chunk(start)
            self._finish(work.piece, work.part(self._options))
        self._progress(work.piece.nbytes)

    def chunk(self, work: Measurement, start: int, stop: Event) -> None:
        """Measure some elements of a tensor that needs no spectrum."""
        if stop.is_set():
            raise JobStopped
        if work.chunk(start):
            self._finish(work.piece, work.part(self._options))
        self._progress(work.piece.nbytes // len(work.starts))


def _needs(pieces: Sequence[Piece], options: Options) -> dict[str, int]:
    """Return the bytes that the spectra of each matrix take; nothing where there are none."""
    if options.spectrum is SpectrumKind.NONE:
        return {}
    from surgery.stats.spectral import projected_bytes

    return {
        piece.name: projected_bytes(piece.matrix, options.spectrum, options.top)
        for piece in pieces
        if piece.matrix is not None
    }


def _with_device(options: Options) -> Options:
    """Return the options with a device that is there.

    Raises:
        ExecutionError: If the device is not there.
    """
    if options.spectrum is SpectrumKind.NONE:  # then nothing needs torch
        return options
    from surgery.stats.spectral import choose_device

    return replace(options, device=choose_device(options.device))
