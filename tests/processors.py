"""Processors of every family with a row, made here: a trained tokenizer, a small image processor.

Each is in a folder as its family publishes it, next to the family's tiny model, so that what the
tests load is what a user loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig

from tests.families import FAMILIES, built
from tests.families_more import MORE
from tests.specimen.training import build

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTEXT = 1024
_SQUARE = {"height": 28, "width": 28}
_PINPOINTS = [[28, 56], [56, 28]]
_BOS = "<|bos|>"


@dataclass(frozen=True)
class Recipe:
    """The parts of a family's processor.

    Attributes:
        kind: The processor's class; "" where the family's files name none.
        image: Class and settings of the image processor.
        settings: Of the processor itself.
        tokens: Special tokens, by what the tokenizer calls them; "" for those without a name.
        place: What the chat template writes for an image.
        ids: Fields of the configuration that hold a token's number.
        config: Further fields of the configuration.
        bos: Whether the template writes a first token and the tokenizer adds it.
        chats: Whether there is a chat template.
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
    "idefics3": _idefics("Idefics3Processor", "Idefics3ImageProcessor"),
    "smolvlm": _idefics("SmolVLMProcessor", "SmolVLMImageProcessor"),
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
    "mllama": Recipe(
        "MllamaProcessor",
        {"image_processor_type": "MllamaImageProcessor", "size": _SQUARE, "max_image_tiles": 4},
        tokens={"image_token": "<|image|>"},
        more_tokens=("<|python_tag|>",),
        place="<|image|>",
        ids={"image_token_index": "<|image|>"},
        bos=True,
    ),
    "gemma4": Recipe(
        "Gemma4Processor",
        {"image_processor_type": "Gemma4ImageProcessor", "patch_size": 16, "max_soft_tokens": 70,
         "pooling_kernel_size": 2},
        tokens={"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
                "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"},
        place="<|image|>",
        ids={"image_token_id": "<|image|>", "boi_token_id": "<|image>", "eoi_token_id": "<image|>",
             "audio_token_id": "<|audio|>", "boa_token_id": "<|audio>",
             "eoa_token_index": "<audio|>"},
        bos=True,
    ),
    "idefics2": Recipe(
        "Idefics2Processor",
        {"image_processor_type": "Idefics2ImageProcessor",
         "size": {"shortest_edge": 28, "longest_edge": 56}},
        {"image_seq_len": 4},
        tokens={"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"},
        more_tokens=("<end_of_utterance>",),
        bos=True,
    ),
    "minicpmv4_6": Recipe(
        "MiniCPMV4_6Processor",
        {"image_processor_type": "MiniCPMV4_6ImageProcessor", "scale_resolution": 56,
         "patch_size": 14, "max_slice_nums": 2},
        tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>",
                "image_start_token": "<image>", "image_end_token": "</image>",
                "slice_start_token": "<slice>", "slice_end_token": "</slice>",
                "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>"},
        place="<|image_pad|>",
        ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
    ),
    "ovis2": Recipe(
        "Ovis2Processor",
        {"image_processor_type": "Ovis2ImageProcessor", "size": _SQUARE, "crop_to_patches": True,
         "max_patches": 3},
        {"image_seq_length": 1},
        more_tokens=("<IMG_START>", "<IMG_ATOM>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>",
                     "<IMG_END>"),
        ids={"image_token_id": "<IMG_ATOM>"},
    ),
    "paddleocr_vl": Recipe(
        "PaddleOCRVLProcessor",
        {"image_processor_type": "PaddleOCRVLImageProcessor", **_QWEN_PIXELS, "patch_size": 14},
        tokens={"image_token": "<|IMAGE_PLACEHOLDER|>"},
        more_tokens=("<|IMAGE_START|>", "<|IMAGE_END|>", "<|VIDEO|>"),
        place="<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        ids={"image_token_id": "<|IMAGE_PLACEHOLDER|>", "video_token_id": "<|VIDEO|>",
             "vision_start_token_id": "<|IMAGE_START|>", "vision_end_token_id": "<|IMAGE_END|>"},
        bos=True,
    ),
    "hunyuan_vl": Recipe(
        "HunYuanVLProcessor",
        {"image_processor_type": "HunYuanVLImageProcessor", **_QWEN_PIXELS, "patch_size": 14},
        tokens={"image_token": "<img>", "image_start_token": "<imgs>", "image_end_token": "<imge>"},
        more_tokens=("<nl>",),
        place="<imgs><img><imge>",
        ids={"image_token_id": "<img>", "im_start_id": "<imgs>", "im_end_id": "<imge>",
             "im_newline_id": "<nl>"},
    ),
    "ernie4_5_vl_moe": Recipe(
        "Ernie4_5_VLMoeProcessor",
        {"image_processor_type": "Ernie4_5_VLMoeImageProcessor", **_QWEN_PIXELS, "patch_size": 14},
        tokens={"image_token": "<|IMAGE|>", "image_start_token": "<|IMAGE_START|>",
                "image_end_token": "<|IMAGE_END|>", "video_token": "<|VIDEO|>",
                "video_start_token": "<|VIDEO_START|>", "video_end_token": "<|VIDEO_END|>"},
        place="<|IMAGE_START|><|IMAGE|><|IMAGE_END|>",
        ids={"image_token_id": "<|IMAGE|>", "image_start_token_id": "<|IMAGE_START|>",
             "image_end_token_id": "<|IMAGE_END|>", "video_token_id": "<|VIDEO|>",
             "video_start_token_id": "<|VIDEO_START|>", "video_end_token_id": "<|VIDEO_END|>"},
    ),
    "deepseek_vl_v2": Recipe(
        "DeepseekOcr2Processor",
        {"image_processor_type": "DeepseekOcr2ImageProcessor"},
        bos=True,
    ),
    "glm_ocr": _glm("Glm46VProcessor", "Glm46VImageProcessor"),
    "janus": Recipe(
        "JanusProcessor",
        {"image_processor_type": "JanusImageProcessor", "size": _SQUARE, "min_size": 14},
        {"num_image_tokens": 4},
        tokens={"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>",
                "eoi_token": "<end_of_image>"},
        place="<image_placeholder>",
        ids={"image_token_id": "<image_placeholder>"},
        bos=True,
    ),
    "video_llava": Recipe(
        "VideoLlavaProcessor",
        {"image_processor_type": "VideoLlavaImageProcessor", **_CLIP_SIZE},
        {"patch_size": 14, "vision_feature_select_strategy": "default",
         "num_additional_image_tokens": 1},
        tokens={"image_token": "<image>", "video_token": "<video>"},
        ids={"image_token_index": "<image>", "video_token_index": "<video>"},
    ),
    "qwen2_5_omni": Recipe(
        "",
        {"image_processor_type": "Qwen2VLImageProcessor", **_QWEN_PIXELS, "patch_size": 14},
        tokens={"image_token": "<|IMAGE|>"},
        more_tokens=("<|AUDIO|>", "<|VIDEO|>", "<|vision_bos|>", "<|vision_eos|>", "<|audio_bos|>",
                     "<|audio_eos|>"),
        place="<|vision_bos|><|IMAGE|><|vision_eos|>",
        ids={
            **{f"{kind}_token_{end}": f"<|{kind.upper()}|>"
               for kind in ("image", "video", "audio") for end in ("id", "index")},
            **{f"{kind}_{end}_token_id": f"<|{kind}_{mark}|>"
               for kind in ("vision", "audio") for end, mark in (("start", "bos"), ("end", "eos"))},
        },
    ),
}  # fmt: skip


