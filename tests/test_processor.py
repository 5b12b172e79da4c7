"""The processor loader: the right tokens, any mix of rows, and clear refusals."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer
from transformers.processing_utils import ProcessorMixin

from surgery import processor as module
from surgery import specimen
from surgery.errors import SurgeryError
from surgery.processor import ImageOnlyProcessor, Processor, load_processor
from tests.processors import save_whole

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDER = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def loaded() -> Processor:
    return load_processor(specimen.path("in"))


def picture(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (200, 30, 30))


def brute_force_tokens(width: int, height: int) -> int:
    """Cells of 28 px after rounding each side to the nearest multiple (no limit reached)."""
    return len(range(0, round(width / 28) * 28, 28)) * len(range(0, round(height / 28) * 28, 28))


@pytest.mark.parametrize("size", [(84, 84), (56, 84), (140, 60), (100, 199), (57, 57)])
def test_one_token_per_merged_cell(loaded: Processor, size: tuple[int, int]) -> None:
    batch = loaded(text=[PLACEHOLDER], images=[picture(*size)], return_tensors="pt")
    tokens = batch["input_ids"] == loaded.image_token_id
    assert int(tokens.sum()) == brute_force_tokens(*size)
    assert int(tokens.sum()) == int(batch["image_grid_thw"].prod()) // 4
    assert torch.equal(batch["mm_token_type_ids"].bool(), tokens)


@pytest.mark.parametrize("layout", ["flat", "rows", "none"])
def test_rows_without_images(loaded: Processor, layout: str) -> None:
    item, two = picture(84, 84), picture(56, 56)
    text = [f"a{PLACEHOLDER}", "no image here", f"b{PLACEHOLDER}"]
    images: dict[str, list[Any]] = {
        "flat": [item, two],
        "rows": [[item], [], [two]],
        "none": [item, None, two],
    }
    batch = loaded(text=text, images=images[layout], return_tensors="pt")
    assert (batch["input_ids"] == loaded.image_token_id).sum(1).tolist() == [9, 0, 4]
    assert batch["image_grid_thw"].tolist() == [[1, 6, 6], [1, 4, 4]]
    assert batch["attention_mask"][1, 0] == 0  # padded on the left
    assert batch["attention_mask"][:, -1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("images", "rows"),
    [
        (None, None), ([], None), ([[], []], None), ([None, None], None),
        ("a", [["a"], [], []]), (["a"], [["a"], [], []]),
        (["a", None, "b"], [["a"], [], ["b"]]),
        ([["a"], [], ["b"]], [["a"], [], ["b"]]),
        ([["a", None], None, ("b",)], [["a"], [], ["b"]]),
    ],
)  # fmt: skip
def test_every_layout_is_one_list_per_row(images: Any, rows: Any) -> None:
    """Return the images that Gemma 3, Llama 3.2 and the like take, and all others."""
    texts = ["#", "", "#"] if rows and len(rows[2]) else ["#", "", ""]
    named = {name: picture(28, 28) for name in "ab"}

    def strategy_for(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(strategy_for(item) for item in value)
        return named.get(value)

    assert module.image_rows(strategy_for(images), texts, "#") == strategy_for(rows)


def test_a_flat_list_is_divided_by_placeholders() -> None:
    images = [picture(28, 28) for _ in range(3)]
    a, b, c = images
    assert module.image_rows(images, ["##x", "", "#"], "#") == [[a, b], [], [c]]
    assert module.image_rows(images, ["#"], "#") == [images]  # for the processor to refuse


def test_a_first_token_that_the_template_wrote_is_no_second_time(tmp_path: Path) -> None:
    processor = load_processor(save_whole("gemma3", tmp_path))
    first = processor.tokenizer.bos_token_id
    for text in ("<|bos|>a", "a"):
        batch = processor(text=[text, text], return_tensors="pt")
        assert (batch["input_ids"] == first).sum(1).tolist() == [1, 1]


def test_text_alone(loaded: Processor) -> None:
    nothing: list[Any] = [None, [], [None, None], [[], []]]
    for images in nothing:
        batch = loaded(text=["one", "one two three"], images=images, return_tensors="pt")
        assert "pixel_values" not in batch
        assert loaded.batch_decode(batch["input_ids"], skip_special_tokens=True) == [
            "one",
            "one two three",
        ]


def test_images_and_placeholders_must_agree(loaded: Processor) -> None:
    with pytest.raises(ValueError, match=r"1 <\|image_pad\|> tokens and 2 images"):
        loaded(text=[PLACEHOLDER], images=[picture(84, 84)] * 2)
    with pytest.raises(ValueError, match="no images were passed"):
        loaded(text=[PLACEHOLDER], images=None)


def test_the_chat_template_takes_qwens_messages(loaded: Processor) -> None:
    messages = [
        {"role": "system", "content": "short"},
        {
            "role": "user",
            "content": [{"type": "image", "image": picture(84, 84)}, {"type": "text", "text": "q"}],
        },
    ]
    text = loaded.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nshort<|im_end|>\n"
        f"<|im_start|>user\n{PLACEHOLDER}q<|im_end|>\n<|im_start|>assistant\n"
    )
    batch = loaded.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    assert batch["pixel_values"].shape == (36, 1176)
    assert int((batch["input_ids"] == loaded.image_token_id).sum()) == 9


def test_a_bare_tokenizer_is_not_taken_for_a_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bare(source: str, **_: Any) -> Any:
        return AutoTokenizer.from_pretrained(source)

    monkeypatch.setattr(AutoProcessor, "from_pretrained", bare)
    assert not module.is_real_processor(AutoProcessor.from_pretrained(str(specimen.path("in"))))
    assert isinstance(load_processor(specimen.path("in")), ImageOnlyProcessor)


def test_a_working_autoprocessor_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = load_processor(specimen.path("in"))

    class Stock(ProcessorMixin):  # type: ignore[misc, unused-ignore]
        image_token = real.image_token
        return_mm_token_type_ids = True
        replace_image_token = ImageOnlyProcessor.replace_image_token

        def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
            super().__init__(image_processor, tokenizer)

    stock = Stock(real.image_processor, real.tokenizer)
    stock.tokenizer.padding_side = "right"
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda *_, **__: stock)
    processor = load_processor(specimen.path("in"))
    assert processor is stock
    assert type(processor).__name__ == "Stock"
    batch = processor(text=[PLACEHOLDER, "x"], images=[picture(84, 84), None], return_tensors="pt")
    assert batch["attention_mask"][1, 0] == 0


def test_ids_come_from_the_checkpoint(tmp_path: Path) -> None:
    """A checkpoint whose placeholder is another token than Qwen's still works."""
    folder = copied(tmp_path)
    edit(folder / "config.json", image_token_id=specimen_id("<|video_pad|>"))
    processor = load_processor(folder)
    assert processor.image_token == "<|video_pad|>"
    batch = processor(text=["<|video_pad|>"], images=[picture(84, 84)], return_tensors="pt")
    assert int((batch["input_ids"] == specimen_id("<|video_pad|>")).sum()) == 9


