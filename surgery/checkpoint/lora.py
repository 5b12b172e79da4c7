"""A PEFT LoRA adapter's files: what it changes, and by how much, before any product is formed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surgery.errors import CheckpointError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.source import TensorHeader

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_LINEAR = {"lora_A.weight": "a", "lora_B.weight": "b", "lora_magnitude_vector": "magnitude"}
_EMBEDDING = {"lora_embedding_A": "a", "lora_embedding_B": "b"}
_MAGNITUDE = "lora_magnitude_vector.weight"
_PREFIX = "base_model.model."

# Fields of adapter_config.json that change the product in ways this module does not form.
_UNSUPPORTED = {
    "target_parameters": "LoRA on bare parameters",
    "trainable_token_indices": "trainable tokens",
    "layer_replication": "replicated layers",
    "lora_bias": "a bias in the LoRA layers",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "alora_invocation_tokens": "activated LoRA, whose weights cannot be merged",
    "arrow_config": "Arrow routing, whose weights cannot be merged",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "megatron_config": "Megatron layers",
}


@dataclass(frozen=True)
class LoraConfig:
    """What `adapter_config.json` says of the product.

    Attributes:
        rank: Inner dimension where no pattern says otherwise.
        alpha: Numerator of the scaling, likewise.
        ranks: Rank by pattern of module names.
        alphas: Alpha by pattern of module names.
        rank_stabilized: Whether scaling is alpha / sqrt(r) (Kalajdzievski 2023, arXiv 2312.03732)
            rather than alpha / r (Hu et al. 2021, arXiv 2106.09685, section 4.1).
        dora: Whether rows are rescaled to learnt magnitudes (Liu et al. 2024, arXiv 2402.09353).
        transposed: Whether linear weights are stored (in, out), PEFT's `fan_in_fan_out`.
    """

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    rank_stabilized: bool
    dora: bool
    transposed: bool

    def scaling(self, module: str) -> float:
        """The factor before B A for one module, worked out as PEFT does."""
        rank = self.rank_of(module)
        pattern = _matching(self.alphas, module)
        alpha = self.alpha if pattern is None else self.alphas[pattern]
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def rank_of(self, module: str) -> int:
        """The inner dimension of one module."""
        pattern = _matching(self.ranks, module)
        return self.rank if pattern is None else self.ranks[pattern]


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


def parse_config(found: Mapping[str, Any], path: Path) -> LoraConfig:
    """Check an `adapter_config.json`.

    Args:
        found: The parsed file.
        path: Where it stands, for messages.

    Returns:
        What matters for the product.

    Raises:
        CheckpointError: If it is no LoRA, or of a kind whose product is not known here.
    """
    kind = found.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{path}: peft_type is {kind!r}; only 'LORA' can be merged here.")
    for field, what in _UNSUPPORTED.items():
        if found.get(field):
            raise CheckpointError(
                f"{path}: uses {what} ({field}), which is not supported. Merge it with PEFT "
                "(`merge_and_unload()`, then `save_pretrained`) and name the merged folder."
            )
    return LoraConfig(
        rank=_rank(found.get("r"), "r", path),
        alpha=_number(found.get("lora_alpha"), "lora_alpha", path),
        ranks={k: _rank(v, k, path) for k, v in _patterns(found, "rank_pattern", path)},
        alphas={k: _number(v, k, path) for k, v in _patterns(found, "alpha_pattern", path)},
        rank_stabilized=bool(found.get("use_rslora")),
        dora=bool(found.get("use_dora")),
        transposed=bool(found.get("fan_in_fan_out")),
    )


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
    parts: dict[tuple[str, bool], dict[str, str]] = {}
    whole: dict[str, str] = {}
    for name in names:
        plain = name.removeprefix(_PREFIX)
        plain = plain.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        found = _factor(plain)
        if found is None:
            whole[plain] = name
        else:
            module, role, embedding = found
            parts.setdefault((module, embedding), {})[role] = name
    factors = []
    for (module, embedding), roles in parts.items():
        if "a" not in roles or "b" not in roles:
            raise CheckpointError(
                f"{path}: {module!r} has only {', '.join(sorted(roles.values()))}; a LoRA needs "
                "both A and B. The adapter was saved incompletely."
            )
        factors.append(Factors(module, roles["a"], roles["b"], roles.get("magnitude"), embedding))
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
            f"weight in {weight.dtype}; expected floating ones."
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
    found, rows = adapter[factors.magnitude].numel, adapter[factors.b].shape[0]
    if found != rows:
        raise CheckpointError(f"{path}: {factors.module!r} has {found} magnitudes for {rows} rows.")


def unmatched(names: Sequence[str], base: Mapping[str, TensorHeader], path: Path) -> str:
    """The message for tensors that have no counterpart in the base."""
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


def _matching(patterns: Iterable[str], module: str) -> str | None:
    """The first pattern that names the module or an end of it, as PEFT matches them."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), None)


def _patterns(found: Mapping[str, Any], field: str, path: Path) -> Iterable[tuple[str, Any]]:
    patterns = found.get(field) or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(f"{path}: {field} must be an object of pattern to number.")
    for pattern in patterns:
        # A repeated group can take longer than the universe to match.
        if len(pattern) > 200 or re.search(r"\)[*+{]", pattern):
            raise CheckpointError(
                f"{path}: {field} {pattern[:100]!r} is too complicated; expected module names or "
                "a short expression without repeated groups."
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(f"{path}: {field} {pattern!r}: {error}.") from error
    return patterns.items()


def _rank(found: object, field: str, path: Path) -> int:
    if type(found) is not int or found < 1:
        raise CheckpointError(f"{path}: {field} is {found!r}; expected a rank, 1 or more.")
    return found


def _number(found: object, field: str, path: Path) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise CheckpointError(f"{path}: {field} is {found!r}; expected a number.")
    return found
