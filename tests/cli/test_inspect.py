from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.families import save_tiny

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]
    Pair = Callable[[str], dict[str, Path]]


def test_the_table_counts_what_is_there(surgery: Surgery, pair: Pair) -> None:
    folder = pair("qwen2_5_vl")["in"]
    done = surgery("inspect", folder)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"{folder}  qwen2_5_vl, 113,760 parameters, 228 kB in 1 file")
    rows = {line.split()[0]: line.split() for line in rest if line.strip()}
    assert rows["language"][1:4] == ["4", "(0-3)", "48"]
    assert rows["vision"][1:4] == ["2", "(0-1)", "25"]
    assert "regions of language: early 0, mid 1, late 2-3" in rest


def test_json_is_half_open_and_complete(surgery: Surgery, pair: Pair) -> None:
    done = surgery("inspect", pair("qwen2_5_vl")["in"], "--json", "--tensors")
    record = json.loads(done.stdout)
    assert record["components"]["language"]["regions"] == {
        "early": [0, 1],
        "mid": [1, 2],
        "late": [2, 4],
    }
    assert sum(part["tensors"] for part in record["components"].values()) == len(record["tensors"])
    assert len(record["fingerprint"]) == 64
    q_proj = next(t for t in record["tensors"] if t["site"]["leaf"] == "q_proj.bias")
    assert q_proj["site"]["canonical"] == "language.layers.0.attention.q_proj.bias"
    assert q_proj["dtype"] == "BF16"


def test_tensors_are_listed_with_both_names(surgery: Surgery, pair: Pair) -> None:
    done = surgery("inspect", pair("qwen2_5_vl")["in"], "--tensors")
    line = next(x for x in done.stdout.splitlines() if x.startswith("embedding.embedding."))
    assert line.split()[1:3] == ["BF16", "96x32"]
    assert line.endswith("  model.embed_tokens.weight")


def test_a_tied_head_is_told(surgery: Surgery, pair: Pair) -> None:
    done = surgery("inspect", pair("gemma")["in"])
    assert "head tied to the embedding: one tensor serves as both" in done.stdout


def test_a_head_that_is_stored_too_is_told(surgery: Surgery, tmp_path: Path) -> None:
    folder = save_tiny("mistral3", tmp_path / "both")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    done = surgery("inspect", folder)
    assert "one tensor serves as both" not in done.stdout
    assert "tied to the embedding by the configuration, though the files hold both" in done.stdout


def test_no_such_folder(surgery: Surgery) -> None:
    done = surgery("inspect", "./nothing")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
