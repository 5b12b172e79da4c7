"""`surgery publish` from end to end: out, back again, and proven; and all that may go wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants, snapshot_download

from surgery.checkpoint.hub import fetch_all
from surgery.hub.parcel import pack
from surgery.report.layers import layers_png
from tests.cli.conftest import environment
from tests.hub.cards import check, front_matter
from tests.hub.merges import (
    CARD,
    COPY,
    REPO,
    asked,
    listing,
    merged,
    parents,
    sleepless,
    stage,
    state,
    subject,
    written,
)
from tests.hub.test_card import headings, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.hub import Hub

    Surgery = Callable[..., subprocess.CompletedProcess[str]]

# The client sends large files in a way that its HTTP library would rather see changed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

SWEEP = """\
models: {in: 'specimen:in', rl: 'specimen:rl'}
base: in
donor: rl
variants: {recipes: [specimen/in-rl-in, specimen/rl-in-rl]}
suites: [mine.yaml]
"""
SUITE = "name: sums\nrows: sums.jsonl\nmetric: m_rea\nkind: number\nmax_new_tokens: 24\n"
SUMS = "".join(
    json.dumps({"prompt": f"{a}+{b}=?", "answer": str(a + b), "id": f"{a}{b}"}) + "\n"
    for a in (1, 4)
    for b in (2, 5)
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge `out`, a run `run` that scored it, its recipe and its parents, and a sweep `many`."""
    room = tmp_path_factory.mktemp("runs")
    (room / "sums.jsonl").write_text(SUMS)
    (room / "mine.yaml").write_text(SUITE)
    (room / "sweep.yaml").write_text(SWEEP)
    merged(room / "out")
    scored = ("out", "specimen:in", "specimen:rl")
    one = ("--suite", "mine.yaml", "--out", "run", "--base", "in", "--donor", "rl")
    code = (
        "import sys\nfrom surgery.cli.main import main\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv = ['surgery', *line.split()]\n"
        "    try:\n        main()\n    except SystemExit as done:\n        assert not done.code\n"
    )
    lines = (("eval", *scored, *one, "--processes", "1"),
             ("sweep", "sweep.yaml", "--out", "many", "--processes", "1"))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=room, env=environment(), capture_output=True,
        text=True, input="\n".join(map(" ".join, lines)), timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return room


