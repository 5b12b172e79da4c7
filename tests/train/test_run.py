"""Training for real, a few steps of the specimen: what stands still, what moves, what resumes."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
import trl
from safetensors.torch import load_file, save_file

from eval.suites.specimen import lessons
from surgery import specimen
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import CheckpointError, ExecutionError, RecipeError, SurgeryError
from surgery.train import run as running
from surgery.train.example import Example, SampledResponse
from surgery.train.folder import RunFolder
from surgery.train.load import load_grpo, load_sft
from surgery.train.log import read_log
from surgery.train.model import load_model
from surgery.train.proof import check_saved
from surgery.train.run import Trained, train_grpo, train_sft

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SFT = """\
model: specimen:in
data: {suites: [specimen], samples: 16}
freeze: [vision, "language[mid]"]
steps: 4
batch: 4
lr: 1.0e-3
weight_decay: 0.5
checkpoint_every: 2
"""
GRPO = SFT + "rewards: {even: 1}\ngroup: 4\nmax_new_tokens: 12\nkl: 0.01\n"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples(count: int = 16, task: str = "read") -> list[Example]:
    stream = lessons(task, 3)
    results = []
    for sample in (next(stream) for _ in range(count)):
        image = [{"type": "image", "text": None}] if sample.images else []
        content = [*image, {"type": "text", "text": sample.prompt}]
        images = tuple(picture.data for picture in sample.images)
        turn = {"role": "user", "content": content}
        results.append(Example(sample.id, (turn,), images, sample.demonstration))
    return results


def even(sampled_response: SampledResponse) -> float:
    """Any reward that differs among responses."""
    return float(sampled_response.chance < 0.5)


@dataclass(frozen=True)
class TrainedCase:
    """A run and what it made."""

    out: Path
    trained: Trained

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.out / "model" / "model.safetensors")


def trained_sft(folder: Path, text: str = SFT, task: str = "read") -> TrainedCase:
    folder.mkdir(exist_ok=True)
    (folder / "train.yaml").write_text(text)
    out = folder / "run"
    return TrainedCase(out, train_sft(load_sft(folder / "train.yaml"), examples(task=task), out))


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> TrainedCase:
    return trained_sft(tmp_path_factory.mktemp("sft"))


@pytest.fixture(scope="module")
def reinforced(tmp_path_factory: pytest.TempPathFactory) -> TrainedCase:
    folder = tmp_path_factory.mktemp("grpo")
    (folder / "train.yaml").write_text(GRPO)
    out = folder / "run"
    config = load_grpo(folder / "train.yaml")
    return TrainedCase(out, train_grpo(config, examples(), {"even": even}, out))


@pytest.fixture(params=["supervised", "reinforced"])
def trained_case(request: pytest.FixtureRequest) -> TrainedCase:
    return request.getfixturevalue(request.param)


def test_frozen_is_bit_identical_and_the_rest_moved(trained_case: TrainedCase) -> None:
    """With weight decay on, which changes every tensor in the optimizer."""
    before = load_file(specimen.path("in") / "model.safetensors")
    after = trained_case.weights
    assert before.keys() == after.keys()
    frozen = [n for n in before if "visual.blocks" in n or "visual.patch" in n
              or any(f".layers.{i}." in n for i in (3, 4, 5))]  # fmt: skip
    assert len(frozen) > 60
    for name, old in before.items():
        assert after[name].dtype == old.dtype == torch.bfloat16
        # In bfloat16 a small step of a norm's weight may round to nothing.
        assert torch.equal(old, after[name]) or name not in frozen
    assert len(trained_case.trained.region.frozen) == len(frozen)
    assert trained_case.trained.unmoved == ()


def test_the_folder_is_the_starts_but_for_weights_and_record(trained_case: TrainedCase) -> None:
    start = {p.name: p.read_bytes() for p in specimen.path("in").iterdir()}
    end = {p.name: p.read_bytes() for p in (trained_case.out / "model").iterdir()}
    record = json.loads(end.pop("training.json"))
    assert start.keys() == end.keys()
    assert {name for name in start if start[name] != end[name]} == {"model.safetensors"}
    assert record["frozen"] == list(trained_case.trained.region.frozen)
    assert record["start"]["reference"] == "specimen:in"
    assert str(trained_case.out) not in json.dumps(record)


def test_the_log_has_a_row_per_step(reinforced: TrainedCase, supervised: TrainedCase) -> None:
    rows = read_log(reinforced.out / "log.csv")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert all(0 <= float(row["reward"]) <= 1 for row in rows)
    assert all(row["reward.even"] == row["reward"] for row in rows)
    assert all(1 <= float(row["length"]) <= 12 for row in rows)
    assert float(rows[0]["kl"]) == pytest.approx(0, abs=1e-6) and float(rows[-1]["kl"]) > 0
    losses = [float(row["loss"]) for row in read_log(supervised.out / "log.csv")]
    assert len(losses) == 4


def test_resumed_equals_uninterrupted(tmp_path: Path, supervised: TrainedCase) -> None:
    """Killed after the second step's checkpoint, at the third step."""
    (tmp_path / "train.yaml").write_text(SFT)
    config, out = load_sft(tmp_path / "train.yaml"), tmp_path / "run"
    killed_at("3", config, out)
    assert not (out / "model").exists()
    assert len(read_log(out / "log.csv")) == 3
    trained = train_sft(config, examples(), out)
    assert trained.resumed == 2
    assert [row["step"] for row in read_log(out / "log.csv")] == ["1", "2", "3", "4"]
    for name, tensor in TrainedCase(out, trained).weights.items():
        assert torch.equal(tensor, supervised.weights[name]), name
    without = [
        {k: v for k, v in row.items() if k != "seconds"} for row in read_log(out / "log.csv")
    ]
    whole = read_log(supervised.out / "log.csv")
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in whole]


