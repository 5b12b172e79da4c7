"""The kinds of input: what is damaged, and which commands read it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.fuzz import mutate
from tests.fuzz.servers import REPO

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from tests.fuzz.servers import Servers

    Commands = list[list[str]]
    Kind = Callable[[Random, Path, Servers], Commands]

TEMPLATES = (
    "{{ raise_exception('no \x1b[2J') }}", "{% for %}", "{{ messages.x.y }}",
    "{{ undefined_name }}",
    "{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}x{% endfor %}",
    "{{ messages[9].content }}", "{% include 'x' %}", "{{ 1 / 0 }}", "{{ 'x' * 10**7 }}", "", "é",
    "{{ messages | tojson }}", "{{ strftime_now('%') }}", "\ud800", "{% macro a() %}{{ a() }}"
    "{% endmacro %}{{ a() }}", "{{ range(10**6) | list }}", "{{ messages | sort }}", "{# ",
    "{{ 'a' | nosuch }}", "{{ namespace(a=1).b.c }}", "{{ 9 ** 9 ** 9 }}",
)  # fmt: skip
CONFIGS = ("config.json", "generation_config.json")
COMPANIONS = (
    "tokenizer_config.json", "tokenizer.json", "preprocessor_config.json", "processor_config.json",
    "chat_template.jinja", "generation_config.json", "config.json",
)  # fmt: skip


def _names(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]


def _read(room: Path, model: str = "models/rl") -> Commands:
    return [
        ["inspect", model, "--tensors"],
        ["plan", "recipe.yaml", "--model", f"rl={model}", "--json"],
        ["plan", "recipe.yaml", "--model", f"in={model}"],
        ["merge", "recipe.yaml", "new", "-q", "--model", f"in={model}"],
        ["freeze", model, "language[late]"],
    ]


def config(rng: Random, room: Path, servers: Servers) -> Commands:
    mutate.json_file(rng, rng.choice(_names(room / "models" / "rl", CONFIGS)))
    measured = [["stats", "--in", "models/in", "--rl", "models/rl", "--out", "new4", "-q",
                 "--spectrum", "none"]]  # fmt: skip
    return _read(room) + (measured if rng.random() < 0.3 else [])


def header(rng: Random, room: Path, servers: Servers) -> Commands:
    mutate.weights(rng, room / "models" / "rl" / "model.safetensors")
    return _read(room)


def index(rng: Random, room: Path, servers: Servers) -> Commands:
    files = sorted((room / "out").glob("model*"))
    path = rng.choice(files)
    (mutate.json_file if path.suffix == ".json" else mutate.weights)(rng, path)
    return _read(room, "out")


def companion(rng: Random, room: Path, servers: Servers) -> Commands:
    path = rng.choice(_names(room / "models" / "rl", COMPANIONS))
    (mutate.json_file if path.suffix == ".json" else mutate.text_file)(rng, path)
    return [*_read(room)[2:4], ["eval", "models/rl", "--suite", "mine.yaml", "--out", "new2", "-q",
            "--processes", "1"],
            *([["train", "sft", "sft.yaml", "--model", "models/rl", "--out", "new3", "-q"]]
              if rng.random() < 0.3 else [])]  # fmt: skip


def template(rng: Random, room: Path, servers: Servers) -> Commands:
    text = rng.choice(TEMPLATES)
    path = room / "models" / "rl" / "chat_template.jinja"
    if rng.random() < 0.3 and path.is_file():
        text = mutate.text(rng, path.read_text())
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    commands = [["eval", "models/rl", "--suite", "mine.yaml", "--out", "new", "-q", "--processes",
                 "1"]]  # fmt: skip
    if rng.random() < 0.3:
        commands.append(["probe", "ablation", "models/rl", "--suite", "mine.yaml", "--out", "new2",
                         "--layers", "0:1", "-q"])  # fmt: skip
    return commands


def recipe(rng: Random, room: Path, servers: Servers) -> Commands:
    name = rng.choice(("recipe.yaml", "recipe.yaml", "child.yaml"))
    mutate.yaml_file(rng, room / name)
    return [["plan", name], ["recipe", "show", name], ["recipe", "show", name, "--resolved"],
            ["recipe", "to-mergekit", name], ["merge", name, "new", "-q"]]  # fmt: skip


def mergekit(rng: Random, room: Path, servers: Servers) -> Commands:
    name = rng.choice(("classic.yaml", "slices.yaml"))
    mutate.yaml_file(rng, room / name)
    return [["recipe", "from-mergekit", name]]


def sweep(rng: Random, room: Path, servers: Servers) -> Commands:
    mutate.yaml_file(rng, room / "sweep.yaml")
    return [["sweep", "sweep.yaml", "--out", "new", "-q", "--processes", "1"]]


def training(rng: Random, room: Path, servers: Servers) -> Commands:
    kind = rng.choice(("sft", "grpo"))
    mutate.yaml_file(rng, room / f"{kind}.yaml")
    return [["train", kind, f"{kind}.yaml", "--out", "new", "-q"]]


def suite(rng: Random, room: Path, servers: Servers) -> Commands:
    if rng.random() < 0.5:
        mutate.yaml_file(rng, room / "mine.yaml")
    else:
        mutate.json_lines(rng, room / "rows.jsonl")
    return [["eval", "m", "--suite", "mine.yaml", "--out", "new", "-q", "--server", servers.url]]


def image(rng: Random, room: Path, servers: Servers) -> Commands:
    from tests.eval.samples import picture

    path = room / "a.png"
    path.write_bytes(picture(size=(64, 48), kind=rng.choice(("PNG", "JPEG", "GIF", "TIFF", "WEBP",
                                                             "BMP", "PPM"))).data)  # fmt: skip
    mutate.file(rng, path)
    commands = [
        ["eval", "m", "--suite", "mine.yaml", "--out", "new", "-q", "--server", servers.url]
    ]
    if rng.random() < 0.3:
        commands = [["eval", "models/in", "--suite", "mine.yaml", "--out", "new", "-q",
                     "--processes", "1"]]  # fmt: skip
    return commands


def pairs(rng: Random, room: Path, servers: Servers) -> Commands:
    folder = room / "pairs" / "colour"
    if rng.random() < 0.7:
        mutate.json_lines(rng, folder / "data.jsonl")
    else:
        mutate.file(rng, folder / "red.png")
    return [["probe", "vision-swap", "models/in", "--pairs", "pairs", "--out", "new", "-q",
             "--layers", "0:1"]]  # fmt: skip


def run(rng: Random, room: Path, servers: Servers) -> Commands:
    files = sorted(path for path in (room / "run").iterdir() if path.is_file())
    path = rng.choice([path for path in files if path.suffix in (".json", ".jsonl", ".csv")])
    damage = {".json": mutate.json_file, ".jsonl": mutate.json_lines}.get(path.suffix)
    (damage or mutate.text_file)(rng, path)
    resume = ["eval", "one", "two", "--suite", "mine.yaml", "--out", "run", "--server", servers.url]
    return [["compare", "run"], ["compare", "run", "--json"], ["profile", "run", "--out", "new"],
            [*resume, "-q"]]  # fmt: skip


def other_kinds(rng: Random, room: Path, servers: Servers) -> Commands:
    """Return folders of statistics, probes and trainings, which the same command resumes."""
    name = rng.choice(("measured", "probed", "trained"))
    files = sorted(path for path in (room / name).rglob("*") if path.is_file())
    path = rng.choice(files)
    damage = {".json": mutate.json_file, ".jsonl": mutate.json_lines, ".csv": mutate.text_file,
              ".safetensors": mutate.weights}.get(path.suffix)  # fmt: skip
    if damage is None or path.stat().st_size == 0:
        mutate.file(rng, path)
    else:
        damage(rng, path)
    models = str(room.parent / "clean" / "models")
    again = {
        "measured": ["stats", "--in", f"{models}/in", "--rl", f"{models}/rl", "--out", "measured",
                     "-q", "--spectrum", "none"],
        "probed": ["probe", "ablation", f"{models}/in", "--suite", "mine.yaml", "--out", "probed",
                   "--layers", "0:2", "-q"],
        "trained": ["train", "sft", "sft.yaml", "--model", f"{models}/in", "--out", "trained",
                    "-q"],
    }  # fmt: skip
    return [["profile", "measured", "probed", "--out", "new"], again[name]]


def descriptions(rng: Random, room: Path, servers: Servers) -> Commands:
    mutate.json_lines(rng, room / "words.jsonl")
    (room / "mine.yaml").write_text(
        (room / "mine.yaml").read_text().replace("accuracy", "m_v2r").replace("rows:", "rows:")
    )
    lines = (room / "rows.jsonl").read_text().splitlines()
    (room / "rows.jsonl").write_text(lines[1].replace('"three dots"', "null") + "\n")
    return [["eval", "m", "--suite", "mine.yaml", "--out", "new", "-q", "--server", servers.url,
             "--descriptions", "words.jsonl"]]  # fmt: skip


def adapter(rng: Random, room: Path, servers: Servers) -> Commands:
    if rng.random() < 0.6:
        mutate.json_file(rng, room / "adapter" / "adapter_config.json")
    else:
        mutate.weights(rng, room / "adapter" / "adapter_model.safetensors")
    (room / "tuned.yaml").write_text(
        "models: {in: models/in, rl: {base: models/in, adapter: adapter}}\nbase: in\n"
        "steps: [{transplant: 'language[:]', from: rl}]\n"
    )
    return [["plan", "tuned.yaml"], ["merge", "tuned.yaml", "new", "-q"], ["inspect", "adapter"]]


def ledger(rng: Random, room: Path, servers: Servers) -> Commands:
    files = sorted(path for path in (room / "out").rglob("*") if path.is_file())
    path = rng.choice([room / "out" / "surgery.json", rng.choice(files)])
    if path.suffix == ".json":
        mutate.json_file(rng, path)
    elif path.suffix == ".safetensors":
        mutate.weights(rng, path)
    else:
        mutate.file(rng, path)
    models = ["--model", "in=models/in", "--model", "rl=models/rl"]
    return [["verify", "out", *models], ["verify", "out", "--no-inputs", "--json"],
            ["merge", "recipe.yaml", "out", "--overwrite", "-q"]]  # fmt: skip


def arguments(rng: Random, room: Path, servers: Servers) -> Commands:
    """Return values of options and arguments."""
    word = str(rng.choice(mutate.VALUES))[:5000].replace("\0", "")
    word = word.encode("utf-8", "surrogateescape" if "\udc80" in word else "replace").decode(
        "utf-8", "surrogateescape"
    )
    ask = ["--suite", "mine.yaml", "--out", "new", "-q", "--server", servers.url]
    return [rng.choice([
        ["inspect", word], ["plan", word], ["verify", word], ["merge", "recipe.yaml", word, "-q"],
        ["plan", "recipe.yaml", "--model", f"in={word}"], ["freeze", "models/in", word],
        ["freeze", word, "vision"], ["recipe", "show", word], ["recipe", "from-mergekit", word],
        ["recipe", "new", word], ["compare", word], ["profile", word, "--out", "new"],
        ["profile", "run", "--out", word], ["compare", "run", "--against", word],
        ["eval", word, *ask], ["eval", f"{word}=m", *ask], ["eval", "m", *ask, "--style", word],
        ["eval", "m", *ask, "--grader", word], ["eval", "m", *ask[2:], "--suite", word],
        ["eval", "m", *ask, "--data", f"{word}=x"], ["eval", "m", *ask, "--data", f"mmmu={word}"],
        ["eval", "m", "--suite", "mathvista", "--data", f"mathvista={word}", *ask[2:]],
        ["eval", "m", *ask, "--descriptions", word], ["eval", "m", *ask, "--judge", f"m@{word}"],
        ["eval", "m", *ask, "--describe", word], ["eval", "m", *ask, "--key-variable", word],
        ["eval", "m", "--suite", "mine.yaml", "--out", word, "-q", "--server", servers.url],
        ["eval", "m", *ask[:-1], word], ["eval", "models/in", *ask[:-2], "--device", word],
        ["eval", "models/in", *ask[:-2], "--dtype", word], ["sweep", word, "--out", "new"],
        ["stats", "--in", word, "--rl", "models/rl", "--out", "new", "-q"],
        ["stats", "--in", "models/in", "--rl", "models/rl", "--out", word, "-q", "--spectrum",
         "none"], ["stats", "--in", "models/in", "--rl", "models/rl", "--out", "new", "-q",
         "--select", word, "--spectrum", "none"],
        ["stats", "--in", "models/in", "--rl", "models/rl", "--out", "new", "-q", "--pair", word],
        ["stats", "--in", "models/in", "--rl", "models/rl", "--out", "new", "-q", "--cuts", word],
        ["train", "sft", word, "--out", "new"], ["train", "sft", "sft.yaml", "--out", "new",
         "--freeze", word], ["train", "sft", "sft.yaml", "--out", "new", "--model", word],
        ["probe", "ablation", "models/in", "--suite", "mine.yaml", "--out", "new", "--layers",
         word], ["probe", "vision-swap", "models/in", "--pairs", word, "--out", "new"],
        ["publish", word, "a/b", "--dry-run"], ["publish", "out", word, "--dry-run"],
        ["plan", "recipe.yaml", "--out-svg", word],
    ])]  # fmt: skip


def answers(rng: Random, room: Path, servers: Servers) -> Commands:
    """Answers of a chat server; the run must continue after a valid answer."""
    ask = ["eval", "m", "--suite", "mine.yaml", "--out", "new", "-q", "--server", servers.url]
    servers.rng = rng
    extra = rng.choice(
        ([], [], ["--judge", f"m@{servers.url}"], ["--describe", f"m@{servers.url}"])
    )
    return [[*ask, *extra], ask, ["compare", "new"]]


def hub(rng: Random, room: Path, servers: Servers) -> Commands:
    """Return listings, references and files of a hub."""
    shutil.rmtree(room.parent / "hub", ignore_errors=True)
    servers.rng, servers.share = rng, rng.choice((0.1, 0.4))
    way = rng.choice(("auto", "ranges", "cache"))
    return [["inspect", REPO], ["plan", "recipe.yaml", "--model", f"rl={REPO}", "--remote", way],
            ["merge", "recipe.yaml", "new", "-q", "--model", f"rl={REPO}", "--remote", way],
            ["verify", f"hf://{REPO}"], ["plan", f"hf://{REPO}"],
            ["publish", "out", "org/other", "--dry-run"]]  # fmt: skip


KINDS: dict[str, Kind] = {
    "config": config, "header": header, "index": index, "recipe": recipe, "mergekit": mergekit,
    "suite": suite, "image": image, "run": run, "descriptions": descriptions, "adapter": adapter,
    "ledger": ledger, "arguments": arguments, "answers": answers, "hub": hub,
    "companion": companion, "template": template,
    "sweep": sweep, "training": training, "pairs": pairs, "others": other_kinds,
}  # fmt: skip
LIGHT = tuple(name for name in list(KINDS)[:14])
"""Kinds whose commands load no model, so that hundreds of cases take seconds."""
