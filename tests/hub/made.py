"""Folders that the hub's tests publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REPO = "somebody/mixed"

CARD = """---
license: apache-2.0
base_model: [org/base, org/rl]
base_model_relation: merge
tags: [merge, vision]
pipeline_tag: image-text-to-text
library_name: transformers
model-index:
- name: mixed
  results:
  - task: {type: visual-question-answering}
    dataset: {type: org/set, name: A set}
    metrics: [{type: accuracy, value: 0.5}]
---
A model.
"""


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