def killed_at(step: str, config: Any, out: Path, **more: Any) -> None:
    """Train until a step is logged, and no further."""

    class Killed(BaseException):
        pass

    def kill(row: Any, steps: int) -> None:
        if row["step"] == step:
            raise Killed

    train = train_grpo if more else train_sft
    with pytest.raises(Killed):
        train(config, examples(), *more.values(), out, kill)


def test_reinforcement_resumes_with_its_first_reference(
    tmp_path: Path, reinforced: TrainedCase
) -> None:
    """The divergence after a resume is from where training started, not from the checkpoint."""
    (tmp_path / "train.yaml").write_text(GRPO)
    config, out = load_grpo(tmp_path / "train.yaml"), tmp_path / "run"
    killed_at("3", config, out, rewards={"even": even})
    output = TrainedCase(out, train_grpo(config, examples(), {"even": even}, out))
    assert output.trained.resumed == 2
    for name, tensor in output.weights.items():
        assert torch.equal(tensor, reinforced.weights[name]), name
    actual, whole = (read_log(folder / "log.csv") for folder in (out, reinforced.out))
    assert [row["kl"] for row in actual] == [row["kl"] for row in whole]


def test_a_run_that_lacks_only_its_model_takes_no_further_step(tmp_path: Path) -> None:
    """As after a full disk at the very end, in the middle of an epoch."""
    (tmp_path / "train.yaml").write_text(SFT.replace("steps: 4", "steps: 2"))
    config, out = load_sft(tmp_path / "train.yaml"), tmp_path / "run"
    whole = TrainedCase(out, train_sft(config, examples(), out)).weights
    shutil.rmtree(out / "model")
    output = TrainedCase(out, train_sft(config, examples(), out))
    assert output.trained.resumed == 2 and len(read_log(out / "log.csv")) == 2
    for name, tensor in output.weights.items():
        assert torch.equal(tensor, whole[name]), name


