"""Tiny models of further families, which are asked and merged whole; as tests/families.py."""

from __future__ import annotations

from tests.families import _CLIP, _GLM_IDS, _GLM_VIT, _HEAD, _MROPE, _TEXT, _VIT, _WHOLE_MROPE, Tiny

_LLAMA = {"model_type": "llama", **_TEXT}
_OMNI_VIT = {
    "depth": 2, "num_heads": 2, "patch_size": 14, "hidden_size": 32, "intermediate_size": 48,
    "out_hidden_size": 32, "fullatt_block_indexes": [1],
}  # fmt: skip
_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
            "n_shared_experts": 1, "mlp_layer_types": ["dense", *["sparse"] * 3], "n_group": 1,
            "topk_group": 1}  # fmt: skip

MORE: dict[str, Tiny] = {
    "mllama": Tiny(
        "mllama",
        "MllamaForConditionalGeneration",
        {
            "text_config": {
                **_TEXT, "cross_attention_layers": [1, 3],
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            },
            "vision_config": {
                "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
                "num_global_layers": 1, "attention_heads": 2, "image_size": 28, "patch_size": 14,
                "vision_output_dim": 72, "intermediate_layers_indices": [0, 2], "max_num_tiles": 4,
            },
        },
    ),
    "gemma4": Tiny(
        "gemma4",
        "Gemma4ForConditionalGeneration",
        {
            "text_config": {
                **_TEXT, **_HEAD, "global_head_dim": 8, "hidden_size_per_layer_input": 4,
                "vocab_size_per_layer_input": 600, "sliding_window": 512,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
            },
            "vision_config": {
                "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 12,
                "patch_size": 16, "pooling_kernel_size": 2, "position_embedding_size": 64,
            },
            "audio_config": None,
        },
    ),
    "idefics2": Tiny(
        "idefics2",
        "Idefics2ForConditionalGeneration",
        {
            "text_config": {"model_type": "mistral", **_TEXT, **_HEAD},
            "vision_config": {**_VIT, "image_size": 56},
            "perceiver_config": {
                "hidden_size": 32, "resampler_n_latents": 4, "resampler_depth": 1,
                "resampler_n_heads": 2, "resampler_head_dim": 8, "num_key_value_heads": 1,
            },
        },
    ),
    "minicpmv4_6": Tiny(
        "minicpmv4_6",
        "MiniCPMV4_6ForConditionalGeneration",
        {
            "text_config": {"model_type": "qwen3", **_TEXT, **_HEAD},
            "vision_config": {**_VIT, "image_size": 56, "insert_layer_id": 1},
            "insert_layer_id": 1,
            "image_size": 56,
        },
    ),
    "ovis2": Tiny(
        "ovis2",
        "Ovis2ForConditionalGeneration",
        {
            "text_config": {"model_type": "qwen2", **_TEXT},
            "vision_config": {**_VIT, "vocab_size": 40, "hidden_stride": 2},
            "hidden_size": 32,
            "vocab_size": 96,
        },
    ),
    "paddleocr_vl": Tiny(
        "paddleocr_vl",
        "PaddleOCRVLForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_HEAD, **_MROPE},
            "vision_config": {**_VIT, "image_size": 56},
        },
    ),
    "hunyuan_vl": Tiny(
        "hunyuan_vl",
        "HunYuanVLForConditionalGeneration",
        {
            "text_config": {
                **_TEXT, **_HEAD,
                "rope_parameters": {
                    "rope_type": "dynamic", "rope_theta": 1e4, "alpha": 1000.0, "factor": 1.0,
                    "xdrope_section": [1, 1, 1, 1],
                },
            },
            "vision_config": {
                "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
                "num_attention_heads": 2, "patch_size": 14, "out_hidden_size": 32,
                "max_image_size": 224, "text_hidden_size": 32,
            },
        },
    ),
    "ernie4_5_vl_moe": Tiny(
        "ernie4_5_vl_moe",
        "Ernie4_5_VLMoeForConditionalGeneration",
        {
            "text_config": {
                **_TEXT, **_MROPE, "moe_intermediate_size": [16, 8], "moe_k": 2,
                "moe_num_experts": 4, "moe_num_shared_experts": 1,
            },
            "vision_config": {
                "depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48,
                "patch_size": 14,
            },
        },
    ),
    "deepseek_vl_v2": Tiny(
        "deepseek_ocr2",
        "DeepseekOcr2ForConditionalGeneration",
        {
            "text_config": {**_TEXT, "num_key_value_heads": 4, **_EXPERTS},
            "vision_config": {
                "sam_config": {
                    "hidden_size": 24, "output_channels": 16, "num_hidden_layers": 2,
                    "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
                    "global_attn_indexes": [1], "mlp_dim": 32, "downsample_channels": [16, 32],
                },
                "encoder_config": {**_TEXT, "num_hidden_layers": 2},
            },
        },
    ),
    "glm_ocr": Tiny(
        "glm_ocr",
        "GlmOcrForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_WHOLE_MROPE},
            "vision_config": {**_GLM_VIT, "image_size": 28},
            **_GLM_IDS,
        },
    ),
    "janus": Tiny(
        "janus",
        "JanusForConditionalGeneration",
        {
            "text_config": _LLAMA,
            "vision_config": {**_VIT, "projection_dim": 32, "num_image_tokens": 4, "depth": 1},
            "vq_config": {
                "embed_dim": 8, "num_embeddings": 16, "latent_channels": 8, "base_channels": 32,
                "channel_multiplier": [1], "num_res_blocks": 1, "num_patches": 4,
                "image_token_embed_dim": 8, "projection_dim": 32, "hidden_size": 32,
            },
        },
    ),
    "video_llava": Tiny(
        "video_llava",
        "VideoLlavaForConditionalGeneration",
        {
            "text_config": _LLAMA, "vision_config": _CLIP, "image_seq_length": 4,
            "video_seq_length": 4,
        },
    ),
    "qwen2_5_omni": Tiny(
        "qwen2_5_omni_thinker",
        "Qwen2_5OmniThinkerForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_MROPE},
            "vision_config": _OMNI_VIT,
            "audio_config": {
                "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32, "output_dim": 32, "num_mel_bins": 16,
            },
        },
    ),
}  # fmt: skip
