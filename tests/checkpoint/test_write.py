from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.local import LocalCheckpoint
from surgery.checkpoint.shard import lay_out
from surgery.checkpoint.write import FolderWriter
from surgery.errors import CheckpointError, ExecutionError
from tests.checkpoint.files import CONFIG, single, spec, tensors
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from surgery.checkpoint.source import TensorHeader

SPECS = [spec("a", DType.F32, 2, 3), spec("b", DType.BF16, 5), spec("c", DType.BF16)]
BYTES = {"a": bytes(range(24)), "b": bytes(range(10)), "c": b"xy"}
CODES = {
    torch.bfloat16: DType.BF16,
    torch.float16: DType.F16,
    torch.float32: DType.F32,
    torch.int64: DType.I64,
    torch.bool: DType.BOOL,
}


def fill(folder: Path, *, overwrite: bool = False, first: bytes = BYTES["a"]) -> None:
    with FolderWriter(folder, overwrite=overwrite) as writer:
        shard = writer.shard("model.safetensors", SPECS)
        for name, data in {**BYTES, "a": first}.items():
            shard.write(name, 0, data)
        writer.file("config.json", json.dumps(CONFIG).encode())
        writer.file("surgery.json", b"{}")


def traces(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    data = random.Random(0).randbytes(300_000)
    (tmp_path / "source").write_bytes(data)
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    yield descriptor, data
    os.close(descriptor)


class TestLayout:
    def test_is_what_safetensors_writes_for_the_same_order(self) -> None:
        reference = save(tensors(), {"format": "pt"})
        length = 8 + int.from_bytes(reference[:8], "little")
        header = json.loads(reference[8:length])
        specs = [
            spec(name, DType(value["dtype"]), *value["shape"])
            for name, value in header.items()
            if name != "__metadata__"
        ]
        layout = lay_out(specs, {"format": "pt"})
        assert layout.header == reference[:length]
        assert layout.size == len(reference)

    def test_does_not_depend_on_the_order_of_metadata(self) -> None:
        assert lay_out(SPECS, {"a": "1", "b": "2"}) == lay_out(SPECS, {"b": "2", "a": "1"})

    def test_refuses_a_name_twice(self) -> None:
        with pytest.raises(ExecutionError, match="'a' would be written twice"):
            lay_out([SPECS[0], SPECS[0]], {})


@given(
    drawn_tensors=st.dictionaries(
        st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(sorted(CODES, key=str)), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
        min_size=1,
    ),
    seed=st.integers(0, 100),
)
@settings(
    max_examples=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_written_is_what_everybody_reads(
    drawn_tensors: dict[str, tuple[torch.dtype, list[int]]],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    draw = torch.Generator().manual_seed(seed)
    output = {
        name: (torch.rand(shape, generator=draw) * 9).to(dtype)
        for name, (dtype, shape) in drawn_tensors.items()
    }
    folder = tmp_path_factory.mktemp("law") / "m"
    with FolderWriter(folder) as writer:
        specs = [spec(name, CODES[t.dtype], *t.shape) for name, t in output.items()]
        shard = writer.shard("model.safetensors", specs)
        for name, tensor in output.items():
            shard.write(name, 0, tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        writer.file("config.json", b"{}")
    loaded = load_file(folder / "model.safetensors")
    assert loaded.keys() == output.keys()
    for name, tensor in output.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    with LocalCheckpoint(folder) as checkpoint:
        assert list(checkpoint.info.tensors) == list(output) or any(
            t.numel == 0 for t in checkpoint.info.tensors.values()
        )


class TestFolder:
    def test_holds_everything_and_nothing_else(self, tmp_path: Path) -> None:
        with FolderWriter(tmp_path / "deep" / "er" / "m") as writer:
            item = writer.shard("model-00001-of-00002.safetensors", SPECS[:1])
            two = writer.shard("model-00002-of-00002.safetensors", SPECS[1:], {"format": "pt"})
            item.write("a", 0, BYTES["a"])
            two.write("b", 0, BYTES["b"])
            two.write("c", 0, BYTES["c"])
            writer.file("config.json", b"{}")
            writer.file("additional_chat_templates/tool.jinja", b"hi")
            writer.index()
        folder = tmp_path / "deep" / "er" / "m"
        assert traces(folder) == [
            "additional_chat_templates",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ]
        assert traces(tmp_path / "deep" / "er") == ["m"]
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["metadata"] == {"total_size": 36}
        assert index["weight_map"]["b"] == "model-00002-of-00002.safetensors"
        with LocalCheckpoint(folder) as checkpoint:
            assert list(checkpoint.info.tensors) == ["a", "b", "c"]
        with safe_open(folder / "model-00002-of-00002.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt"}

    def test_gives_the_same_bytes_for_the_same_input(self, tmp_path: Path) -> None:
        for name in ("x", "y"):
            fill(tmp_path / name)
        item, two = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("x", "y"))
        assert item == two

    def test_nothing_loads_before_the_end(self, tmp_path: Path) -> None:
        with FolderWriter(tmp_path / "m") as writer:
            shard = writer.shard("model.safetensors", SPECS)
            writer.file("config.json", b"{}")
            writer.index()
            assert traces(writer.folder) == ["model.safetensors"]
            assert not (tmp_path / "m").exists()
            for name, data in BYTES.items():
                shard.write(name, 0, data)

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_leaves_no_trace_of_a_failure(self, error: type[BaseException], tmp_path: Path) -> None:
        with pytest.raises(error), FolderWriter(tmp_path / "new" / "m") as writer:
            writer.shard("model.safetensors", SPECS)
            writer.file("config.json", b"{}")
            raise error
        assert traces(tmp_path) == []

    def test_refuses_to_publish_what_was_not_filled(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ExecutionError, match="0 bytes of tensor 'b' were written, expected 10"),
            FolderWriter(tmp_path / "m") as writer,
        ):
            shard = writer.shard("model.safetensors", SPECS)
            shard.write("a", 0, BYTES["a"])
        assert traces(tmp_path) == []

    def test_may_take_the_place_of_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        fill(tmp_path / "m")
        assert "config.json" in traces(tmp_path / "m")

    def test_never_takes_the_place_of_anything_else(self, tmp_path: Path) -> None:
        single(tmp_path / "m")
        before = traces(tmp_path / "m")
        with pytest.raises(ExecutionError, match=r"exists and is not empty \(config\.json, model"):
            fill(tmp_path / "m")
        with pytest.raises(ExecutionError, match=r"no surgery\.json, so it was not written by"):
            fill(tmp_path / "m", overwrite=True)
        assert traces(tmp_path / "m") == before
        (tmp_path / "f").write_text("")
        with pytest.raises(ExecutionError, match="exists and is not a folder"):
            fill(tmp_path / "f")
        assert traces(tmp_path) == ["f", "m"]

    def test_overwrites_its_own_when_asked(self, tmp_path: Path) -> None:
        fill(tmp_path / "m")
        fill(tmp_path / "m", overwrite=True, first=bytes(24))
        data = (tmp_path / "m" / "model.safetensors").read_bytes()
        assert bytes(24) in data
        assert BYTES["a"] not in data
        assert traces(tmp_path) == ["m"]

    def test_keeps_the_old_one_when_the_new_one_fails(self, tmp_path: Path) -> None:
        fill(tmp_path / "m")
        with pytest.raises(ValueError), FolderWriter(tmp_path / "m", overwrite=True) as writer:
            writer.shard("model.safetensors", SPECS)
            raise ValueError
        LocalCheckpoint(tmp_path / "m").close()
        assert traces(tmp_path) == ["m"]

    def test_yields_to_somebody_who_was_faster(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ExecutionError, match="another process created it"),
            FolderWriter(tmp_path / "m") as writer,
        ):
            writer.file("config.json", b"ours")
            (tmp_path / "m").mkdir()
            (tmp_path / "m" / "config.json").write_text("theirs")
        assert (tmp_path / "m" / "config.json").read_text() == "theirs"
        assert traces(tmp_path) == ["m"]

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "", ".", "a\nb", "a//b", "a\\b"])
    def test_files_cannot_leave_it(self, name: str, tmp_path: Path) -> None:
        with (
            pytest.raises(ExecutionError, match="is not a path inside the output"),
            FolderWriter(tmp_path / "m") as writer,
        ):
            writer.file(name, b"")

    def test_a_file_is_written_once(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ExecutionError, match=r"'config\.json' would be written twice"),
            FolderWriter(tmp_path / "m") as writer,
        ):
            writer.file("config.json", b"")
            writer.file("config.json", b"")

    def test_links_to_the_target_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "link").symlink_to("disk/m")
        fill(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert "config.json" in traces(tmp_path / "disk" / "m")


class TestCopy:
    SIZES = (70_001, 129_999, 1)

    def write(self, tmp_path: Path, act: Callable[[FolderWriter, list[TensorHeader]], None]) -> str:
        specs = [spec(n, DType.U8, s) for n, s in zip("pqr", self.SIZES, strict=True)]
        with FolderWriter(tmp_path / "m") as writer:
            act(writer, specs)
            writer.file("config.json", b"{}")
        data = (tmp_path / "m" / "model.safetensors").read_bytes()
        return hashlib.sha256(data[lay_out(specs, {"format": "pt"}).spans["p"][0] :]).hexdigest()

    def test_runs_and_single_tensors(self, copied: tuple[int, bytes], tmp_path: Path) -> None:
        descriptor, data = copied
        calls: list[int] = []

        def act(writer: FolderWriter, specs: list[TensorHeader]) -> None:
            shard = writer.shard("model.safetensors", specs)
            shard.copy_run(["p", "q"], descriptor, 11, calls.append)
            shard.copy_run(["r"], descriptor, 0, calls.append)

        expected = hashlib.sha256(data[11 : 11 + 200_000] + data[:1]).hexdigest()
        assert self.write(tmp_path, act) == expected
        assert sum(calls) == sum(self.SIZES)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0

    @pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, 0])
    def test_without_the_kernels_help(
        self,
        code: int,
        copied: tuple[int, bytes],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        descriptor, data = copied

        def refuse(*_: object) -> int:
            if code:
                raise OSError(code, "no")
            return 0

        monkeypatch.setattr(os, "copy_file_range", refuse)

        def act(writer: FolderWriter, specs: list[TensorHeader]) -> None:
            writer.shard("model.safetensors", specs).copy_run(["p", "q", "r"], descriptor, 5)

        assert self.write(tmp_path, act) == hashlib.sha256(data[5:200_006]).hexdigest()

    def test_by_many_threads(self, tmp_path: Path, copied: tuple[int, bytes]) -> None:
        descriptor, data = copied
        specs = [spec(f"t{i:03}", DType.U8, 1000) for i in range(300)]
        with FolderWriter(tmp_path / "m") as writer, ThreadPoolExecutor(8) as pool:
            shard = writer.shard("model.safetensors", specs)

            def put(i: int) -> None:
                if i % 2:
                    shard.copy_run([f"t{i:03}"], descriptor, 1000 * i)
                else:
                    shard.write(f"t{i:03}", 500, data[1000 * i + 500 : 1000 * i + 1000])
                    shard.write(f"t{i:03}", 0, data[1000 * i : 1000 * i + 500])

            list(pool.map(put, range(300)))
        assert (tmp_path / "m" / "model.safetensors").read_bytes().endswith(data)

    def test_a_source_that_is_too_short(self, copied: tuple[int, bytes], tmp_path: Path) -> None:
        with (
            pytest.raises(CheckpointError, match="ended at byte 300000"),
            FolderWriter(tmp_path / "m") as writer,
        ):
            shard = writer.shard("model.safetensors", [spec("p", DType.U8, 200_000)])
            shard.copy_run(["p"], copied[0], 200_000)
        assert traces(tmp_path) == ["source"]

    def test_strangers_are_no_neighbours(self, copied: tuple[int, bytes], tmp_path: Path) -> None:
        specs = [spec(n, DType.U8, 4) for n in "pqr"]
        with (
            pytest.raises(ValueError, match="r does not follow its neighbour"),
            FolderWriter(tmp_path / "m") as writer,
        ):
            writer.shard("model.safetensors", specs).copy_run(["p", "r"], copied[0], 0)

    def test_bytes_must_fit(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="do not fit"), FolderWriter(tmp_path / "m") as writer:
            writer.shard("model.safetensors", SPECS).write("b", 8, b"123")


def may_mount() -> bool:
    """Check that this user may mount a disk in a namespace of their own."""
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and not subprocess.call(command, stderr=subprocess.DEVNULL)


FULL_DISK = """
import os, subprocess
from pathlib import Path
from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import TensorHeader
from surgery.checkpoint.write import FolderWriter
from surgery.errors import ExecutionError
disk = Path({disk!r})
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
try:
    with FolderWriter(disk / "m") as writer:
        writer.shard("model.safetensors", [TensorHeader("a", DType.U8, (1000,), "", 0)])
        if {step!r} == "shard":
            writer.shard("large", [TensorHeader("a", DType.U8, (2_000_000,), "", 0)])
        else:
            writer.file("large", bytes(2_000_000))
except ExecutionError as error:
    print(error)
print(os.listdir(disk))
"""


class TestFailures:
    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (errno.ENOSPC, r"the disk is full \(needed [\d.]+ k?B, [\d.]+ [GM]B free\)"),
            (errno.EDQUOT, "your disk quota is used up"),
            (errno.EIO, "the disk reported an error"),
            (errno.EROFS, "the file system is read-only"),
        ],
    )
    def test_are_told_in_words(
        self, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "posix_fallocate", fail)
        with pytest.raises(ExecutionError, match=words) as caught:
            fill(tmp_path / "m")
        # The folder that the user named, not the temporary one.
        assert str(caught.value).startswith(f"{tmp_path / 'm' / 'model.safetensors'}: ")
        assert traces(tmp_path) == []

    def test_a_size_limit_ends_in_an_error_and_nothing_else(self, tmp_path: Path) -> None:
        code = (
            "import resource; from pathlib import Path\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "from surgery.checkpoint.write import FolderWriter\n"
            "from surgery.errors import ExecutionError\n"
            "from surgery.checkpoint.source import TensorHeader\n"
            "from surgery.checkpoint.dtype import DType\n"
            "try:\n"
            f"    with FolderWriter(Path({str(tmp_path / 'm')!r})) as writer:\n"
            "        big = TensorHeader('a', DType.U8, (200_000,), '', 0)\n"
            "        writer.shard('model.safetensors', [big])\n"
            "except ExecutionError as error:\n"
            "    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "larger than this system or `ulimit -f` allows (needed 200 kB" in done.stdout
        assert traces(tmp_path) == []

    @pytest.mark.parametrize("step", ["flush", "finish"])
    def test_a_sync_that_fails_names_the_output(self, step: str, tmp_path: Path) -> None:
        reader, writer_end = os.pipe()  # which the system really refuses to sync
        with (
            pytest.raises(ExecutionError) as caught,
            FolderWriter(tmp_path / "m") as writer,
        ):
            shard = writer.shard("model.safetensors", SPECS)
            for name, data in BYTES.items():
                shard.write(name, 0, data)
            os.dup2(writer_end, shard.descriptor)
            getattr(shard, step)()
        os.close(reader)
        os.close(writer_end)
        assert str(caught.value).startswith(f"{tmp_path / 'm' / 'model.safetensors'}: cannot be ")
        assert traces(tmp_path) == []

    @pytest.mark.skipif(not may_mount(), reason="a small disk cannot be mounted here")
    @pytest.mark.parametrize("step", ["shard", "file"])
    def test_a_full_disk_ends_in_an_error_and_nothing_else(self, step: str, tmp_path: Path) -> None:
        code = FULL_DISK.format(disk=str(tmp_path), step=step)
        done = subprocess.run(
            ["unshare", "-Urm", sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
        )
        message, remaining = done.stdout.splitlines()
        assert message.startswith(
            f"{tmp_path / 'm' / 'large'}: cannot be written: the disk is full"
        )
        assert "(needed 2.00 MB, " in message
        assert remaining == "[]"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_place_that_may_not_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(ExecutionError, match="permission denied"):
            fill(tmp_path / "closed" / "m")

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("")
        with pytest.raises(ExecutionError, match="a file of that name is in the way"):
            fill(tmp_path / "f" / "m")


SLOW_WRITER = """
import os, sys, time
from pathlib import Path
from surgery.checkpoint.write import FolderWriter
from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import TensorHeader
specs = [TensorHeader(f"t{i:03}", DType.U8, (1000,), "", 0) for i in range(100)]
print("ready", flush=True)
with FolderWriter(Path(sys.argv[1])) as writer:
    shard = writer.shard("model.safetensors", specs)
    writer.file("config.json", b'{"model_type": "qwen2"}')
    writer.file("tokenizer.json", b"{}")
    for i in range(100):
        shard.write(f"t{i:03}", 0, bytes([1 + i]) * 1000)
        time.sleep(0.001)
"""


def start(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def stop(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    code = process.wait()
    assert process.stdout is not None
    process.stdout.close()
    return code


def whole(folder: Path) -> bool:
    with LocalCheckpoint(folder) as checkpoint:
        for i, (name, header) in enumerate(checkpoint.info.tensors.items()):
            buffer = bytearray(header.nbytes)
            checkpoint.read_into(name, 0, memoryview(buffer))
            assert buffer == bytes([1 + i]) * 1000
    return True


class TestKilled:
    def test_anywhere_leaves_nothing_that_loads(self, tmp_path: Path) -> None:
        draw = random.Random(0)
        published = 0
        for _ in range(20):
            process = start(tmp_path / "m")
            time.sleep(draw.uniform(0, 0.25))
            stop(process, signal.SIGKILL)
            for folder in tmp_path.iterdir():
                if (folder / "config.json").exists():
                    assert whole(folder)
                else:
                    assert folder.name.startswith(".m.tmp-")
            if (tmp_path / "m").exists():
                published += 1
                shutil.rmtree(tmp_path / "m")
        assert published < 20
        assert len(traces(tmp_path)) <= 2  # what the last run left; each cleared the one before
        fill(tmp_path / "m")
        assert traces(tmp_path) == ["m"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_politely_leaves_nothing_at_all(self, number: int, tmp_path: Path) -> None:
        process = start(tmp_path / "new" / "m")
        until(lambda: list(tmp_path.glob("new/.m.tmp-*/model.safetensors")), process)
        stop(process, number)
        assert traces(tmp_path) == []

    def test_leaves_those_alone_that_are_being_written(self, tmp_path: Path) -> None:
        with FolderWriter(tmp_path / "m") as first:
            fill(tmp_path / "m")
            assert first.folder.is_dir()
            for path in (tmp_path / "m").iterdir():
                path.unlink()

    def test_puts_the_old_one_back_when_it_lost_its_place(self, tmp_path: Path) -> None:
        fill(tmp_path / "m")
        (tmp_path / "m").rename(tmp_path / ".m.old-0123abcd")
        (tmp_path / ".m.tmp-0123abcd.lock").touch()
        with pytest.raises(ExecutionError, match="exists and is not empty"):
            fill(tmp_path / "m")
        LocalCheckpoint(tmp_path / "m").close()
        assert traces(tmp_path) == ["m"]

    def test_long_names_still_have_room(self, tmp_path: Path) -> None:
        fill(tmp_path / ("x" * 250))
        assert traces(tmp_path) == ["x" * 250]
