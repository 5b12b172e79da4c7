"""Publishing that is killed and resumed, and a token that is nowhere."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants

from surgery.hub.package import pack
from surgery.report.layers import layers_png
from tests.cli.conftest import environment
from tests.hub.merges import (
    COPY,
    REPO,
    asked,
    listing,
    merged,
    sleepless,
    stage,
    subject,
)
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cli.publishing import Surgery
    from tests.hub import Hub


# Interrupted for real.


def published(hub: Hub, out: Path) -> bool:
    """Check that the hub has the files of an uninterrupted publication, byte for byte."""
    by_key = subject(out)
    files = pack(out, by_key, layers_png(by_key.plan)).bundle.files
    present = hub.files(REPO)
    present.pop(".gitattributes", None)
    return present == {
        name: data if isinstance(data, bytes) else data.read_bytes() for name, data in files.items()
    }


def start(tmp_path: Path, *arguments: str, code: str = "", **more: str) -> subprocess.Popen[str]:
    """`surgery ...` as a process that talks to the hub."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", f"{code}\nfrom surgery.cli.main import main\nmain()", *arguments],
        cwd=tmp_path,
        env=environment(HF_HUB_OFFLINE="0", TMPDIR=str(tmp_path / "tmp"), **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored_files(hub: Hub) -> set[str]:
    with hub.lock:
        repo = hub.store.find(REPO)
        return set(repo.objects) if repo else set()


def left_over(tmp_path: Path) -> int:
    return len(list((tmp_path / "tmp").glob("surgery-publish-*")))


def until_it_is_done(
    hub: Hub, tmp_path: Path, signals: list[signal.Signals], seed: int
) -> Counter[str]:
    """Publish, interrupted by each signal once in the middle of the upload; what was sent again."""
    draw, again = random.Random(seed), Counter[str]()
    for sent in [*signals, None]:
        before, hub.received = stored_files(hub), Counter()
        puts, staged = asked(hub, "PUT /upload"), left_over(tmp_path)
        running = start(tmp_path, "publish", "out", REPO)
        if sent is not None:
            until(lambda r=running, n=puts: r.poll() is not None or asked(hub, "PUT /upload") > n)
            time.sleep(draw.uniform(0, 0.5))
            running.send_signal(sent)
        out, err = running.communicate(timeout=PATIENCE)
        again.update({oid: n for oid, n in hub.received.items() if oid in before})
        if sent is None or running.returncode == 0:
            assert running.returncode == 0, err
            assert "every file on the Hub has the hash of the local file" in out
            continue
        assert running.returncode == (130 if sent is signal.SIGINT else -sent)
        assert "Traceback" not in err
        assert not any(name.endswith(".safetensors") for name in hub.files(REPO))
        if sent is signal.SIGINT:  # SIGKILL leaves a folder of links behind
            assert left_over(tmp_path) == staged
    assert before  # something had arrived when the last attempt began
    return again


KILLS = [
    pytest.param([signal.SIGKILL], 0, id="killed"),
    *(
        pytest.param([signal.SIGINT, signal.SIGKILL, signal.SIGINT, signal.SIGKILL], seed,
                     marks=pytest.mark.slow)
        for seed in range(1, 4)
    ),
]  # fmt: skip


@pytest.mark.parametrize(("signals", "seed"), KILLS)
def test_interrupted_it_goes_on_and_ends_the_same(
    hub: Hub, tmp_path: Path, signals: list[signal.Signals], seed: int
) -> None:
    out = merged(tmp_path / "out", COPY)
    before = listing(out)
    hub.chunk_size = 250_000
    hub.fail("PUT /upload", times=None, delay=0.12)
    again = until_it_is_done(hub, tmp_path, signals, seed)
    assert not again  # what had arrived was not sent a second time
    assert published(hub, out)
    assert listing(out) == before
    assert asked(hub, f"POST /api/models/{REPO}/commit/") == 1


# The token.

SECRETS = (b"SecretThatNobodyMaySee", b"SecretThatMayOnlyRead")


OTHER = """\
models: {in: 'specimen:in', rl: 'specimen:rl'}
base: in
steps: [{transplant: 'language[early]', from: rl}]
"""


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that the server receives, but for the headers of authorization."""
    from tests.hub.server import _Handler

    results: list[bytes] = []
    read = _Handler._body

    def body(self: Any, *value: Any) -> bytes:
        displayed = {k: v for k, v in self.headers.items() if k.lower() != "authorization"}
        data = read(self, *value)
        results.append(f"{self.requestline} {displayed}".encode() + data)
        return data

    monkeypatch.setattr(_Handler, "_body", body)
    return results


def secret_places(*folders: Path, but: Path | None = None) -> list[str]:
    """Files below some folders that hold a token."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    return [
        str(path)
        for path in paths
        if path.is_file() and path != but and any(word in path.read_bytes() for word in SECRETS)
    ]