class Payload:
    """An object whose reading makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_s_pickles_run_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(SFT)
    config, out, ran = load_sft(tmp_path / "train.yaml"), tmp_path / "run", tmp_path / "ran"
    killed_at("3", config, out)
    checkpoint = out / "checkpoints" / "checkpoint-2"
    torch.save(Payload(ran), checkpoint / "training_args.bin")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        whole = (checkpoint / name).read_bytes()
        torch.save(Payload(ran), checkpoint / name)
        with pytest.raises(ExecutionError, match="cannot be resumed"):
            train_sft(config, examples(), out)
        (checkpoint / name).write_bytes(whole)
    train_sft(config, examples(), out)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "trainer_state.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, supervised: TrainedCase, name: str, damage: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(supervised.out, folder.path)
    (folder.checkpoints / "checkpoint-x").mkdir()
    assert folder.last() == 4
    path = folder.checkpoint(4) / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert folder.last() == 2


def test_what_failed_before_its_first_checkpoint_was_never_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no field 'adam_beta3'"):
        trained_sft(tmp_path, SFT + "trl: {adam_beta3: 0.9}\n")
    assert not (tmp_path / "run").exists()
    (tmp_path / "train.yaml").write_text(SFT)
    killed_at("1", load_sft(tmp_path / "train.yaml"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    other = RunFolder(tmp_path / "run").claimed({"kind": "sft"})
    with (
        folder.claimed({"kind": "sft"}),
        pytest.raises(ExecutionError, match="another run"),
        other,
    ):
        pass
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"kind"')
    (tmp_path / "torn" / ".lock").write_text("training\n")
    torn = RunFolder(tmp_path / "torn").claimed({"kind": "sft"})
    with pytest.raises(ExecutionError, match=r"run.json is damaged"), torn:
        pass


def test_too_few_samples_for_a_step_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(GRPO.replace("batch: 4", "batch: 16"))
    config = load_grpo(tmp_path / "train.yaml")
    with pytest.raises(SurgeryError, match=r"a step needs 4 prompts .* and there are 3 samples"):
        train_grpo(config, examples(3), {"even": even}, tmp_path / "run")


def test_a_run_that_diverges_keeps_nothing_and_its_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="training diverged"):
        trained_sft(tmp_path, SFT.replace("lr: 1.0e-3", "lr: 1.0e+30"))
    assert not (tmp_path / "run" / "model").exists()
    losses = [float(row["loss"]) for row in read_log(tmp_path / "run" / "log.csv")]
    assert any(loss != loss for loss in losses)


def test_a_step_too_small_for_the_file_is_told(tmp_path: Path) -> None:
    text = SFT.replace("lr: 1.0e-3", "lr: 1.0e-9").replace("weight_decay: 0.5\n", "")
    output = trained_sft(tmp_path, text)
    assert output.trained.rounded and len(output.trained.unmoved) < len(output.trained.rounded)


def start_with(folder: Path, **tensors: torch.Tensor | None) -> Path:
    """A copy of IN with tensors more (or fewer, where None)."""
    shutil.copytree(specimen.path("in"), folder)
    weights = load_file(folder / "model.safetensors") | tensors
    stored = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_missing_weights_are_not_made_up(tmp_path: Path) -> None:
    start = start_with(tmp_path / "start", **{"model.norm.weight": None})
    with pytest.raises(CheckpointError, match=r"has no model.language_model.norm.weight"):
        trained_sft(tmp_path, SFT.replace("specimen:in", str(start)))


def test_a_head_that_is_stored_beside_its_embedding_learns_with_it(tmp_path: Path) -> None:
    embedding = load_file(specimen.path("in") / "model.safetensors")["model.embed_tokens.weight"]
    start = start_with(tmp_path / "start", **{"lm_head.weight": embedding.clone()})
    output = trained_sft(tmp_path, SFT.replace("specimen:in", str(start)))
    assert "model.language_model.embed_tokens.weight" in output.trained.region.trained


def test_a_template_that_is_broken_is_one_sentence_and_leaves_no_model(tmp_path: Path) -> None:
    start = start_with(tmp_path / "start")
    (start / "chat_template.jinja").write_text("{% for message in messages %}{{ message }")
    with pytest.raises(CheckpointError, match="cannot take its first step: TemplateSyntaxError"):
        trained_sft(tmp_path, SFT.replace("specimen:in", str(start)))
    assert not list(tmp_path.glob("*/model"))


def test_a_contradiction_in_the_generation_file_costs_nothing(tmp_path: Path) -> None:
    start = start_with(tmp_path / "start")
    record = json.loads((start / "generation_config.json").read_text())
    text = json.dumps(record | {"do_sample": False, "temperature": 0.9, "top_p": 0.6})
    (start / "generation_config.json").write_text(text)
    output = trained_sft(tmp_path, SFT.replace("specimen:in", str(start)))
    assert (output.out / "model" / "generation_config.json").read_text() == text


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    start = start_with(tmp_path / "start")
    (start / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="has no chat template"):
        trained_sft(tmp_path, SFT.replace("specimen:in", str(start)))


def test_another_configuration_does_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    text = SFT.replace("steps: 4", "steps: 1").replace("checkpoint_every: 2\n", "")
    output = trained_sft(tmp_path, text)
    with pytest.raises(ExecutionError, match="this run is complete"):
        trained_sft(tmp_path, text)
    shutil.rmtree(output.out / "model")
    with pytest.raises(ExecutionError, match=r"another run: config.lr was 0.001 and is 0.002"):
        trained_sft(tmp_path, text.replace("1.0e-3", "2.0e-3"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run").mkdir()
    (tmp_path / "other" / "run" / "note.txt").write_text("mine")
    with pytest.raises(ExecutionError, match=r"is not empty .note.txt. and holds no run"):
        trained_sft(tmp_path / "other", text)


def test_text_alone_trains_a_model_of_images(tmp_path: Path) -> None:
    text = SFT.replace("steps: 4", "steps: 1").replace("freeze: [vision, ", "freeze: [")
    output = trained_sft(tmp_path, text, task="arithmetic")
    assert any("visual" in name for name in output.trained.unmoved)
    assert not any("language_model.layers.8.mlp" in name for name in output.trained.unmoved)


def test_the_probabilities_it_learns_from_are_the_models_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of questions of different lengths with and without image: each for itself, unpadded."""
    model = load_model(
        specimen.path("in"), json.loads((specimen.path("in") / "config.json").read_text())
    )
    calls: list[tuple[bool, float]] = []

    def compared(trainer: Any, *arguments: Any, **more: Any) -> Any:
        result = scored(trainer, *arguments, **more)
        _, ids, mask, new = arguments[:4]
        image = 0
        for row, count in enumerate(more["num_images"]):
            stored = ids[row][mask[row].bool()][None]
            assert trainer._tokenizer.pad_token_id not in stored[0, : -int(mask[row, -new:].sum())]
            pictures = {}
            if count:
                pictures = {
                    "pixel_values": more["pixel_values"][image * 36 : (image + 1) * 36],
                    "image_grid_thw": more["image_grid_thw"][image : image + 1],
                }
                image += 1
            kinds = (stored == model.config.image_token_id).long()
            with torch.no_grad():
                logits = model(input_ids=stored, mm_token_type_ids=kinds, **pictures).logits[0]
            local = logits.log_softmax(-1)[:-1].gather(-1, stored[0, 1:, None])[:, 0]
            output = int(mask[row, -new:].sum())
            difference = (local[-output:] - result[0][row][:output].detach()).abs().max()
            calls.append((bool(count), float(difference)))
        return result

    scored = trl.GRPOTrainer._get_per_token_logps_and_entropies
    monkeypatch.setattr(trl.GRPOTrainer, "_get_per_token_logps_and_entropies", compared)
    text = (
        GRPO.replace("steps: 4", "steps: 1")
        .replace("batch: 4", "batch: 8")
        .replace("group: 4", "group: 2")
    )
    (tmp_path / "train.yaml").write_text(text.replace("kl: 0.01\n", ""))
    mixed = [*examples(2), *examples(2, "arithmetic")]
    train_grpo(load_grpo(tmp_path / "train.yaml"), mixed, {"even": even}, tmp_path / "run")
    assert {displayed for displayed, _ in calls} == {True, False}
    assert max(difference for _, difference in calls) < 1e-4


