"""Operations, spelled as ledgers hold them."""

from __future__ import annotations

import json

import pytest

from surgery.methods.operations import (
    ByteCopy,
    Cast,
    Linear,
    MergekitMethod,
    Operation,
    Slerp,
    TaskArithmetic,
)

TIES = MergekitMethod("ties", 0, {"lambda": 1.0}, ({}, {"weight": 0.5}), 7)


@pytest.mark.parametrize(
    ("operation", "kind", "name", "parameters"),
    [
        (ByteCopy(), "copy", "copy", "{}"),
        (Cast(), "cast", "cast", "{}"),
        (Linear(0.5), "linear", "linear", '{"t": 0.5}'),
        (Slerp(0.25), "slerp", "slerp", '{"t": 0.25}'),
        (TaskArithmetic(-1.0), "add", "add", '{"weight": -1.0}'),
        (TIES, "merge", "ties", '{"method": "ties", "base": 0, "shared": {"lambda": 1.0}, '
         '"per_input": [{}, {"weight": 0.5}], "seed": 7}'),
    ],
)  # fmt: skip
def test_a_ledger_spells_operations_as_ever(
    operation: Operation, kind: str, name: str, parameters: str
) -> None:
    assert (operation.kind, operation.name) == (kind, name)
    assert json.dumps(operation.parameters) == parameters