TROUBLE = (
    ("whoami", {"status": 500}),
    ("/api/repos/create", {"status": 403}),
    ("objects/batch", {"status": 401, "times": None}),
    ("PUT /upload", {"status": 500, "times": None}),
    ("PUT /upload", {"status": 403, "times": None}),
    ("PUT /upload", {"reset_upload": 10, "times": None}),
    ("/commit/", {"status": 412, "times": None}),
    ("/commit/", {"lost": True, "times": None}),
    ("/tree/", {"status": 404, "times": None}),
    ("validate-yaml", {"status": 400, "times": None}),
)


def in_every_way(hub: Hub, surgery: Surgery, troubles: Sequence[tuple[str, dict]]) -> str:
    """Run good and bad commands; return all their output."""
    lines = []

    def run(*arguments: object) -> None:
        done = surgery(*arguments)
        lines.append(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, done.stderr

    run("publish", "out", REPO, "--dry-run")
    for match, trouble in troubles:
        hub.fail(match, **trouble)
        run("publish", "out", REPO)
        hub.faults.clear()
    run("publish", "out", REPO, "--run", "run", "--collection", "Mine")
    run("verify", REPO)
    hub.fail("GET /cdn", status=403, times=None)
    run("verify", f"{REPO}@main")
    hub.faults.clear()
    run("merge", f"hf://{REPO}", "again")
    run("publish", "out", "nobody/x")
    run("publish", "--sweep", "many", "somebody")
    return "\n".join(lines)


@pytest.mark.parametrize("place", ["environment", "file"])
def test_the_token_is_nowhere(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, bodies: list[bytes], place: str,
) -> None:  # fmt: skip
    import logging

    from tests.hub import READ_TOKEN, TOKEN

    sleepless(monkeypatch)
    file = room / "token"
    if place == "file":
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))
        file.write_text(TOKEN)
    with caplog.at_level(logging.DEBUG):
        for name in ("huggingface_hub", "httpx2", "httpcore2", "urllib3"):
            caplog.set_level(logging.DEBUG, name)
        messages = in_every_way(hub, surgery, TROUBLE if place == "environment" else TROUBLE[3:4])
        if place == "environment":
            for token in (READ_TOKEN, "hf_SecretThatNobodyMaySeeEither"):
                monkeypatch.setenv("HF_TOKEN", token)
                done = surgery("publish", "out", REPO)
                assert done.returncode == 2
                messages += done.stdout + done.stderr
    assert "signature" not in messages
    assert any(TOKEN in header for header in hub.headers)
    everything = [messages.encode(), caplog.text.encode(), *bodies]
    assert not [text for text in everything if any(word in text for word in SECRETS)]
    assert not secret_places(room, but=file)
    for (_, _), repo in hub.store.repos.items():
        for commit in repo.commits.values():
            for blob in commit.files.values():
                assert not any(word in blob.data for word in SECRETS)


def test_the_token_is_nowhere_in_a_process(hub: Hub, room: Path, bodies: list[bytes]) -> None:
    """With everything logged that there is to log."""
    log = (
        "import logging, types, time\nlogging.basicConfig(level=logging.DEBUG)\n"
        "import huggingface_hub.utils._http as http, surgery.hub.publish as publish\n"
        "http.time = publish.time = types.SimpleNamespace(\n"
        "    sleep=lambda _: None, time=time.time, monotonic=time.monotonic)\n"
    )
    loud = {"HF_HUB_VERBOSITY": "debug", "HF_DEBUG": "1"}
    hub.fail("PUT /upload", times=12, status=500)  # more than the client takes
    done = start(room, "publish", "out", REPO, code=log, **loud)
    messages = "".join(done.communicate(timeout=PATIENCE))
    assert done.returncode == 0, messages
    assert "Trying again" in messages
    assert "DEBUG" in messages
    assert "authorization" in messages.lower()  # the client does tell of its headers
    assert not [text for text in (messages.encode(), *bodies) if any(w in text for w in SECRETS)]
    assert not secret_places(room)
    assert os.environ["HF_TOKEN"].encode()[-10:] in SECRETS[0]


# What changes, or was put there by others.