@pytest.fixture
def room(runs: Path, tmp_path: Path) -> Path:
    """The same in the folder where commands run."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    return tmp_path


def ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


# Out and back.


def test_out_back_and_proven(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    before = listing(out)
    done = ok(surgery("publish", "out", REPO))
    assert f"{hub.endpoint}/{REPO}: 11 files, " in done.stdout
    assert "private" in done.stdout
    assert "every file there has the hash of the one here" in done.stdout
    assert listing(out) == before
    assert asked(hub, f"POST /api/models/{REPO}/commit/") == 1

    back = snapshot_download(REPO, local_dir=tmp_path / "back")
    assert weights(tmp_path / "back") == weights(out)
    for where in (back, REPO, f"hf://{REPO}@main"):
        told = ok(surgery("verify", where)).stdout
        assert f"{where} holds: 164 tensors and 9 files" in told
        assert "164 bit-identical" in told
    ok(surgery("merge", f"hf://{REPO}", "again"))
    assert weights(tmp_path / "again") == weights(out)
    assert hub.unknown == []

    (tmp_path / "back" / "tokenizer.json").write_text("{}")
    assert surgery("verify", "back").returncode == 2


def test_parents_on_the_hub_that_moved(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    models = parents(hub, tmp_path)
    out = merged(tmp_path / "out", **models)
    ok(surgery("publish", "out", "org/mixed", "--quiet"))
    hub.add("org/rl", stage("base", tmp_path / "moved", CARD))
    hub.add("org/in", tmp_path / "moved")
    shutil.rmtree(constants.HF_HUB_CACHE)
    ok(surgery("merge", "hf://org/mixed", "again"))
    assert weights(tmp_path / "again") == weights(out)
    assert "holds" in ok(surgery("verify", "org/mixed")).stdout
    card = hub.files("org/mixed")["README.md"].decode()
    assert front_matter(card)["base_model"] == ["org/in", "org/rl"]
    again = ok(surgery("publish", "again", "org/mixed", "--json"))  # of the same parents
    assert json.loads(again.stdout)["commit"]


def test_folders_are_bound_to_make_it_again(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "SECRETDIR" / "mine")
    merged(tmp_path / "out", **{"in": folder})
    ok(surgery("publish", "out", REPO))
    for name, data in hub.files(REPO).items():
        assert b"SECRETDIR" not in data, name
    wrong = surgery("merge", f"hf://{REPO}", "again")
    assert wrong.returncode == 2
    ok(surgery("merge", f"hf://{REPO}", "again", "--model", f"in={folder}"))
    assert weights(tmp_path / "again") == weights(tmp_path / "out")
    ok(surgery("verify", REPO, "--model", f"in={folder}"))


def test_json_is_json(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    merged(tmp_path / "out")
    dry = ok(surgery("publish", "out", REPO, "--dry-run", "--json"))
    told = json.loads(dry.stdout)
    assert told["dry_run"]
    assert told["repo"] == REPO
    assert dry.stderr == ""
    done = ok(surgery("publish", "out", REPO, "--json"))
    made = json.loads(done.stdout)
    assert made["files"] == len(told["files"])
    assert made["bytes"] == sum(told["files"].values())
    assert (made["private"], made["copied"]) == (True, [])
    assert made["commit"] == hub.store.find(REPO).head("main").id
    assert hub.files(REPO)["README.md"].decode() == told["card"]
    assert done.stderr == ""


def test_a_dry_run_writes_nothing_anywhere(
    hub: Hub, surgery: Surgery, room: Path, process: Surgery
) -> None:
    (room / "cache").mkdir(exist_ok=True)
    before = state(hub), {k: v for k, v in listing(room).items() if "/cache" not in k}
    for arguments in (
        ("out", REPO),
        ("out", "org/new", "--public", "--revision", "half", "--collection", "Mine"),
        ("out", REPO, "--run", "run"),
        ("--sweep", "many", "somebody"),
        ("--sweep", "many", "somebody", "--pick", "M_rea >= 0"),
    ):
        done = ok(surgery("publish", *arguments, "--dry-run"))
        assert "# " in done.stdout
        assert "README.md" in done.stdout
        assert "model.safetensors" in done.stdout
    after = state(hub), {k: v for k, v in listing(room).items() if "/cache" not in k}
    assert after == before
    assert written(hub) == []
    assert hub.unknown == []


def test_a_dry_run_shows_what_is_sent_then(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    merged(tmp_path / "out")
    dry = ok(surgery("publish", "out", REPO, "--dry-run"))
    ok(surgery("publish", "out", REPO))
    there = hub.files(REPO)
    assert dry.stdout.startswith(there["README.md"].decode())
    for name in there.keys() - {".gitattributes"}:
        assert f"  {name}\n" in dry.stdout
    assert "nothing was written: this was a dry run" in dry.stderr


# Scores.


def test_scores_of_its_run(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(surgery("publish", "out", REPO, "--run", "run", "--quiet"))
    card = hub.files(REPO)["README.md"].decode()
    assert check(card) == ([], [])
    scores, against, _ = tables(card)
    assert scores[0] == ["suite", "task", "metric", "this merge", "in", "rl"]
    assert all("n=4" in cell for cell in scores[1][3:])
    assert [row[3] for row in against[1:]] == ["in", "rl"]
    assert front_matter(card)["model-index"][0]["name"] == "mixed"
    assert "Scores" in headings(card)
    ok(surgery("verify", REPO))


def test_a_run_of_other_weights(hub: Hub, surgery: Surgery, room: Path) -> None:
    from tests.hub.merges import MIDDLE

    merged(room / "other", MIDDLE.replace("[mid]", "[late]"))
    done = surgery("publish", "other", REPO, "--run", "run")
    assert done.returncode == 2
    assert "no variant of the run has it" in done.stderr
    assert surgery("publish", "out", REPO, "--run", "nowhere").returncode == 2
    assert written(hub) == []


def test_scores_of_a_recipe_that_was_never_written(hub: Hub, surgery: Surgery, room: Path) -> None:
    """The sweep scored the recipe in memory; the merge of it has the same fingerprint."""
    ok(surgery("publish", "out", REPO, "--run", "many", "--quiet"))
    scores = tables(hub.files(REPO)["README.md"].decode())[0]
    assert scores[0][3:] == ["this merge", "in", "rl"]


# Collections and sweeps.


def test_into_a_collection(hub: Hub, surgery: Surgery, room: Path) -> None:
    done = ok(surgery("publish", "out", REPO, "--collection", "Mine"))
    (shelf,) = hub.collections.values()
    assert [item["id"] for item in shelf["items"]] == [REPO]
    assert shelf["private"]
    assert shelf["slug"] in done.stderr + done.stdout


NAMES = ("somebody/many-specimen-in-rl-in", "somebody/many-specimen-rl-in-rl")


def sweep(surgery: Surgery, *more: str) -> subprocess.CompletedProcess[str]:
    return surgery("publish", "--sweep", "many", "somebody", "--collection", "many", *more)


def test_a_sweep(hub: Hub, surgery: Surgery, room: Path) -> None:
    before = listing(room / "many")
    done = ok(sweep(surgery, "--json"))
    assert listing(room / "many") == before
    told = json.loads(done.stdout)
    assert [each["repo"] for each in told["published"]] == [*NAMES, "somebody/many"]
    (shelf,) = hub.collections.values()
    assert [(item["type"], item["id"]) for item in shelf["items"]] == [
        ("dataset", "somebody/many"), *(("model", name) for name in NAMES),
    ]  # fmt: skip
    index = hub.files("somebody/many", kind="datasets")
    assert index.keys() >= {"README.md", "scores.csv", "pairs.csv", "recovery.csv", "power.csv"}
    models, scores, differences = tables(index["README.md"].decode())
    assert [row[1] for row in models[1:]] == list(NAMES)
    assert [row[0] for row in scores[1:]] == ["in", "rl", *(row[0] for row in models[1:])]
    assert len(differences) == 4
    for name in NAMES:
        assert hub.store.find(name).private
        assert "Scores" in headings(hub.files(name)["README.md"].decode())
    ok(surgery("verify", NAMES[1]))
    hub.received.clear()
    heads = {name: hub.store.find(name).head("main").id for name in NAMES}
    ok(sweep(surgery, "--quiet"))  # all of it is there
    assert {name: hub.store.find(name).head("main").id for name in NAMES} == heads
    assert not hub.received


def test_some_of_a_sweep(hub: Hub, surgery: Surgery, room: Path) -> None:
    done = surgery("publish", "--sweep", "many", "somebody", "--pick", "M_rea > 150%")
    assert done.returncode == 2
    done = surgery("publish", "--sweep", "many", "somebody", "--pick", "M_rea > 99%")
    assert done.returncode == 2
    assert "no variant to publish: none fulfils 'M_rea > 99%'" in done.stderr
    assert written(hub) == []


def test_a_sweep_that_broke_off_goes_on(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleepless(monkeypatch)
    fault = hub.fail(f"/api/models/{NAMES[1]}/commit/", times=None, status=503)
    done = sweep(surgery)
    assert done.returncode == 2
    assert "the Hub answered with status 503" in done.stderr
    assert fault.hits > 0
    first = hub.store.find(NAMES[0]).head("main").id
    assert hub.store.find("somebody/many", "datasets") is None
    hub.faults.clear()
    hub.received.clear()
    ok(sweep(surgery))
    assert hub.store.find(NAMES[0]).head("main").id == first
    assert not hub.received  # the weights had arrived
    assert hub.store.find("somebody/many", "datasets") is not None
    assert not (room / "many" / "merged").exists()


def test_a_sweep_looks_at_every_target_first(hub: Hub, surgery: Surgery, room: Path) -> None:
    (room / "theirs").mkdir()
    (room / "theirs" / "weights.bin").write_bytes(b"1")
    for name, kind in ((NAMES[1], "models"), ("somebody/many", "datasets")):
        hub.add(name, room / "theirs", kind=kind, private=True)
        done = sweep(surgery)
        assert done.returncode == 2
        assert f"{name} is there already" in done.stderr
        assert written(hub) == []
        del hub.store.repos[kind, name]


def test_variants_that_would_share_a_name(hub: Hub, surgery: Surgery, room: Path) -> None:
    done = surgery("publish", "--sweep", "many", "somebody", "--collection", "x" * 120, "--dry-run")
    assert done.returncode == 2
    assert "would both be published as" in done.stderr


def test_a_model_of_the_sweep_that_changed(hub: Hub, surgery: Surgery, room: Path) -> None:
    told = json.loads((room / "many" / "run.json").read_text())
    for variant in told["variants"]:
        variant["fingerprint"] = variant["fingerprint"][::-1]
    (room / "many" / "run.json").write_text(json.dumps(told))
    done = sweep(surgery)
    assert done.returncode == 2
    assert "comes out otherwise than it was when the run scored it" in done.stderr
    assert written(hub) == []


# What makes no sense, and what may not be.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("out",), "is missing: where the merge goes"),
        (("out", "name"), "is not namespace/name"),
        (("out", "a/b/c"), "is not namespace/name"),
        (("out", "me/na--me"), "is not namespace/name"),
        (("out", "me/../x"), "is not namespace/name"),
        (("out", "https://huggingface.co/me/x"), "is not namespace/name"),
        (("out", REPO, "--pick", "x > 1"), "picks among the variants"),
        (("--sweep", "many", REPO), "give the namespace alone"),
        (("--sweep", "many", "somebody", "--run", "run"), "goes with one merge"),
        (("--sweep", "many", "somebody", "--revision", "b"), "goes with one merge"),
        (("--sweep", "nowhere", "somebody"), "nowhere"),
        (("--sweep", "many", "somebody", "--pick", "rubbish"), "compares nothing"),
        (("nothing", REPO), "nothing"),
        (("many", REPO), "has no surgery.json"),
        (("out", REPO, "--license", "appache"), "Did you mean 'apache-2.0'"),
        (("out", REPO, "--license", "other"), "other:NAME:LINK"),
        (("out", "nobody/x"), "neither you nor an organization"),
        (("out", REPO, "--model", "in"), "in"),
        (("out", REPO, "--model", "xx=specimen:in"), "xx"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(
    hub: Hub, surgery: Surgery, room: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = surgery("publish", *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert written(hub) == []


def test_a_merge_that_does_not_hold(hub: Hub, surgery: Surgery, room: Path) -> None:
    path = room / "out" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "does not hold, so it is not published" in done.stderr
    assert "'surgery verify out' tells all" in done.stderr
    (room / "out" / "extra.py").write_text("")
    assert surgery("publish", "out", REPO).returncode == 2
    assert written(hub) == []


def test_the_licence_is_asked_for(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "in", None)
    merged(tmp_path / "out", **{"in": folder})
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "in (in) states no licence" in done.stderr
    assert "--license ID" in done.stderr
    assert written(hub) == []
    ok(surgery("publish", "out", REPO, "--license", "other:mine:LICENSE"))
    card = hub.files(REPO)["README.md"].decode()
    told = front_matter(card)
    assert (told["license"], told["license_name"]) == ("other", "mine")
    assert "Licence: in (in) states no licence" in card


def test_a_public_repository_wants_to_be_named(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(surgery("publish", "out", REPO, "--public"))
    assert not hub.store.find(REPO).private
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "is public. Say --public" in done.stderr
    ok(surgery("publish", "out", REPO, "--public"))


def test_a_branch(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(surgery("publish", "out", REPO, "--revision", "half"))
    assert 'revision="half"' in hub.files(REPO, "half")["README.md"].decode()
    assert "README.md" not in hub.files(REPO)
    ok(surgery("verify", f"{REPO}@half"))
    ok(surgery("merge", f"hf://{REPO}@half", "again"))
    assert surgery("verify", REPO).returncode == 2


def test_a_repository_that_was_not_published_by_us(
    hub: Hub, surgery: Surgery, tmp_path: Path
) -> None:
    parents(hub, tmp_path)
    done = surgery("verify", "org/in")
    assert done.returncode == 2
    assert "surgery.json" in done.stderr
    done = surgery("merge", "hf://org/in", "again")
    assert done.returncode == 2
    assert "recipe.yaml" in done.stderr
    assert surgery("merge", "hf://org/none", "again").returncode == 2
    assert surgery("verify", "org/none").returncode == 2
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("how", ["gated", "private"])
def test_parents_that_may_not_be_read(hub: Hub, surgery: Surgery, tmp_path: Path, how: str) -> None:
    merged(tmp_path / "out", **parents(hub, tmp_path))
    shutil.rmtree(constants.HF_HUB_CACHE)
    if how == "gated":
        hub.gated.add("org/rl")
    else:
        hub.store.find("org/rl").private = True
        hub.orgs.pop("org")
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "org/rl" in done.stderr
    assert written(hub) == []


# Without a network.


def test_offline_everything_local_works(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.broken = 500  # nobody asks
    ok(surgery("merge", "specimen/in-rl-in", "new"))
    ok(surgery("plan", "specimen/in-rl-in"))
    ok(surgery("verify", "new"))
    ok(surgery("stats", "specimen:in", "specimen:rl", "--out", "stats"))
    dry = ok(surgery("publish", "new", REPO, "--dry-run"))
    assert "are not looked at" in dry.stderr
    assert "# mixed" in dry.stdout
    ok(surgery("publish", "--sweep", "many", "somebody", "--dry-run"))
    done = surgery("publish", "new", REPO)
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE forbids it. Unset it to publish." in done.stderr
    assert surgery("verify", REPO).returncode == 2
    assert hub.asked == []


def test_offline_a_publication_in_the_cache_is_at_hand(
    hub: Hub, surgery: Surgery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(tmp_path / "out", **parents(hub, tmp_path))
    ok(surgery("publish", "out", REPO, "--quiet"))
    fetch_all(REPO, None)
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ok(surgery("verify", REPO))
    ok(surgery("merge", f"hf://{REPO}", "again"))
    ok(surgery("publish", "out", REPO, "--dry-run"))
    assert hub.asked == []


# Interrupted for real.


def published(hub: Hub, out: Path) -> bool:
    """Whether the hub has what an uninterrupted publication makes, byte for byte."""
    of = subject(out)
    files = pack(out, of, layers_png(of.plan)).bundle.files
    there = hub.files(REPO)
    there.pop(".gitattributes", None)
    return there == {
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


def kept(hub: Hub) -> set[str]:
    with hub.lock:
        repo = hub.store.find(REPO)
        return set(repo.objects) if repo else set()


def until_it_is_done(
    hub: Hub, tmp_path: Path, signals: list[signal.Signals], seed: int
) -> Counter[str]:
    """Publish, interrupted by each signal once in the middle of the upload; what was sent again."""
    draw, again = random.Random(seed), Counter[str]()
    for sent in [*signals, None]:
        before, hub.received = kept(hub), Counter()
        puts, staged = asked(hub, "PUT /upload"), len(list((tmp_path / "tmp").glob("*")))
        running = start(tmp_path, "publish", "out", REPO)
        if sent is not None:
            while running.poll() is None and asked(hub, "PUT /upload") == puts:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.5))
            running.send_signal(sent)
        out, err = running.communicate(timeout=120)
        again.update({oid: n for oid, n in hub.received.items() if oid in before})
        if sent is None or running.returncode == 0:
            assert running.returncode == 0, err
            assert "every file there has the hash of the one here" in out
            continue
        assert running.returncode == (130 if sent is signal.SIGINT else -sent)
        assert "Traceback" not in err
        assert not any(name.endswith(".safetensors") for name in hub.files(REPO))
        if sent is signal.SIGINT:  # SIGKILL leaves a folder of links behind
            assert len(list((tmp_path / "tmp").glob("*"))) == staged
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


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that the server receives, but for the headers of authorization."""
    from tests.hub.server import _Handler

    found: list[bytes] = []
    read = _Handler._body

    def body(self: Any, *given: Any) -> bytes:
        shown = {k: v for k, v in self.headers.items() if k.lower() != "authorization"}
        data = read(self, *given)
        found.append(f"{self.requestline} {shown}".encode() + data)
        return data

    monkeypatch.setattr(_Handler, "_body", body)
    return found


