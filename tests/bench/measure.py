"""Time a command as a whole process, with its peak memory as the kernel counted it."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run: wall-clock and processor seconds, and peak resident memory in MB (1e6 bytes)."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        log: Gets its output.
        env: Added to this process's environment.

    Raises:
        RuntimeError: If it fails, with the end of what it printed.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | dict(env or {})
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def apart(label: str, *arguments: object) -> None:
    """Call a function of `tests.bench.build` in another process.

    What this one grew to would count for the peak memory of its children.
    """
    code = (
        "import sys; from pathlib import Path; from tests.bench import build; "
        "kinds = (Path, *(lambda a: int(a) if a.isdigit() else a,) * 9); "
        f"build.{label}(*(kind(a) for kind, a in zip(kinds, sys.argv[1:])))"
    )
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def side_by_side(
    commands: Mapping[str, Sequence[str]], out: Path, pairs: int, tell: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Run several commands in turn, round after round, so that a slow spell hits all alike.

    Every command writes the folder `out`, which is removed after each run; a `sync` before each
    keeps one command from paying for another's unwritten pages.

    Args:
        commands: Labels and commands.
        out: What they write.
        pairs: Rounds.
        tell: Gets a line per run.
    """
    runs: dict[str, list[Run]] = {label: [] for label in commands}
    for round_ in range(pairs):
        for label, command in commands.items():
            os.sync()
            result = run(command, out.with_suffix(".log"))
            shutil.rmtree(out)
            runs[label].append(result)
            tell(
                f"  {round_ + 1}/{pairs} {label:<28} {result.wall_s:7.2f} s  "
                f"{result.cpu_s:7.2f} s cpu  {result.peak_mb:7.0f} MB"
            )
    return runs


def summary(runs: Sequence[Run]) -> dict[str, float]:
    """Medians, and the extremes of the wall-clock times."""
    medians = {
        key: round(statistics.median(asdict(r)[key] for r in runs), 3)
        for key in ("wall_s", "cpu_s", "peak_mb")
    }
    walls = [r.wall_s for r in runs]
    return medians | {"wall_min_s": round(min(walls), 3), "wall_max_s": round(max(walls), 3)}


def times_faster(runs: Sequence[Run], reference: Sequence[Run]) -> float:
    """Median over the rounds of their wall-clock time over ours."""
    ratios = [b.wall_s / a.wall_s for a, b in zip(runs, reference, strict=True)]
    return round(statistics.median(ratios), 3)