def test_a_merge_that_changes_on_its_way_is_told(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte of a weight changes between verification and upload: the difference is reported."""
    from surgery.hub import merge

    def late(*arguments: Any, **named: Any) -> Any:
        path = room / "out" / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        return pack(*arguments, **named)

    monkeypatch.setattr(merge, "pack", late)
    done = surgery("publish", "out", REPO, "--quiet")
    assert done.returncode == 2
    assert "out changed while it was being published" in done.stderr
    assert "Do not use what is on the Hub" in done.stderr


def test_a_published_merge_with_code_beside_it_is_refused(
    hub: Hub, surgery: Surgery, room: Path
) -> None:
    from huggingface_hub import HfApi

    assert surgery("publish", "out", REPO, "--quiet").returncode == 0
    HfApi().upload_file(path_or_fileobj=b"raise SystemExit", path_in_repo="a.py", repo_id=REPO)
    done = surgery("verify", f"hf://{REPO}@main")
    assert done.returncode == 2
    assert "fault a.py is not part of the merge" in done.stdout
    commit = HfApi().upload_file(path_or_fileobj=b"no", path_in_repo="a.bin", repo_id=REPO).oid
    done = surgery("verify", f"hf://{REPO}@{commit}")
    assert done.returncode == 2
    assert "'a.bin', a pickle or another format, which a merge never contains" in done.stderr


def test_a_published_recipe_reaches_no_file_of_this_machine(
    hub: Hub, surgery: Surgery, room: Path
) -> None:
    (room / "there").mkdir()
    (room / "there" / "recipe.yaml").write_text("extends: ./secret\n")
    (room / "secret.yaml").write_text("base: in\n")
    hub.add("org/sly", room / "there")
    done = surgery("merge", "hf://org/sly", "made")
    assert done.returncode == 2
    assert "secret" in done.stderr
    assert not (room / "made").exists()


def test_a_dry_run_asks_for_no_login(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(room / "no-token"))
    done = surgery("publish", "out", REPO, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "no account is logged in" in done.stderr
    assert "## How to make it again" in done.stdout
    assert not [line for line in hub.requests if line.startswith("POST /api/repos")]


def test_another_merge_is_not_replaced_unasked(hub: Hub, surgery: Surgery, room: Path) -> None:
    assert surgery("publish", "out", REPO, "--run", "run", "--quiet").returncode == 0
    done = surgery("publish", "out", REPO)
    assert "with these weights; its card is rewritten, without scores" in done.stderr
    merged(room / "other", OTHER)
    before = hub.files(REPO)
    done = surgery("publish", "other", REPO)
    assert done.returncode == 2
    assert f"{REPO} has a different merge" in done.stderr
    assert hub.files(REPO) == before
    done = surgery("publish", "other", REPO, "--overwrite")
    assert done.returncode == 0
    assert "already exists, and is replaced" in done.stderr


def test_private_parents_do_not_go_public(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    hub.add("org/in", stage("in", tmp_path / "in"), private=True)
    merged(tmp_path / "out", **{"in": "org/in"})
    done = surgery("publish", "out", REPO, "--public")
    assert done.returncode == 2
    assert "org/in is private, and somebody/mixed would publish its weights" in done.stderr
    assert surgery("publish", "out", REPO).returncode == 0


def test_a_published_recipe_names_no_folder_of_this_machine(
    hub: Hub, surgery: Surgery, room: Path
) -> None:
    (room / "there").mkdir()
    text = f"models: {{in: '{room / 'out'}'}}\nbase: in\nsteps: []\n"
    (room / "there" / "recipe.yaml").write_text(text)
    hub.add("org/sly", room / "there")
    done = surgery("merge", "hf://org/sly", "made")
    assert done.returncode == 2
    assert "a folder on another machine" in done.stderr
    assert surgery("merge", "hf://org/sly", "made", f"--model=in={room / 'out'}").returncode == 0


def test_where_a_model_was_is_not_published(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "in")
    config = json.loads((folder / "config.json").read_text())
    config["_name_or_path"] = str(tmp_path / "secret")
    (folder / "config.json").write_text(json.dumps(config))
    merged(tmp_path / "out", **{"in": folder})
    assert "_name_or_path" not in json.loads((tmp_path / "out" / "config.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["source"] = f"{folder.resolve()}/vocab"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    merged(tmp_path / "told", **{"in": folder})
    done = surgery("publish", "told", REPO)
    assert done.returncode == 2
    assert "tokenizer_config.json: names" in done.stderr
    assert "a place on this machine" in done.stderr