def test_a_region_that_matches_nothing_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError, match=r"train.yaml:3:\d+: .*'99' in 'language\[99\]'"):
        trained_sft(tmp_path, SFT.replace("language[mid]", "language[99]"))
    assert not (tmp_path / "run").exists()


def test_a_frozen_tensor_that_moved_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sabotage(trainer: Any, _: object) -> None:
        weight = trainer.model.model.language_model.layers[4].mlp.up_proj.weight
        weight.data[0, 0] += 1e-7  # less than bfloat16 can hold
        trainer.state.global_step = 4

    monkeypatch.setattr(running, "_train", sabotage)
    with pytest.raises(ExecutionError, match=r"layers.4.mlp.up_proj.weight is frozen but differs"):
        trained_sft(tmp_path)
    assert not (tmp_path / "run" / "model").exists()


def test_a_saved_tensor_that_differs_is_found(tmp_path: Path, supervised: TrainedCase) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(supervised.out / "model", folder)
    with open_checkpoint("specimen:in") as checkpoint:
        start = checkpoint.info
    assert check_saved(start, folder, supervised.trained.region) == list(supervised.trained.rounded)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.3.mlp.up_proj.weight"][0, 0] *= 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExecutionError, match=r"layers.3.mlp.up_proj.weight is frozen but differs"):
        check_saved(start, folder, supervised.trained.region)


