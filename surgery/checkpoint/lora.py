"""A PEFT LoRA adapter's files: what it changes, and by how much, before any product is formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from surgery.checkpoint.adapter_config import CONFIG
from surgery.errors import CheckpointError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.adapter_config import LoraConfig
    from surgery.checkpoint.source import TensorHeader

WEIGHTS = "adapter_model.safetensors"

_LINEAR = {"lora_A.weight": "a", "lora_B.weight": "b", "lora_magnitude_vector": "magnitude"}
_EMBEDDING = {"lora_embedding_A": "a", "lora_embedding_B": "b"}
_MAGNITUDE = "lora_magnitude_vector.weight"
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Factors:
    """The adapter's tensors for one weight.

    Attributes:
        module: The module's name, without PEFT's own prefix.
        a: Name of A, `Float[Tensor, "rank in"]`.
        b: Name of B, `Float[Tensor, "out rank"]`.
        magnitude: Name of DoRA's magnitudes, `Float[Tensor, "out"]`, if there are any.
        embedding: Whether the weight is an embedding table, `(B A)^T`.
    """

    module: str
    a: str
    b: str
    magnitude: str | None
    embedding: bool


def group(names: Iterable[str], path: Path) -> tuple[list[Factors], dict[str, str]]:
    """Sort an adapter's tensors into factors and whole replacements.

    Args:
        names: The names in `adapter_model.safetensors`.
        path: That file, for messages.

    Returns:
        Factors by module, and plain tensor name (as the base would spell it) to the adapter's name
        of the tensor that replaces it (`modules_to_save`, biases, saved embeddings).

    Raises:
        CheckpointError: If a factor lacks its partner.
    """
    parts: dict[str, dict[str, str]] = {}
    embeddings: set[str] = set()
    whole: dict[str, str] = {}
    for name in names:
        plain = name.removeprefix(_PREFIX)
        plain = plain.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        factor = _factor(plain)
        if factor is None:
            whole[plain] = name
        else:
            module, role, embedding = factor
            parts.setdefault(module, {})[role] = name
            embeddings |= {module} if embedding else set()
    factors = []
    for module, roles in parts.items():
        if "a" not in roles or "b" not in roles:
            raise CheckpointError(
                f"{path}: {module!r} has only {', '.join(sorted(roles.values()))}; a LoRA needs "
                "both A and B. The adapter was saved incompletely."
            )
        magnitude = roles.get("magnitude")
        factors.append(Factors(module, roles["a"], roles["b"], magnitude, module in embeddings))
    return factors, whole


def check_factors(
    factors: Factors,
    config: LoraConfig,
    adapter: Mapping[str, TensorHeader],
    weight: TensorHeader,
    path: Path,
) -> bool:
    """Check that factors fit each other, their configuration and the weight they change.

    Returns:
        Whether the weight is stored transposed, so that its change is `(B A)^T`.

    Raises:
        CheckpointError: If they do not fit.
    """
    a, b = adapter[factors.a], adapter[factors.b]
    if not (a.dtype.is_floating and b.dtype.is_floating and weight.dtype.is_floating):
        raise CheckpointError(
            f"{path}: LoRA on {factors.module!r} has element types {b.dtype} x {a.dtype} for a "
            f"weight in {weight.dtype}; expected floating-point types."
        )
    rank = config.rank_of(factors.module)
    if len(b.shape) < 2 or a.shape[:1] != (rank,) or b.numel != b.shape[0] * rank:
        raise CheckpointError(
            f"{path}: LoRA on {factors.module!r} is {list(b.shape)} x {list(a.shape)}, but "
            f"{CONFIG} says its rank is {rank}."
        )
    _check_magnitude(factors, config, adapter, path)
    # A convolution's A has the kernel's axes, and its B is one by one: still (out, r) x (r, ...).
    product = (b.shape[0], *a.shape[1:])
    turned = factors.embedding or (config.transposed and product != weight.shape)
    if config.transposed and not turned and product[0] == product[-1]:
        raise CheckpointError(
            f"{path}: fan_in_fan_out is set and {factors.module!r} is square, so it is unclear "
            "which way its weight is stored. Merge it with PEFT first (`merge_and_unload()`)."
        )
    matrix = len(a.shape) == len(b.shape) == 2
    if (
        len(product) < 2
        or (turned and not matrix)
        or (product[::-1] if turned else product) != weight.shape
    ):
        raise CheckpointError(
            f"{path}: LoRA on {factors.module!r} makes {list(product)}, but the base's "
            f"{weight.name!r} is {list(weight.shape)}. The adapter was trained on another base, or "
            "in a way that only PEFT can merge (`merge_and_unload()`)."
        )
    return turned


def _check_magnitude(
    factors: Factors, config: LoraConfig, adapter: Mapping[str, TensorHeader], path: Path
) -> None:
    if config.dora and (factors.embedding or config.transposed):
        raise CheckpointError(
            f"{path}: DoRA on {factors.module!r}, an embedding or transposed weight, is not "
            "supported. Merge it with PEFT first (`merge_and_unload()`)."
        )
    if config.dora != (factors.magnitude is not None):
        raise CheckpointError(
            f"{path}: use_dora is {config.dora}, but {factors.module!r} has "
            f"{'no' if config.dora else 'a'} magnitude vector. The adapter is incomplete."
        )
    if factors.magnitude is None:
        return
    numel, rows = adapter[factors.magnitude].numel, adapter[factors.b].shape[0]
    if numel != rows:
        raise CheckpointError(f"{path}: {factors.module!r} has {numel} magnitudes for {rows} rows.")


def unmatched(names: Sequence[str], base: Mapping[str, TensorHeader], path: Path) -> str:
    """Return the error message for tensors without a counterpart in the base."""
    near = did_you_mean(names[0], base)
    near = near if near.startswith(" Did") else ""
    return (
        f"{path}: {len(names)} of the adapter's tensors have no counterpart in the base, among "
        f"them {names[0]!r}.{near} Was the adapter trained on another model?"
    )


def _factor(plain: str) -> tuple[str, str, bool] | None:
    if plain.endswith(f".{_MAGNITUDE}"):
        return plain.removesuffix(f".{_MAGNITUDE}"), "magnitude", False
    for table, embedding in ((_LINEAR, False), (_EMBEDDING, True)):
        for ending, role in table.items():
            if plain.endswith(f".{ending}"):
                return plain.removesuffix(f".{ending}"), role, embedding
    return None
