"""The table of methods is mergekit's own, parameter for parameter."""

from __future__ import annotations

import pytest
from mergekit.merge_methods.registry import registered_methods

from surgery.methods.table import METHODS, Scope

MERGEKIT_SPECS = {method.spec.name: method.spec for method in registered_methods()}


def test_names():
    assert set(METHODS) == set(MERGEKIT_SPECS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_rules_and_parameters(name):
    actual, reference = METHODS[name], MERGEKIT_SPECS[name]
    assert actual.base == reference.contract.base.value
    described = {
        p.name: (p.scope.value, p.required, None if p.required else p.default)
        for p in reference.parameters
    }
    assert described == {
        p.name: (p.scope.value, p.required, None if p.required else p.default)
        for p in actual.parameters
    }
    for parameter in reference.parameters:
        local = next(p for p in actual.parameters if p.name == parameter.name)
        assert parameter.value_type in (local.kind, local.kind | None)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_counts(name):
    actual, contract = METHODS[name], MERGEKIT_SPECS[name].contract
    fewest, most = contract.min_inputs, contract.max_inputs
    if contract.min_non_base is not None:
        # models other than the base, which may come on top where it is optional
        fewest = max(fewest, contract.min_non_base)
    if contract.max_non_base is not None:
        most = contract.max_non_base + 1
    assert (actual.min_inputs, actual.max_inputs) == (fewest, most)
    assert actual.beside_base == contract.max_non_base


def test_scopes_are_mergekits():
    assert {scope.value for scope in Scope} == {"shared", "input", "non_base"}