def seen(*folders: Path, but: Path | None = None) -> list[str]:
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
    """Good commands and bad ones; all that they said."""
    told = []

    def run(*arguments: object) -> None:
        done = surgery(*arguments)
        told.append(done.stdout + done.stderr)
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
    return "\n".join(told)


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
        told = in_every_way(hub, surgery, TROUBLE if place == "environment" else TROUBLE[3:4])
        if place == "environment":
            for token in (READ_TOKEN, "hf_SecretThatNobodyMaySeeEither"):
                monkeypatch.setenv("HF_TOKEN", token)
                done = surgery("publish", "out", REPO)
                assert done.returncode == 2
                told += done.stdout + done.stderr
    assert "signature" not in told
    assert any(TOKEN in header for header in hub.headers)
    everything = [told.encode(), caplog.text.encode(), *bodies]
    assert not [text for text in everything if any(word in text for word in SECRETS)]
    assert not seen(room, but=file)
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
    told = "".join(done.communicate(timeout=120))
    assert done.returncode == 0, told
    assert "Trying again" in told
    assert "DEBUG" in told
    assert "authorization" in told.lower()  # the client does tell of its headers
    assert not [text for text in (told.encode(), *bodies) if any(w in text for w in SECRETS)]
    assert not seen(room)
    assert os.environ["HF_TOKEN"].encode()[-10:] in SECRETS[0]
