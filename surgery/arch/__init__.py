"""Sites and canonical names of a model's tensors, in any library's spelling."""

from __future__ import annotations

from surgery.arch.families import FAMILIES
from surgery.arch.family import Family
from surgery.arch.regions import Region, regions
from surgery.arch.resolve import ArchitectureWarning, find_family, resolve
from surgery.arch.site import Architecture, Component, Module, Site

__all__ = [
    "FAMILIES",
    "Architecture",
    "ArchitectureWarning",
    "Component",
    "Family",
    "Module",
    "Region",
    "Site",
    "find_family",
    "regions",
    "resolve",
]