def test_a_sample_without_a_demonstration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(SFT)
    bare = [*examples(2), Example("sample 'x'", examples(1)[0].messages, examples(1)[0].images, "")]
    with pytest.raises(ExecutionError, match="sample 'x' has no demonstration"):
        train_sft(load_sft(tmp_path / "train.yaml"), bare, tmp_path / "run")


@pytest.mark.parametrize(
    ("extra", "refusal"),
    [
        ("{adam_beta3: 0.9}", r":9:7: trl: SFTConfig has no field 'adam_beta3'.*'adam_beta"),
        ("{learning_rate: 0.1}", r":9:7: trl: 'learning_rate' follows from the other keys"),
        ("{trust_remote_code: true}", r"no field 'trust_remote_code' that may be set here"),
        ("{push_to_hub: true}", r"no field 'push_to_hub' that may be set here"),
        ("{optim: nonsense}", r":9:\d+: trl: TRL does not take these settings: .*nonsense"),
    ],
)  # fmt: skip
def test_what_trl_does_not_take_is_told(tmp_path: Path, extra: str, refusal: str) -> None:
    with pytest.raises(RecipeError, match=refusal):
        trained_sft(tmp_path, SFT + f"trl: {extra}\n")


def test_a_service_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r":9:10: log_to: wandb is not installed"):
        trained_sft(tmp_path, SFT + "log_to: [wandb]\n")


def test_further_fields_of_trl_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def look(trainer: Any, _: object) -> None:
        calls.append(trainer.args)
        trainer.state.global_step = 4

    monkeypatch.setattr(running, "_train", look)
    trained_sft(tmp_path, SFT + "trl: {adam_beta2: 0.95}\n")
    assert calls[0].adam_beta2 == 0.95


def test_an_adapter_is_no_start(tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(specimen.path("in"))
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"]))
    wrapped.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="has an adapter; training starts from whole weights"):
        trained_sft(tmp_path, SFT.replace("specimen:in", f"specimen:in + {tmp_path / 'adapter'}"))
