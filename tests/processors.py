"""Processors of every family with a row, made here: a trained tokenizer, a small image processor.

Each stands in a folder as its family publishes it, beside the family's tiny model, so that what the
tests load is what a user loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from surgery.specimen import build
from tests.families import FAMILIES, build_tiny

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTEXT = 1024
_SQUARE = {"height": 28, "width": 28}
_PINPOINTS = [[28, 56], [56, 28]]
_BOS = "<|bos|>"


@dataclass(frozen=True)
class Recipe:
    """How a family's processor is put together.

    Attributes:
        kind: The processor's class.
        image: Class and settings of the image processor.
        settings: Of the processor itself.
        tokens: Special tokens, by what the tokenizer calls them; "" for those without a name.
        place: What the chat template writes for an image.
        ids: Fields of the configuration that hold a token's number.
        config: Further fields of the configuration.
        bos: Whether the template writes a first token and the tokenizer adds it.
        chats: Whether there is a chat template.
        needs: Why it cannot be built without torchvision; "" where it can.
    """

    kind: str
    image: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=lambda: {"image_token": "<image>"})
    more_tokens: tuple[str, ...] = ()
    place: str = "<image>"
    ids: Mapping[str, str] = field(default_factory=lambda: {"image_token_id": "<image>"})
    config: Mapping[str, Any] = field(default_factory=dict)
    bos: bool = False
    chats: bool = True
    needs: str = ""


_QWEN_IDS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
}  # fmt: skip
_QWEN_PLACE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_PIXELS = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64}}


def _qwen(kind: str) -> Recipe:
    image = {"image_processor_type": "Qwen2VLImageProcessor", **_QWEN_PIXELS, "patch_size": 14}
    tokens = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    return Recipe(kind, image, tokens=tokens, place=_QWEN_PLACE, ids=_QWEN_IDS)


_GLM_TOKENS = ("<|begin_of_image|>", "<|image|>", "<|end_of_image|>",
               "<|begin_of_video|>", "<|video|>", "<|end_of_video|>")  # fmt: skip


def _glm(kind: str, image: str) -> Recipe:
    return Recipe(
        kind,
        {"image_processor_type": image, **_QWEN_PIXELS, "patch_size": 14},
        tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
        more_tokens=_GLM_TOKENS,
        place="<|begin_of_image|><|image|><|end_of_image|>",
        ids={
            "image_token_id": "<|image|>", "video_token_id": "<|video|>",
            "image_start_token_id": "<|begin_of_image|>", "image_end_token_id": "<|end_of_image|>",
            "video_start_token_id": "<|begin_of_video|>", "video_end_token_id": "<|end_of_video|>",
        },
    )  # fmt: skip


def _llava(kind: str, image: str, **image_settings: Any) -> Recipe:
    video = {"video_token": "<video>"} if "Video" in kind or "Onevision" in kind else {}
    return Recipe(
        kind,
        {"image_processor_type": image, **image_settings},
        {"patch_size": 14, "vision_feature_select_strategy": "default",
         "num_additional_image_tokens": 1},
        tokens={"image_token": "<image>", **video},
        ids={"image_token_index": "<image>"}
        | ({"video_token_index": "<video>"} if video else {}),
    )  # fmt: skip


_CLIP_SIZE = {"size": {"shortest_edge": 28}, "crop_size": _SQUARE}
_IDEFICS_TOKENS = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
                   *(f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)))  # fmt: skip


def _idefics(kind: str, image: str) -> Recipe:
    return Recipe(
        kind,
        {"image_processor_type": image, "size": {"longest_edge": 56},
         "max_image_size": {"longest_edge": 28}},
        {"image_seq_len": 1},
        more_tokens=_IDEFICS_TOKENS,
        bos=kind.startswith("Idefics"),
    )  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "qwen2_vl": _qwen("Qwen2VLProcessor"),
    "qwen2_5_vl": _qwen("Qwen2_5_VLProcessor"),
    "qwen3_vl": _qwen("Qwen3VLProcessor"),
    "qwen3_vl_moe": _qwen("Qwen3VLProcessor"),
    "qwen3_5": _qwen("Qwen3VLProcessor"),
    "qwen3_5_moe": _qwen("Qwen3VLProcessor"),
    "glm4v": _glm("Glm4vProcessor", "Glm4vImageProcessor"),
    "glm4v_moe": _glm("Glm4vProcessor", "Glm4vImageProcessor"),
    "glm46v": _glm("Glm46VProcessor", "Glm46VImageProcessor"),
    "llava": _llava("LlavaProcessor", "CLIPImageProcessor", **_CLIP_SIZE),
    "llava_next": _llava(
        "LlavaNextProcessor", "LlavaNextImageProcessor",
        **_CLIP_SIZE, image_grid_pinpoints=_PINPOINTS,
    ),
    "llava_next_video": _llava(
        "LlavaNextVideoProcessor", "LlavaNextImageProcessor",
        **_CLIP_SIZE, image_grid_pinpoints=_PINPOINTS,
    ),
    "llava_onevision": Recipe(
        "LlavaOnevisionProcessor",
        {"image_processor_type": "LlavaOnevisionImageProcessor", "size": _SQUARE,
         "image_grid_pinpoints": _PINPOINTS},
        {"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
        tokens={"image_token": "<image>", "video_token": "<video>"},
        ids={"image_token_index": "<image>", "video_token_index": "<video>"},
    ),
    "internvl": Recipe(
        "InternVLProcessor",
        {"image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE,
         "crop_to_patches": True, "max_patches": 4},
        {"image_seq_length": 1},
        tokens={"start_image_token": "<img>", "end_image_token": "</img>",
                "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
        place="<IMG_CONTEXT>\n",
        ids={"image_token_id": "<IMG_CONTEXT>"},
    ),
    "gemma3": Recipe(
        "Gemma3Processor",
        {"image_processor_type": "Gemma3ImageProcessor", "size": _SQUARE},
        {"image_seq_length": 4},
        tokens={"image_token": "<image_soft_token>", "boi_token": "<start_of_image>",
                "eoi_token": "<end_of_image>"},
        place="<start_of_image>",
        ids={"image_token_index": "<image_soft_token>", "boi_token_index": "<start_of_image>",
             "eoi_token_index": "<end_of_image>"},
        bos=True,
    ),
    "mistral3": Recipe(
        "PixtralProcessor",
        {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 56},
         "patch_size": 14},
        {"patch_size": 14, "spatial_merge_size": 2},
        tokens={},
        more_tokens=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        place="[IMG]",
        ids={"image_token_index": "[IMG]"},
        bos=True,
        needs="torchvision",
    ),
    "pixtral": Recipe(
        "PixtralProcessor",
        {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 56},
         "patch_size": 14},
        {"patch_size": 14},
        tokens={},
        more_tokens=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        place="[IMG]",
        ids={"image_token_index": "[IMG]"},
        bos=True,
        needs="torchvision",
    ),
    "idefics3": _idefics("Idefics3Processor", "Idefics3ImageProcessor"),
    "smolvlm": _idefics("SmolVLMProcessor", "SmolVLMImageProcessor"),
    "paligemma": Recipe(
        "PaliGemmaProcessor",
        {"image_processor_type": "SiglipImageProcessor", "size": _SQUARE, "image_seq_length": 4},
        ids={"image_token_index": "<image>"},
        bos=True,
        chats=False,
    ),
    "aya_vision": Recipe(
        "AyaVisionProcessor",
        {"image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE,
         "crop_to_patches": True, "max_patches": 4},
        {"patch_size": 14, "img_size": 28, "downsample_factor": 2},
        tokens={},
        more_tokens=("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>",
                     "<|IMG_LINE_BREAK|>"),
        ids={"image_token_index": "<|IMG_PATCH|>"},
        bos=True,
    ),
}  # fmt: skip


def save_whole(family: str, folder: Path, *, seed: int = 3) -> Path:
    """Save a family's tiny model with tokenizer and processor, in float32.

    Args:
        family: A key of `RECIPES`.
        folder: Where to; made if need be.
        seed: Decides every weight.
    """
    recipe = RECIPES[family]
    tokenizer = _tokenizer(recipe)
    token = tokenizer.convert_tokens_to_ids
    ends = {"eos_token_id": token("<|im_end|>"), "pad_token_id": token("<|endoftext|>"),
            "bos_token_id": token(_BOS) if recipe.bos else None}  # fmt: skip
    text = {**FAMILIES[family].config["text_config"], "vocab_size": len(tokenizer) + 8,
            "max_position_embeddings": CONTEXT, **ends}  # fmt: skip
    ids = {name: token(one) for name, one in recipe.ids.items()}
    model = build_tiny(family, seed=seed, text_config=text, **ids, **recipe.config)
    for name, value in ends.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image = {"do_convert_rgb": True, **recipe.image}
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    settings = {"processor_class": recipe.kind, **recipe.settings}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def _tokenizer(recipe: Recipe) -> Any:
    """The specimen's, trained here, with the family's special tokens and template."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    core = build.build_tokenizer().backend_tokenizer
    named = dict(recipe.tokens)
    template = build.CHAT_TEMPLATE.replace(_QWEN_PLACE, recipe.place)
    extra: dict[str, Any] = {}
    if recipe.bos:
        core.add_special_tokens([_BOS])
        core.post_processor = processors.TemplateProcessing(
            single=f"{_BOS} $A", pair=f"{_BOS} $A {_BOS} $B",
            special_tokens=[(_BOS, core.token_to_id(_BOS))],
        )  # fmt: skip
        template = "{{ bos_token }}" + template
        extra["bos_token"] = _BOS
    if recipe.chats:
        extra["chat_template"] = template
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        model_max_length=CONTEXT, clean_up_tokenization_spaces=False,
        extra_special_tokens=named, **extra,
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": [*recipe.more_tokens]})
    return tokenizer