def test_it_saves_and_loads_again(loaded: Processor, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for stale in ("preprocessor_config.json", "tokenizer.json", "chat_template.jinja"):
        (folder / stale).unlink()
    loaded.save_pretrained(folder)
    assert "ImageOnlyProcessor" not in "".join(f.read_text() for f in folder.glob("*.json"))
    again = load_processor(folder)
    assert again.chat_template == loaded.chat_template
    batch = again(text=[PLACEHOLDER], images=[picture(84, 84)], return_tensors="pt")
    assert int((batch["input_ids"] == again.image_token_id).sum()) == 9


def test_a_missing_folder() -> None:
    with pytest.raises(SurgeryError, match=r"no checkpoint folder at \./nowhere"):
        load_processor("./nowhere")


def test_a_folder_without_image_processor(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(SurgeryError, match="its processor cannot be loaded"):
        load_processor(folder)


def test_a_tokenizer_of_another_checkpoint(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    edit(folder / "config.json", image_token_id=151655)
    with pytest.raises(SurgeryError, match="image_token_id 151655, but the tokenizer has only 430"):
        load_processor(folder)


def copied(tmp_path: Path) -> Path:
    """The specimen's IN without its weights."""
    folder = tmp_path / "copy"
    shutil.copytree(specimen.path("in"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def specimen_id(token: str) -> int:
    result = AutoTokenizer.from_pretrained(specimen.path("in")).convert_tokens_to_ids(token)
    assert isinstance(result, int)
    return result
