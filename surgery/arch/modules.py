"""The modules of a loaded model that a decoder layer is made of, by the names of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from surgery.arch.site import Component, Module
from surgery.errors import ArchitectureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.site import Architecture, Site


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
    """Find the modules of every decoder layer, in order.

    Args:
        architecture: Of the names that the loaded model's `state_dict` has.

    Raises:
        ArchitectureError: If a layer has no attention over its own sequence, or no module that is
            its whole MLP.
    """
    layers: list[dict[str, Site]] = [{} for _ in range(architecture.layers[Component.LANGUAGE])]
    for name, site in architecture.sites.items():
        if site.component is Component.LANGUAGE and site.layer is not None:
            layers[site.layer][name] = site
    return tuple(_modules(layer, sites) for layer, sites in enumerate(layers))


def _modules(layer: int, sites: Mapping[str, Site]) -> LayerModules:
    attention = _block(layer, Module.ATTENTION, sites)
    leaves = {
        site.leaf: name.removesuffix(".weight")
        for name, site in sites.items()
        if site.module is Module.ATTENTION
    }
    return LayerModules(
        layer=attention.rpartition(".")[0],
        attention=attention,
        mlp=_block(layer, Module.MLP, sites),
        keys=leaves.get("k_proj.weight"),
        values=leaves.get("v_proj.weight"),
    )


def _block(layer: int, module: Module, sites: Mapping[str, Site]) -> str:
    """Return the module that is a layer's whole attention or MLP: the longest shared prefix."""
    blocks = {name: site for name, site in sites.items() if site.module is module}
    for name, site in blocks.items():
        path = name.removesuffix(f".{site.leaf}")
        if not path.endswith(f".{layer}"):
            return path
    inside = list(dict.fromkeys(site.leaf.split(".")[0] for site in blocks.values()))
    modules = list(dict.fromkeys(str(site.module) for site in sites.values()))
    reason = f"its {module} is {', '.join(inside)}" if inside else f"it has {', '.join(modules)}"
    raise ArchitectureError(
        f"decoder layer {layer} has no module that is its whole {module} over the sequence's own "
        f"tokens ({reason}), so it cannot be probed. Expected names such as "
        f"'layers.{layer}.self_attn.q_proj.weight' and 'layers.{layer}.mlp.up_proj.weight'; "
        f"separate cross-attention to an image, state-space and convolution layers and "
        f"MLPs in several modules are not probed."
    )
