"""Logs of other harnesses: their published forms, written here, and what is refused."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from eval import compare_logs
from eval.logs import read_log
from eval.statistics.significance import mcnemar
from surgery.errors import SurgeryError
from tests.cli.conftest import surgery

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["surgery"]  # the command line's fixture

RIGHT = {"in": [0, 1, 1, 0, 0, 1, 0, 0, 1, 0], "rl": [1, 1, 1, 0, 1, 1, 1, 0, 1, 1]}


def lm_eval(folder: Path, name: str, verdicts: list[Any], **more: Any) -> Path:
    """Lines of lm-eval 0.4.9 with --log_samples, two filters per question."""
    path = folder / name / f"samples_gsm8k_2026-11-0{len(name)}T10-20-30.123456.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [
        {
            "doc_id": index, "doc": {"question": f"q{index}"}, "target": "#### 7",
            "arguments": {"gen_args_0": {"arg_0": "Question: ..."}}, "resps": [["It is 7."]],
            "filtered_resps": [answer], "filter": kind, "metrics": ["exact_match"],
            "doc_hash": f"{index:064x}", "prompt_hash": "0", "target_hash": "1",
            "exact_match": float(verdict if kind == "strict-match" else 1), **more,
        }
        for index, verdict in enumerate(verdicts)
        for kind, answer in (("strict-match", "7"), ("flexible-extract", "[invalid]"))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def zstandard_zip(path: Path, members: dict[str, str]) -> None:
    """A zip of members in Zstandard, as Inspect writes it: stored bytes, relabeled as method 93."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, zstandard.ZstdCompressor().compress(text.encode()))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    for info in infos:
        size = struct.pack("<I", len(members[info.filename].encode()))
        for start, method, length in ((info.header_offset, 8, 22), (directory, 10, 24)):
            data[start + method : start + method + 2] = struct.pack("<H", 93)
            data[start + length : start + length + 4] = size
        name_length, extra, comment = struct.unpack("<HHH", data[directory + 28 : directory + 34])
        directory += 46 + name_length + extra + comment
    path.write_bytes(data)


def inspect(folder: Path, name: str, verdicts: list[int], *, write: Any = zstandard_zip) -> Path:
    """An Inspect log of version 2: a zip with a header and one file per sample and epoch."""
    path = folder / f"{name}.eval"
    header = {"version": 2, "status": "success", "eval": {"task": "gsm8k", "model": "m"}}
    members = {"_journal/start.json": "{}"}
    for index, verdict in enumerate(verdicts):
        sample = {
            "id": index + 1, "epoch": 1, "input": "?", "target": "7", "messages": [],
            "output": {"completion": "ANSWER: 7"},
            "scores": {"match": {"value": "C" if verdict else "I", "answer": "7"}},
        }  # fmt: skip
        members[f"samples/{index + 1}_epoch_1.json"] = json.dumps(sample)
    write(path, members | {"header.json": json.dumps(header)})
    return path


