"""The card as its readers meet it: rendered, validated by the Hub, with nothing else at hand."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from matplotlib.text import Text

from surgery.hub.account import Target, check_card
from surgery.hub.card import card
from surgery.hub.package import Package, pack
from surgery.hub.sweep import IndexItem, index_card, slug
from surgery.report.layers import layers_figure
from tests.hub.cards import check, front_matter
from tests.hub.merges import (
    MIDDLE,
    PICTURE,
    REPO,
    merged,
    packed,
    parents,
    scored,
    stage,
    subject,
)

if TYPE_CHECKING:
    from pathlib import Path

    from markdown_it.token import Token

    from surgery.hub.card import ProvenMerge
    from tests.hub import Hub

SECTIONS = (
    "How to load it",
    "How to make it again",
    "Parents",
    "What it is not good for",
    "Recipe",
)
NOWHERE = Target(REPO, None, False, False, True, None, frozenset(), frozenset())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ProvenMerge:
    """RL's middle in IN, from the shipped checkpoints."""
    return subject(merged(tmp_path_factory.mktemp("card") / "middle"))


def body(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)


def rendered(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": False}).enable("table").parse(body(text))


def headings(text: str) -> list[str]:
    tokens = rendered(text)
    return [
        tokens[place + 1].content
        for place, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, as they come out."""
    results: list[list[list[str]]] = []
    tokens = rendered(text)
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            results.append([])
        elif token.type == "tr_open":
            results[-1].append([])
        elif token.type in ("th_open", "td_open"):
            children = tokens[place + 1].children or []
            results[-1][-1].append("".join(child.content for child in children))
    return results


def places(text: str) -> list[str]:
    """Return the targets of links and images."""
    inline = [child for token in rendered(text) for child in token.children or ()]
    results = [child.attrGet("href") or child.attrGet("src") for child in inline]
    return [str(item) for item in results if item]


def code(text: str) -> dict[str, str]:
    return {token.info: token.content for token in rendered(text) if token.type == "fence"}


def described(proven_merge: ProvenMerge, text: str) -> ProvenMerge:
    return replace(
        proven_merge,
        plan=replace(proven_merge.plan, recipe=replace(proven_merge.plan.recipe, description=text)),
    )


def test_the_hub_takes_it_and_reads_what_was_meant(hub: Hub, tmp_path: Path) -> None:
    models = parents(hub, tmp_path)
    output = packed(merged(tmp_path / "out", **models))
    check_card(output.card, NOWHERE)
    assert check(output.card) == ([], [])
    data = ModelCard(output.card).data
    assert data.base_model == ["org/in", "org/rl"]
    metadata = front_matter(output.card)
    assert metadata["base_model_relation"] == "merge"
    assert metadata["base_model_revisions"] == {
        name: hub.store.find(name).head("main").id for name in ("org/in", "org/rl")
    }
    assert (data.library_name, data.pipeline_tag) == ("transformers", "image-text-to-text")
    assert (data.license, data.language) == ("apache-2.0", ["en"])
    assert data.tags == ["merge", "vlm-surgery"]
    assert hub.unknown == []


def test_its_sections_and_its_code(plain: ProvenMerge) -> None:
    text = card(plain)
    assert headings(text) == ["mixed", *SECTIONS]
    blocks = code(text)
    assert blocks.keys() == {"python", "sh", "yaml"}
    compile(blocks["python"], "card", "exec")
    assert f'from_pretrained("{REPO}"' in blocks["python"]
    assert blocks["sh"].splitlines() == [f"surgery merge hf://{REPO} mixed"]
    assert "transplant: 'language[mid]'" in blocks["yaml"]


def test_scores_stand_beside_the_parents(plain: ProvenMerge) -> None:
    text = card(replace(plain, evaluation=scored()))
    assert headings(text) == ["mixed", "Scores", *SECTIONS]
    by_key, against, models = tables(text)
    assert by_key == [
        ["suite", "task", "metric", "this merge", "in"],
        ["gsm8k", "gsm8k", "accuracy", "50.0 (40.0 to 60.0, n=1,234)",
         "50.0 (40.0 to 60.0, n=1,234, 7 missing, 9 guessed)"],
        ["gsm8k", "empty", "accuracy", "-", "-"],
    ]  # fmt: skip
    assert against[1:] == [
        ["gsm8k", "gsm8k", "accuracy", "in", "+5.0", "-1.0 to +11.0", "< 0.001", "0.001", "1,200"],
        ["gsm8k", "empty", "accuracy", "in", "-", "-", "-", "-", "0"],
    ]
    assert models[0][0] == "name"
    assert "nan" not in text.lower()
    assert "scored on `gsm8k` and on nothing else" in text


def test_every_row_has_the_columns_of_its_table(plain: ProvenMerge) -> None:
    text = card(replace(plain, evaluation=scored()))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    result = tables(text)
    assert sum(len(table) + 1 for table in result) == len(lines)  # no line fell out of its table
    for table in result:
        assert {len(row) for row in table} == {len(table[0])}


@pytest.mark.parametrize(
    "name", ["a|b", "a *b* c", "<script>x</script>", "[in](javascript:x)", "`tick`", "a\\|b", "_x_"]
)
def test_odd_names_of_models_do_not_break_it(plain: ProvenMerge, name: str) -> None:
    output = scored()
    turned = {"in": name}
    odd = scored(
        scores=[
            replace(row, variant=turned.get(row.variant, row.variant), suite=name, task=name)
            for row in output.scores
        ],
        differences=[replace(row, against=name) for row in output.differences],
    )
    text = card(replace(plain, evaluation=odd))
    by_key, against, _ = tables(text)
    assert by_key[0] == ["suite", "task", "metric", "this merge", name]
    assert [row[:2] for row in by_key[1:]] == [[name, name]]
    assert [row[3] for row in against[1:]] == [name, name]
    assert "javascript:x" not in places(text)


@pytest.mark.parametrize("name", ["my|model", "my`model", "two  words", "ünïcode", "a[b](c)"])
def test_odd_names_of_folders_do_not_break_it(tmp_path: Path, name: str) -> None:
    folder = stage("in", tmp_path / name)
    text = packed(merged(tmp_path / "out", **{"in": folder})).card
    (models,) = tables(text)
    assert len(models[0]) == len(models[1]) == 6
    assert models[1][1] == name.replace("  ", " ") or models[1][1] == name
    assert check(text)[0] == []


def test_links_and_picture_lead_somewhere(hub: Hub, tmp_path: Path) -> None:
    output = packed(merged(tmp_path / "out", **parents(hub, tmp_path)))
    for place in places(output.card):
        assert place.startswith("https://") or place in output.bundle.files, place
    assert "layers.png" in places(output.card)
    assert {"https://huggingface.co/org/in", "https://huggingface.co/org/rl"} < {
        *places(output.card)
    }


@pytest.mark.parametrize(
    "text",
    [
        "One line.\n\nAnother paragraph.",
        "---\nlicense: mit\ntags: [mine]\n---\nAfter it.",
        "Over.\n---\nUnder.",
        "...\n---",
        "# Heading\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n",
        "license: other",
        "Ends in a fence:\n```yaml\n---\na: 1",
    ],
)
def test_a_description_is_prose_and_nothing_else(plain: ProvenMerge, text: str, hub: Hub) -> None:
    output = card(described(plain, text))
    check_card(output, NOWHERE)
    assert front_matter(output) == front_matter(card(plain))
    assert headings(output)[-len(SECTIONS) :] == list(SECTIONS)
    assert ModelCard(output).data.license == "apache-2.0"


def test_a_description_with_a_fence_keeps_the_recipe_whole(tmp_path: Path) -> None:
    text = MIDDLE.replace("description:", 'description: "```\\n---\\nx: 1\\n```" #')
    output = packed(merged(tmp_path / "out", text))
    assert code(output.card)["yaml"].rstrip("\n") in output.bundle.files["recipe.yaml"].decode()
    assert headings(output.card)[-1] == "Recipe"


def every_byte(package: Package) -> bytes:
    return b"\n".join(
        name.encode() + (data if isinstance(data, bytes) else data.read_bytes())
        for name, data in package.bundle.files.items()
    )


def test_no_folder_of_this_machine_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "SECRETDIR"
    secret.mkdir()
    out = merged(secret / "out", **{name: stage(name, secret / name) for name in ("in", "rl")})
    output = packed(out)
    assert b"SECRETDIR" in (out / "surgery.json").read_bytes()
    for line in (every_byte(output), output.card.encode()):
        assert b"SECRETDIR" not in line
        assert str(tmp_path).encode() not in line
    assert "`in`" in output.card
    assert code(output.card)["sh"].endswith("--model in=FOLDER --model rl=FOLDER\n")
    assert "`in` and `rl` are not on the Hub" in output.card
    sampled = [text.get_text() for text in layers_figure(subject(out).plan).findobj(Text)]
    assert "in (base)" in sampled
    assert not any("SECRETDIR" in text for text in sampled)


def test_neither_is_one_that_is_bound_or_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "SECRETDIR" / "here"
    deep.mkdir(parents=True)
    stage("in", deep / "in")
    stage("rl", deep.parent / "rl")
    monkeypatch.chdir(deep)
    out = merged(tmp_path / "out", **{"in": "in", "rl": "../rl"})
    assert b"SECRETDIR" not in every_byte(packed(out))
    monkeypatch.chdir(tmp_path)
    moved = packed(out, models={"in": "SECRETDIR/here/in", "rl": str(deep.parent / "rl")})
    assert b"SECRETDIR" not in every_byte(moved)


def test_mergekit_is_a_tag_only_where_it_ran(tmp_path: Path) -> None:
    methods = """\
models: {base: 'specimen:base', in: 'specimen:in', rl: 'specimen:rl'}
base: in
steps: [{merge: 'language[mid]', method: ties, base: base,
         models: {in: {weight: 0.5, density: 0.5}, rl: {weight: 0.5, density: 0.5}}}]
"""
    ties = front_matter(packed(merged(tmp_path / "ties", methods)).card)["tags"]
    local = front_matter(packed(merged(tmp_path / "own")).card)["tags"]
    half = MIDDLE.replace("{transplant: 'language[mid]'", "{interpolate: 'language[mid]', t: 0.5")
    linear = front_matter(packed(merged(tmp_path / "linear", half)).card)["tags"]
    assert ("mergekit" in ties, "mergekit" in local, "mergekit" in linear) == (True, False, False)


def test_one_repository_at_two_commits_keeps_both(hub: Hub, tmp_path: Path) -> None:
    first = hub.add("org/both", stage("in", tmp_path / "one"))
    second = hub.add("org/both", stage("rl", tmp_path / "two"))
    out = merged(tmp_path / "out", **{"in": f"org/both@{first}", "rl": f"org/both@{second}"})
    output = packed(out)
    metadata = front_matter(output.card)
    assert metadata["base_model"] == ["org/both"]
    assert first in str(metadata["base_model_revisions"])
    assert second in str(metadata["base_model_revisions"])
    (models,) = tables(output.card)
    assert [row[2] for row in models[1:]] == [first, second]


def test_a_model_that_gave_nothing_is_no_parent(hub: Hub, tmp_path: Path) -> None:
    models = parents(hub, tmp_path)
    nothing = MIDDLE.replace("steps: [{transplant: 'language[mid]', from: rl}]", "steps: []")
    output = packed(merged(tmp_path / "out", nothing, **models))
    assert [row[0] for row in tables(output.card)[0][1:]] == ["in"]
    assert front_matter(output.card)["base_model"] == ["org/in"]


def test_a_branch_is_named_wherever_it_is_needed(plain: ProvenMerge) -> None:
    text = card(replace(plain, revision="half"))
    blocks = code(text)
    assert blocks["python"].count('revision="half"') == 2
    assert blocks["sh"] == f"surgery merge hf://{REPO}@half mixed\n"
    assert f"surgery verify hf://{REPO}@half" in text


def test_doubts_and_unused_tensors_are_told(plain: ProvenMerge) -> None:
    text = card(
        replace(
            plain,
            licence=replace(
                plain.licence, issues=("in is under a licence: confirm with --license mit.",)
            ),
            loaded=replace(plain.loaded, unused=("a.weight", "b.weight")),
        )
    )
    assert "settled the licence as apache-2.0, knowing this: in is under a licence.\n" in text
    assert "--license" not in text
    assert "2 of its tensors are not used by" in text


def test_it_is_the_same_every_time(plain: ProvenMerge, tmp_path: Path) -> None:
    again = subject(merged(tmp_path / "middle"))
    assert card(again) == card(plain)


def test_a_model_of_text_is_told_as_one(plain: ProvenMerge) -> None:
    text = card(
        replace(
            plain,
            loaded=replace(plain.loaded, vision=False, auto="AutoModelForCausalLM"),
        )
    )
    assert "AutoTokenizer" in text
    assert "AutoProcessor" not in text


# Of a sweep.


def test_the_index_of_a_sweep_renders_whatever_the_names(hub: Hub) -> None:
    (score, *_), (separate, *_) = scored().scores, scored().differences
    names = ["a|b", "`c`"]
    rows = [replace(score, variant=name, suite="s|t") for name in names]
    pairs = [replace(separate, variant=names[1])]
    items = [
        IndexItem(name, f"me/{slug(name)}", "language layers 3-5: copy from a|b") for name in names
    ]
    text = index_card("a | b", "What *for*.", items, rows, pairs, licence="apache-2.0")
    assert check(text, "dataset") == ([], [])
    models, scores, differences = tables(text)
    assert [row[0] for row in models[1:]] == names
    assert [row[2] for row in models[1:]] == ["language layers 3-5: copy from a|b"] * 2
    assert [row[0] for row in scores[1:]] == names
    assert scores[0] == ["variant", "s|t accuracy"]
    assert [row[0] for row in differences[1:]] == [names[1]]
    for table in (models, scores, differences):
        assert {len(row) for row in table} == {len(table[0])}
    check_card(text, replace(NOWHERE, kind="dataset"))


def test_a_repository_may_be_called_what_a_slug_is() -> None:
    from huggingface_hub.utils import validate_repo_id

    for text in ("a b", "in->rl@language.3", "--x--", "a..b", "x" * 200, "Ünï", "a/b", "x-.git"):
        validate_repo_id(f"me/{slug(text)}")


def test_pack_lists_what_it_makes(plain: ProvenMerge, tmp_path: Path) -> None:
    output = pack(merged(tmp_path / "out"), plain, PICTURE)
    assert output.bundle.files["README.md"] == output.card.encode()


def test_the_way_to_ask_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the card's code for a question about an image, as a user would type it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from surgery.hub.card import ASK
    from tests.eval.samples import picture
    from tests.processors import save_whole

    save_whole("llava", tmp_path / "model")
    (tmp_path / "photo.jpg").write_bytes(picture("red").data)
    monkeypatch.chdir(tmp_path)
    names = {
        "processor": AutoProcessor.from_pretrained("model"),
        "model": AutoModelForImageTextToText.from_pretrained("model", dtype="auto"),
    }
    exec(ASK.replace("max_new_tokens=256", "max_new_tokens=4"), names)
    assert names["answer"].shape[0] <= 4
