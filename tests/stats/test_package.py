"""The package as a whole: the example of its docstring, and what importing it loads."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import surgery.stats


def test_the_example_of_the_docstring_runs() -> None:
    assert surgery.stats.__doc__ is not None
    example = surgery.stats.__doc__.split("\n\n", 1)[1].rpartition("\n\n")[0]
    names: dict[str, object] = {}
    exec(dedent(example), names)
    layers = names["stats"].layers  # type: ignore[attr-defined]
    assert set(layers.pair) == {"in..rl"}


def test_the_package_loads_nothing_until_a_name_is_used() -> None:
    code = (
        "import sys, surgery.stats\n"
        "assert not {'numpy', 'pandas', 'torch', 'numba'} & set(sys.modules)\n"
        "surgery.stats.Study; assert 'pandas' in sys.modules\n"
        "assert not hasattr(surgery.stats, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
