"""Compiled loops: how they are compiled and kept, and what they leave alone."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stats.stored import ROOT, run_python
from tests.waiting import PATIENCE

SUM = """
import numpy as np
from surgery.stats import kernel
x = np.ones(5000, np.float32)
out = np.empty((2, 10))
kernel.pair_sums(x, 2 * x, out)
print(out.sum(axis=0)[:2].tolist())
"""


@pytest.mark.slow
def test_two_processes_compile_at_once_into_one_folder(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: run_python(SUM, NUMBA_CACHE_DIR=str(tmp_path)), range(2)))
    runs.append(run_python(SUM, NUMBA_CACHE_DIR=str(tmp_path)))
    assert [run.stdout.strip() for run in runs] == ["[5000.0, 20000.0]"] * 3, runs
    assert list(tmp_path.rglob("*.nbi"))


def test_no_folder_to_keep_compiled_code_in(tmp_path):
    """Neither in the module's folder nor in the user's cache: it compiles again, and works."""
    package = tmp_path / "surgery"
    package.mkdir()
    for name in ("__init__.py", "version.py", "stats/__init__.py", "stats/kernel.py"):
        (package / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "surgery" / name, package / name)
    blocked = tmp_path / "file"
    blocked.write_text("")
    (package / "stats" / "__pycache__").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + SUM
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked)}, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout.strip() == "[5000.0, 20000.0]", done.stderr


WIDE = """
import platform, numba
before = {name: value for name, value in vars(numba.config).items() if name.isupper()}
from surgery.stats import kernel
assert before == {name: value for name, value in vars(numba.config).items() if name.isupper()}
array = numba.types.Array
arrays = [array(numba.types.float32, 1, "C")] * 2 + [array(numba.types.float64, 2, "C")]
kernel.pair_sums.compile(tuple(arrays))
other = numba.njit(lambda a: a.sum(), fastmath=True)
other.compile((arrays[0],))
print(*("zmm" in next(iter(f.inspect_asm().values())) for f in (kernel.pair_sums, other)))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for one of its processors")
def test_wide_registers_are_used_in_these_loops_and_nobody_elses(tmp_path):
    """Compiled, not run, for a processor on which LLVM avoids them."""
    features = "+avx512f,+avx512bw,+avx512vl,+avx512dq"
    done = run_python(
        WIDE,
        NUMBA_CPU_NAME="skylake-avx512", NUMBA_CPU_FEATURES=features, NUMBA_CACHE_DIR=str(tmp_path),
    )  # fmt: skip
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_sums_are_the_same_bits_in_every_process():
    sampled = "np.random.default_rng(0).standard_normal(5000).astype(np.float32)"
    code = SUM.replace("np.ones(5000, np.float32)", sampled)
    code = code.replace("print(", "print(out.tobytes().hex(), ")
    item, other = run_python(code), run_python(code)
    assert item.stdout == other.stdout
    assert len(item.stdout) > 320, item.stderr