def deflated(path: Path, members: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def older_inspect(folder: Path, name: str, verdicts: list[int]) -> Path:
    """The same from before Inspect used Zstandard."""
    return inspect(folder, name, verdicts, write=deflated)


def kit(folder: Path, name: str, verdicts: list[int]) -> Path:
    """A table of VLMEvalKit's, exported as text."""
    path = folder / f"{name}_MMStar.tsv"
    rows = [f"{index}\tWhat?\tA\tA\t{hit}" for index, hit in enumerate(verdicts)]
    path.write_text("\n".join(["index\tquestion\tanswer\tprediction\thit", *rows]) + "\n")
    return path


@pytest.mark.parametrize("write", [lm_eval, inspect, older_inspect, kit])
def test_two_models_are_compared_question_by_question(write, tmp_path: Path) -> None:
    logs = {name: write(tmp_path, name, verdicts) for name, verdicts in RIGHT.items()}
    result = compare_logs(logs)
    (pair,) = result.pairs.to_dict("records")
    assert (pair["variant"], pair["against"], pair["n"]) == ("rl", "in", 10)
    assert pair["difference"] == pytest.approx(0.4)
    expected = mcnemar(RIGHT["rl"], RIGHT["in"], [str(n) for n in range(10)])
    assert pair["p"] == pytest.approx(expected)
    scores = result.scores[result.scores["measure"] == "accuracy"].set_index("variant")["value"]
    assert dict(scores) == pytest.approx({"in": 0.4, "rl": 0.8})


def test_a_filter_is_one_measure(tmp_path: Path) -> None:
    path = lm_eval(tmp_path, "in", RIGHT["in"])
    verdicts = {
        name: sum(bool(record.correct) for record in read_log(path, "in", name))
        for name in (
            None,
            "exact_match",
            "exact_match,strict-match",
            "exact_match,flexible-extract",
        )
    }
    assert list(verdicts.values()) == [4, 4, 4, 10]


def test_a_folder_holds_all_tasks(tmp_path: Path) -> None:
    for name, verdicts in RIGHT.items():
        path = lm_eval(tmp_path, name, verdicts)
        path.with_name(path.name.replace("gsm8k", "mmmu_val")).write_bytes(path.read_bytes())
    result = compare_logs({name: tmp_path / name for name in RIGHT})
    assert set(result.pairs["task"]) == {"gsm8k", "mmmu_val", "all accuracy"} or set(
        result.pairs["task"]
    ) == {"gsm8k", "mmmu_val"}


def test_an_inspect_log_of_several_epochs_is_one_sample_per_question(tmp_path: Path) -> None:
    path = older_inspect(tmp_path, "in", RIGHT["in"])
    with zipfile.ZipFile(path, "a") as archive:
        sample = json.loads(archive.read("samples/1_epoch_1.json")) | {"epoch": 2}
        archive.writestr("samples/1_epoch_2.json", json.dumps(sample))
    records = read_log(path, "in")
    assert {(r.sample, r.repeat) for r in records if r.sample == "1"} == {("1", 0), ("1", 1)}


@pytest.mark.parametrize(
    ("more", "measure", "message"),
    [
        ({}, "exact_mach", "has no metric 'exact_mach'. Did you mean 'exact_match'"),
        ({"f1": 0.5}, "f1", r"f1 is '0.5'; only binary metrics .* here: exact_match"),
        ({}, "exact_match,none", "no sample of filter 'none'"),
    ],
)
def test_measures_that_cannot_be_compared(
    more: dict[str, float], measure: str, message: str, tmp_path: Path
) -> None:
    path = lm_eval(tmp_path, "in", RIGHT["in"], **more)
    with pytest.raises(SurgeryError, match=message):
        read_log(path, "in", measure)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.eval", b"no zip", "cannot be read: File is not a zip file"),
        ("a.jsonl", b'{"x": 1}\n', "line 1 has no doc_id"),
        ("a.jsonl", b"[", "cannot be read"),
        ("a.csv", b"index,score\n1,2\n", "no column hit"),
        ("a.csv", b"index,hit\n1,0.5\n", "hit is '0.5'; only binary metrics"),
        ("a.xlsx", b"", "is no log that can be compared. Expected lm-eval"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SurgeryError, match=message):
        read_log(path, "in")


def test_logs_of_other_questions_are_refused(tmp_path: Path) -> None:
    logs = {"in": lm_eval(tmp_path, "in", RIGHT["in"]), "rl": inspect(tmp_path, "rl", RIGHT["rl"])}
    with pytest.raises(SurgeryError, match="'rl' and 'in' have no question in common"):
        compare_logs(logs)


def test_a_small_archive_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * (1 << 27))
    with pytest.raises(SurgeryError, match="header\\.json is larger than 64 MiB"):
        read_log(path, "in")


def test_a_name_cannot_color_the_terminal(tmp_path: Path) -> None:
    path = lm_eval(tmp_path, "in", RIGHT["in"])
    evil = path.rename(path.with_name("samples_a\x1b[31mb.jsonl"))
    assert {record.task for record in read_log(evil, "in")} == {"a-31mb"}


def test_a_damaged_inspect_log_is_refused(tmp_path: Path) -> None:
    path = inspect(tmp_path, "in", RIGHT["in"])
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("header.json").header_offset
    data[start + 45 : start + 60] = bytes(15)
    path.write_bytes(data)
    with pytest.raises(SurgeryError, match="cannot be read"):
        read_log(path, "in")


def test_two_tables_of_one_model_are_refused(tmp_path: Path) -> None:
    table = kit(tmp_path, "in", RIGHT["in"])
    with pytest.raises(SurgeryError, match="'in' has several tables"):
        compare_logs({"in": [table, table], "rl": table})


def test_the_command(surgery: Any, tmp_path: Path) -> None:
    logs = [f"{name}={inspect(tmp_path, name, verdicts)}" for name, verdicts in RIGHT.items()]
    done = surgery("compare", *logs)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rl        gsm8k   accuracy        +40.0" in done.stdout
    table = json.loads(surgery("compare", *logs, "--json").stdout)
    assert table["against"] == "in"
    alone = surgery("compare", logs[0])
    assert alone.returncode == 2
    assert "two or more logs as NAME=LOG" in alone.stderr
