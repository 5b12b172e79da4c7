"""A checkpoint's tensors, found by site instead of by name."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from surgery.arch.experts import expert_layouts
from surgery.arch.site import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.experts import ExpertLayout, Layer
    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.source import CheckpointInfo, TensorHeader


class SiteIndex:
    """The tensors of one checkpoint by site.

    Attributes:
        name: The checkpoint's name in a recipe or a comparison.
        info: Its headers.
        architecture: Its sites.
    """

    def __init__(self, name: str, info: CheckpointInfo, architecture: Architecture) -> None:
        self.name = name
        self.info = info
        self.architecture = architecture
        self._names = architecture.names()

    def find(self, site: Site) -> TensorHeader | None:
        """Return the tensor at `site`, or None; a tied head is found at the embedding."""
        name = self._names.get(site)
        if name is None and site.component is Component.HEAD and site.leaf.endswith("weight"):
            name = self._tied
        return None if name is None else self.info.tensors[name]

    @cached_property
    def experts(self) -> Mapping[Layer, ExpertLayout]:
        """Return the layout in which each layer's experts are stored."""
        tensors = self.info.tensors
        return expert_layouts({site: tensors[name].shape for site, name in self._names.items()})

    @cached_property
    def _tied(self) -> str | None:
        """Return the name of the embedding that a head without tensors of its own is tied to."""
        if not self.architecture.tied_head or any(
            site.component is Component.HEAD for site in self._names
        ):
            return None
        embeddings = [
            name
            for site, name in self._names.items()
            if site.component is Component.EMBEDDING and site.leaf.endswith("weight")
        ]
        return embeddings[0] if len(embeddings) == 1 else None