TORCHVISION = {
    "cohere2_vision": ("cohere2_vision", "Cohere2VisionProcessor", "Cohere2VisionImageProcessor"),
    "llama4": ("llama4", "Llama4Processor", "Llama4ImageProcessor"),
    "lfm2_vl": ("lfm2_vl", "Lfm2VlProcessor", "Lfm2VlImageProcessor"),
    "kimi_vl": ("kimi_k25", "Kimi_K25Processor", "Kimi_K25ImageProcessor"),
    "molmo2": ("molmo2", "Molmo2Processor", "Molmo2ImageProcessor"),
    "mistral3": ("mistral3", "PixtralProcessor", "PixtralImageProcessor"),
    "pixtral": ("llava", "PixtralProcessor", "PixtralImageProcessor"),
}
"""Families whose processor needs it even for images: `model_type`, processor, image processor."""
TEMPLATELESS = {
    "paligemma": ("paligemma", "PaliGemmaProcessor", "SiglipImageProcessor"),
    "blip-2": ("blip-2", "Blip2Processor", "BlipImageProcessor"),
    "idefics": ("idefics", "IdeficsProcessor", "IdeficsImageProcessor"),
}
"""Families that are published without a chat template."""


def save_bare(family: str, folder: Path) -> Path:
    """Save configuration, tokenizer and processor files of one of those two; no weights."""
    model_type, kind, image = (TORCHVISION | TEMPLATELESS)[family]
    AutoConfig.for_model(model_type).save_pretrained(folder)
    chats = family not in TEMPLATELESS
    _tokenizer(Recipe(kind, {}, bos=True, chats=chats)).save_pretrained(folder)
    settings = {"image_processor_type": image, "image_seq_length": 4}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": kind}))
    return folder


def save_whole(family: str, folder: Path, *, seed: int = 3) -> Path:
    """Save a family's tiny model with tokenizer and processor, in float32.

    Args:
        family: A key of `RECIPES`.
        folder: Where to; made if need be.
        seed: Decides every weight.
    """
    recipe, tiny = RECIPES[family], (FAMILIES | MORE)[family]
    tokenizer = _tokenizer(recipe)
    token = tokenizer.convert_tokens_to_ids
    ends = {"eos_token_id": token("<|im_end|>"), "pad_token_id": token("<|endoftext|>"),
            "bos_token_id": token(_BOS) if recipe.bos else None}  # fmt: skip
    text = {**tiny.config["text_config"], "vocab_size": len(tokenizer) + 8,
            "max_position_embeddings": CONTEXT, **ends}  # fmt: skip
    ids = {name: token(item) for name, item in recipe.ids.items()}
    model = built(tiny, seed=seed, text_config=text, **ids, **recipe.config)
    for name, value in ends.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image = {"do_convert_rgb": True, **recipe.image}
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    settings = {"processor_class": recipe.kind, **recipe.settings} if recipe.kind else {}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def _tokenizer(recipe: Recipe) -> Any:
    """Return the specimen's tokenizer with the family's special tokens and template."""
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
