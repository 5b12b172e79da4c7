"""Fields of `adapter_config.json` that define a LoRA product; unknown fields are refused.

PEFT adds fields with every release, and a field that is passed over may change every weight. So
each field is read, known to be without effect on the merged weights, refused for what it stands
for, or refused by its name. The tables were made from PEFT 0.21, by its code and by training.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CONFIG = "adapter_config.json"

READ = frozenset(
    {
        "peft_type",
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "use_dora",
        "fan_in_fan_out",
        "init_lora_weights",
    }
)
WITHOUT_EFFECT = frozenset(
    {
        # About where the adapter comes from.
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_version",
        "revision",
        "task_type",
        # About which modules it has; the names of its tensors say that.
        "bias",
        "ensure_weight_tying",
        "exclude_modules",
        "layers_pattern",
        "layers_to_transform",
        "modules_to_save",
        "target_modules",
        # About training only, or about what another field switches on.
        "corda_config",
        "eva_config",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "merge_weights",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
    }
)
"""Fields whose value does not change what base and adapter are merged to."""

UNSUPPORTED = {
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
"""Fields that change the product in ways that are not formed here."""

_MERGE = (
    "Merge it with PEFT (`merge_and_unload()`, then `save_pretrained`) and name the merged folder."
)
_CONVERT = "`save_pretrained(..., path_initial_model_for_weight_conversion=...)`"
# Initialisations that do not change the base; PEFT ignores the case of some.
_NEUTRAL = frozenset({"gaussian", "orthogonal", "eva", "mica"})
_AGAIN = (
    "PEFT makes the same change when it loads the adapter on the same base: "
    f"{_MERGE[0].lower()}{_MERGE[1:]} Or save it as plain LoRA where it is trained: {_CONVERT}."
)
_ONCE = (
    "PEFT cannot make the same change when it loads the adapter. Where it is trained, save it as "
    f"plain LoRA ({_CONVERT}), or merge it (`merge_and_unload()`) and name the merged folder."
)
# Prefixes of those that change the base, with the way out; the first that fits is used.
_CHANGING = {"pissa_": _ONCE, "pissa": _AGAIN, "olora": _AGAIN, "corda": _ONCE, "lora_ga": _ONCE,
             "loftq": _MERGE}  # fmt: skip


@dataclass(frozen=True)
class LoraConfig:
    """The settings in `adapter_config.json` that form the product B A.

    Attributes:
        rank: Inner dimension where no pattern says otherwise.
        alpha: Numerator of the scaling, likewise.
        ranks: Rank by pattern of module names.
        alphas: Alpha by pattern of module names.
        rank_stabilized: Whether scaling is alpha / sqrt(r) (Kalajdzievski 2023, arXiv 2312.03732)
            rather than alpha / r (Hu et al. 2021, arXiv 2106.09685, section 4.1).
        dora: Whether rows are rescaled to learned magnitudes (Liu et al. 2024, arXiv 2402.09353).
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
        """Return the factor before B A for one module, computed as in PEFT."""
        rank = self.rank_of(module)
        pattern = _matching(self.alphas, module)
        alpha = self.alpha if pattern is None else self.alphas[pattern]
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def rank_of(self, module: str) -> int:
        """Return the inner dimension of one module."""
        pattern = _matching(self.ranks, module)
        return self.rank if pattern is None else self.ranks[pattern]


def parse_config(fields: Mapping[str, Any], path: Path) -> LoraConfig:
    """Check an `adapter_config.json`.

    Args:
        fields: The parsed file.
        path: Where it stands, for messages.

    Returns:
        What matters for the product.

    Raises:
        CheckpointError: If it is no LoRA, or of a kind whose product is not known here.
    """
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(
            f"{path}: peft_type is {kind!r}; only 'LORA' can be merged here. If PEFT can merge it, "
            "do so (`merge_and_unload()`, then `save_pretrained`) and name the merged folder."
        )
    _check_fields(fields, path)
    _check_initialisation(fields.get("init_lora_weights"), path)
    return LoraConfig(
        rank=_rank(fields.get("r"), "r", path),
        alpha=_number(fields.get("lora_alpha"), "lora_alpha", path),
        ranks={k: _rank(v, k, path) for k, v in _patterns(fields, "rank_pattern", path)},
        alphas={k: _number(v, k, path) for k, v in _patterns(fields, "alpha_pattern", path)},
        rank_stabilized=_flag(fields, "use_rslora", path),
        dora=_flag(fields, "use_dora", path),
        transposed=_flag(fields, "fan_in_fan_out", path),
    )


def _check_fields(fields: Mapping[str, Any], path: Path) -> None:
    """Refuse fields that are not formed here, or not known and set to something."""
    for field, meaning in UNSUPPORTED.items():
        if fields.get(field):
            raise CheckpointError(
                f"{path}: uses {meaning} ({field}), which is not supported. {_MERGE}"
            )
    unknown = fields.keys() - READ - WITHOUT_EFFECT - UNSUPPORTED.keys()
    for field in sorted(field for field in unknown if fields[field]):
        raise CheckpointError(
            f"{path}: sets {field[:80]!r} to {str(fields[field])[:80]!r}, whose effect on the "
            f"weights is unknown. {_MERGE} If it has no effect on the weights, take it "
            "out of a copy of the file."
        )


def _check_initialisation(value: object, path: Path) -> None:
    """Refuse an initialisation after which base plus product is not the trained model."""
    if value is None or isinstance(value, bool):
        return
    name = value.lower() if isinstance(value, str) else ""
    if name in _NEUTRAL:
        return
    for beginning, way in _CHANGING.items():
        if name.startswith(beginning):
            raise CheckpointError(
                f"{path}: init_lora_weights is {value!r}, which changes the base's weights before "
                "training begins, so the base plus this adapter is not the model that was "
                f"trained. {way}"
            )
    raise CheckpointError(
        f"{path}: init_lora_weights is {str(value)[:80]!r}, and whether that changes the base's "
        f"weights is unknown. {_MERGE}"
    )


def _matching(patterns: Iterable[str], module: str) -> str | None:
    """Return the first pattern that matches the module or an end of its name, as in PEFT."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), None)


def _patterns(fields: Mapping[str, Any], field: str, path: Path) -> Iterable[tuple[str, Any]]:
    patterns = fields.get(field) or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(f"{path}: {field} must be an object of pattern to number.")
    for pattern in patterns:
        # Matching a repeated group can take exponential time.
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


def _rank(value: object, field: str, path: Path) -> int:
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path}: {field} is {value!r}; expected a rank, 1 or more.")
    return value


def _number(value: object, field: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CheckpointError(f"{path}: {field} is {value!r}; expected a number.")
    return value


def _flag(fields: Mapping[str, Any], field: str, path: Path) -> bool:
    value = fields.get(field, False)
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"{path}: {field} is {str(value)[:80]!r}; expected true or false.")
    return bool(value)
