from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from surgery import specimen
from surgery.checkpoint.open import open_checkpoint, resolve_reference, split_hub_id
from surgery.checkpoint.source import AdapterReference
from surgery.errors import CheckpointError, SurgeryError
from tests.checkpoint.files import single

if TYPE_CHECKING:
    from pathlib import Path


def test_folders_in_every_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for reference in ("m", "./m", "../" + tmp_path.name + "/m", str(tmp_path / "m"), "~/m", "m/"):
        with open_checkpoint(reference) as checkpoint:
            assert checkpoint.info.reference == reference


@pytest.mark.parametrize("reference", ["./org/name", "../no-such", "/no/where", "~/nothing"])
def test_what_looks_like_a_folder_is_never_asked_of_the_hub(reference: str) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint(reference)


@pytest.mark.parametrize(
    "reference", ["m", "a/b/c", "a/b@", "@x", "hf://a", "a b/c", "a/b@c@d", "https://x.y/a/b"]
)
def test_what_can_be_neither_names_both(reference: str) -> None:
    with pytest.raises(CheckpointError, match="neither a folder that exists nor a Hub id"):
        open_checkpoint(reference)


@pytest.mark.parametrize("reference", ["", "a\0b", "a\udc80/b"])
def test_what_is_no_name_at_all(reference: str) -> None:
    with pytest.raises(CheckpointError, match="is no model reference"):
        open_checkpoint(reference)


def test_hub_ids() -> None:
    assert split_hub_id("org/name") == ("org/name", None)
    assert split_hub_id("hf://org/name@v1") == ("org/name", "v1")
    assert split_hub_id("org/name@refs/pr/3") == ("org/name", "refs/pr/3")


def test_an_adapter_is_looked_for_before_its_base_is_opened(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: is missing"):
        open_checkpoint(AdapterReference(str(single(tmp_path / "m")), str(tmp_path / "m")))


def test_the_specimen_is_known_by_name() -> None:
    with open_checkpoint("specimen:rl") as checkpoint:
        assert checkpoint.info.reference == "specimen:rl"
        assert checkpoint.info.folder == specimen.path("rl")
    assert resolve_reference("specimen:in") == str(specimen.path("in"))
    for other in ("org/name@main", "C:/models/x"):
        assert resolve_reference(other) == other
    with pytest.raises(SurgeryError, match=r"no stage 'rll'.*Did you mean 'rl'"):
        open_checkpoint("specimen:rll")


def test_the_plus_of_mergekit_is_explained(tmp_path: Path) -> None:
    hint = r"write \{base: .*, adapter: .*\} in a recipe"
    for reference in (f"{tmp_path}/base+{tmp_path}/lora", "org/base+org/lora", "base+lora"):
        with pytest.raises(CheckpointError, match=hint):
            open_checkpoint(reference)
    (odd := tmp_path / "x+y").mkdir()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(odd))
    assert "adapter:" not in str(caught.value)
