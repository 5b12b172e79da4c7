"""Every image-text-to-text type of the installed transformers has its place, as a table says."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from surgery.arch import Component, Module, resolve
from surgery.arch.check import lookup
from surgery.arch.stacks import split
from tests.atlas import README, TYPES, entry, resolved, row

if TYPE_CHECKING:
    from surgery.arch import Architecture, Site

ROWS = {
    line.split(" | ")[0].removeprefix("| "): f"{line}\n"
    for line in README.read_text().split("|---|---|---|---|\n")[1].splitlines()
}
# Where a type's configuration counts the decoder's layers, where that is not `text_config`.
COUNTS = {
    "florence2": "text_config.decoder_layers",
    "idefics": "num_hidden_layers",
    "chameleon": "num_hidden_layers",
    "evolla": "num_hidden_layers",
    "git": "num_hidden_layers",
    "kosmos-2": "text_config.layers",
    "kosmos-2.5": "text_config.layers",
    "mistral4": "num_hidden_layers",
    "pi0": "vlm_config.text_config.num_hidden_layers",
    "pix2struct": "text_config.num_layers",
    "pp_formulanet": "text_config.decoder_layers",
    "t5gemma2": "decoder.num_hidden_layers",
    "udop": "num_decoder_layers",
    "vision-encoder-decoder": "decoder.num_hidden_layers",
}
# Types whose language model has no norm after its last layer, and why.
NO_FINAL_NORM = {
    "blip": "a BERT, which ends every layer with a norm",
    "florence2": "a BART, which ends every layer with a norm",
    "git": "a BERT",
    "qwen4_exp": "its norm stands in the mixer of its hyper-connections",
    "vision-encoder-decoder": "a BERT",
}
# What stands in a decoder layer and is neither attention, MLP, mixer nor norm, and why.
WHOLE_LAYER = {
    "altup": "predicts and corrects the streams that a layer works on",
    "laurel": "a low-rank path beside attention and MLP",
    "layer_scalar": "scales the layer's output",
    "per_layer_input_gate": "gates an embedding of the layer's own",
    "per_layer_projection": "projects an embedding of the layer's own",
}
# Rows that know what no name says.
BEYOND_STRUCTURE = {
    "cosmos3_omni": "two stacks and a position table without any prefix",
    "gemma4_unified": "patches and projector under one name",
    "janus": "embedding and head of image tokens",
    "molmo2": "its pooling by attention is the projector's",
}
NUMBERS = (
    "num_hidden_layers", "depth", "decoder_layers", "encoder_layers", "layers", "num_layers",
    "num_decoder_layers", "n_layers",
)  # fmt: skip


def test_every_type_is_in_the_table() -> None:
    missing = sorted(set(TYPES) - set(ROWS))
    assert not missing, "look at their names, then run python -m tests.atlas"


@pytest.mark.parametrize("model_type", sorted(set(ROWS) & set(TYPES)))
def test_a_type_is_placed_as_the_table_says(model_type: str) -> None:
    assert row(model_type) == ROWS[model_type]
    built = entry(model_type)
    assert not built.failure
    for names in (built.disk, built.memory):
        architecture = resolved(model_type, names)
        assert list(architecture.sites) == list(names)
        assert len({s.canonical for s in architecture.sites.values()}) == len(names)
        assert dict(architecture.layers) == _stated(model_type)
        _check_parts(model_type, architecture.sites.values())
        assert _unexplained(architecture.sites.values()) == {}
        _check_structure(model_type, names, architecture)
    heads = {s.component for s in resolved(model_type, built.memory).sites.values()}
    assert Component.HEAD in heads or model_type == "pi0"  # an action model


def _check_structure(model_type: str, names: tuple[str, ...], architecture: Architecture) -> None:
    """Check that an unknown type with these names and two layers has its parts in place."""
    few = [name for name in names if (n := split(name)) is None or n[1] < 2]
    config = _thinned(entry(model_type).config)
    stranger = {**config, "model_type": "a_stranger"}
    for form in (config, stranger) if model_type not in BEYOND_STRUCTURE else (config,):
        with warnings.catch_warnings(action="ignore"):
            sites = resolve(form, reversed(few)).sites
        moved = {n for n in few if sites[n].component is not architecture.sites[n].component}
        assert not moved, form["model_type"]


def _thinned(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of two layers a stack."""
    thin: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            thin[key] = _thinned(value)
        elif key == "layers_block_type":
            thin[key] = value[:2]
        else:
            thin[key] = min(value, 2) if key in NUMBERS and isinstance(value, int) else value
    return thin


def _stated(model_type: str) -> dict[Component, int]:
    """Return the layers that the table and the type's own configuration agree on."""
    cell = ROWS[model_type].split(" | ")[2]
    layers = {Component(p): int(n) for p, n in (pair.split() for pair in cell.split(", "))}
    config: Any = entry(model_type).config
    count = lookup(config, COUNTS.get(model_type, "text_config.num_hidden_layers"))
    blocks = lookup(config, "text_config.layers_block_type") or ()
    assert layers[Component.LANGUAGE] == (len(blocks) or count)
    return layers


def _check_parts(model_type: str, sites: Any) -> None:
    """Check that every part of a language model exists."""
    parts = {site.component for site in sites}
    assert {Component.LANGUAGE, Component.EMBEDDING} <= parts
    assert (Component.NORM in parts) is (model_type not in NO_FINAL_NORM)
    norms = {s.leaf for s in sites if s.component is Component.NORM and "bias" not in s.leaf}
    assert len(norms) <= 1


def _unexplained(sites: Any) -> dict[str, Site]:
    """Return tensors of decoder layers that only `other` selects, without a reason."""
    return {
        re.sub(r"\d+", "#", site.leaf): site
        for site in sites
        if site.component is Component.LANGUAGE
        and site.layer is not None
        and site.module is Module.OTHER
        and site.leaf.split(".")[0] not in WHOLE_LAYER
    }
