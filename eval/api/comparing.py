"""The function behind `eval.compare`, separate from code that loads models, to start fast."""

from __future__ import annotations

from pathlib import Path

from eval.sweep.results import load_results
from surgery.api.results import RunResult


def compare(
    run: str | Path,
    *,
    against: str | None = None,
    base: str | None = None,
    donor: str | None = None,
) -> RunResult:
    """Compare the variants of a finished evaluation on identical samples; no model is asked.

    Args:
        run: Folder of the evaluation or sweep.
        against: Variant that all are compared with; as in the run by default.
        base: Variant that a gain starts from.
        donor: Variant that it ends at.

    Returns:
        Scores, paired differences, recovery and power, computed from the run's records.

    Raises:
        SurgeryError: If the folder is no such run, or has no such variant.

    Example:
        >>> from eval import compare, evaluate
        >>> run = out / "compared"
        >>> _ = evaluate(["specimen:in", "specimen:rl"], suite="specimen", samples=2, out=run)
        >>> compare(run, against="rl").pairs["variant"].unique().tolist()
        ['in']
    """
    return RunResult.of(load_results(Path(run), against=against, base=base, donor=donor))
