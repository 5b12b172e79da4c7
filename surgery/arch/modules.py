"""Which modules of a loaded model a decoder layer is made of, by the names of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from surgery.arch.site import Component, Module
from surgery.errors import ArchitectureError

if TYPE_CHECKING:
    from surgery.arch.site import Architecture


@dataclass(frozen=True)
class LayerModules:
    """Names of one decoder layer's modules, as `get_submodule` takes them.

    Attributes:
        layer: The whole layer.
        attention: Its attention block.
        mlp: Its MLP, experts and router among it.
        keys: The projection to keys; None where the layer has none, as in linear attention.
        values: The projection to values.
    """

    layer: str
    attention: str
    mlp: str
    keys: str | None
    values: str | None


def decoder_modules(architecture: Architecture) -> tuple[LayerModules, ...]:
    """The modules of every decoder layer, in order.

    Args:
        architecture: Of the names that the loaded model's `state_dict` has.

    Raises:
        ArchitectureError: If a layer has no attention or no MLP to be found by its tensors.
    """
    found: list[dict[str, str]] = [{} for _ in range(architecture.layers[Component.LANGUAGE])]
    for name, site in architecture.sites.items():
        if site.component is not Component.LANGUAGE or site.layer is None:
            continue
        parts = found[site.layer]
        if site.module in (Module.ATTENTION, Module.MLP):
            parts.setdefault(site.module, name.removesuffix(f".{site.leaf}"))
        if site.module is Module.ATTENTION and site.leaf in ("k_proj.weight", "v_proj.weight"):
            parts[site.leaf] = name.removesuffix(".weight")
    return tuple(_modules(layer, parts) for layer, parts in enumerate(found))


def _modules(layer: int, parts: dict[str, str]) -> LayerModules:
    for module in (Module.ATTENTION, Module.MLP):
        if module not in parts:
            raise ArchitectureError(
                f"decoder layer {layer} has no {module} among its tensors, so there is nothing to "
                f"probe. Expected names such as 'layers.{layer}.self_attn.q_proj.weight' and "
                f"'layers.{layer}.mlp.up_proj.weight'."
            )
    attention = parts[Module.ATTENTION]
    return LayerModules(
        layer=attention.rpartition(".")[0],
        attention=attention,
        mlp=parts[Module.MLP],
        keys=parts.get("k_proj.weight"),
        values=parts.get("v_proj.weight"),
    )
