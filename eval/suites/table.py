"""All suites, and their loading."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.records import Metric, Suite
from eval.suites import specimen
from eval.suites.benchmark import Benchmark, BenchmarkTask
from eval.suites.blink import BLINK
from eval.suites.cvbench import CVBENCH
from eval.suites.gsm8k import GSM8K
from eval.suites.hallusionbench import HALLUSIONBENCH
from eval.suites.math500 import MATH500
from eval.suites.mathverse import MATHVERSE
from eval.suites.mathvision import MATHVISION
from eval.suites.mathvista import MATHVISTA
from eval.suites.mmmu import MMMU
from eval.suites.paper import PAPER, PAPER_FINE, SAMPLES
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eval.suites.rows import Rows

_LONGEST: Final = 2048  # tokens, as in arXiv 2602.12395


@dataclass(frozen=True)
class Choice:
    """The selection of samples.

    Attributes:
        samples: Of each task; None takes the suite's own number.
        seed: Seed of the selection.
        data: Local folders of benchmarks, by name; the others come from the Hub.
    """

    samples: int | None = None
    seed: int = 123
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A suite in the table.

    Attributes:
        line: What it is.
        parts: Its tasks.
        samples: Samples of each task unless the run says otherwise; None for all.
    """

    line: str
    parts: tuple[BenchmarkTask, ...]
    samples: int | None = None


def _whole(line: str, benchmark: Benchmark) -> Entry:
    return Entry(line, (BenchmarkTask(benchmark.name, benchmark, Metric.ACCURACY),))


SUITES: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "paper": Entry("M_vis, M_v2r and M_rea as in arXiv 2602.12395", PAPER, SAMPLES),
        "paper-fine": Entry(
            "the same on charts, tables, natural images; geometry; hard problems",
            PAPER_FINE,
            SAMPLES,
        ),
        "mathvista": _whole("MathVista testmini", MATHVISTA),
        "mathvision": _whole("MathVision testmini", MATHVISION),
        "mathverse": _whole("MathVerse testmini", MATHVERSE),
        "mmmu": _whole("MMMU validation", MMMU),
        "blink": _whole("BLINK validation", BLINK),
        "hallusionbench": _whole("HallusionBench, all 1,129 questions", HALLUSIONBENCH),
        "cvbench": _whole("CV-Bench, 2D and 3D", CVBENCH),
        "math500": _whole("MATH-500, in text", MATH500),
        "gsm8k": _whole("GSM8K test, in text", GSM8K),
    }
)
"""Suites from published data sets; the specimen's is drawn, not loaded."""

_SPECIMEN: Final = "the specimen's own held-out questions; needs no download"


def load_suite(name: str, choice: Choice) -> Suite:
    """Return a suite with its samples.

    Args:
        name: A key of `SUITES`, `specimen`, or the path of a custom suite's YAML.
        choice: Which samples.

    Raises:
        SurgeryError: If there is no such suite, or it cannot be loaded.
    """
    _check(choice.data)
    if name == specimen.NAME:
        return specimen.load(choice.samples or specimen.SAMPLES, choice.seed)
    if name in SUITES:
        return _load(name, SUITES[name], choice)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        from eval.suites.custom import load_custom

        return load_custom(Path(name), choice.samples, choice.seed)
    near = did_you_mean(name, [specimen.NAME, *SUITES])
    raise SurgeryError(f"there is no suite {name!r}.{near} A custom suite is a .yaml file.")


def list_suites() -> list[tuple[str, str, str]]:
    """Return every suite.

    Returns:
        Name, description and data sets of each.

    Example:
        >>> from eval import list_suites
        >>> list_suites()[0][0]
        'specimen'
    """
    entries = [(specimen.NAME, _SPECIMEN, "")]
    for name, entry in SUITES.items():
        entries.append((name, entry.line, ", ".join(dict.fromkeys(_hubs(entry.parts)))))
    return entries


def _hubs(parts: Iterable[BenchmarkTask]) -> list[str]:
    return [part.benchmark.hub for part in parts]


def _check(data: Mapping[str, str]) -> None:
    names = {part.benchmark.name for entry in SUITES.values() for part in entry.parts}
    for name in data:
        if name not in names:
            near = did_you_mean(name, sorted(names))
            raise SurgeryError(f"there is no benchmark {name!r} to give a folder for.{near}")


def _load(name: str, entry: Entry, choice: Choice) -> Suite:
    samples = entry.samples if choice.samples is None else choice.samples
    rows: dict[str, Rows] = {}
    tasks = []
    for part in entry.parts:
        source = part.benchmark
        if source.name not in rows:
            rows[source.name] = source.rows(choice.data.get(source.name))
        tasks.append(part.task(rows[source.name], samples, choice.seed))
    return Suite(name, tuple(tasks), max_new_tokens=_LONGEST)
