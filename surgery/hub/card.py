"""The card of a published merge: everything a reader of its page needs."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field, replace
from math import isnan
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from surgery.card import custom_code, describe_origin, document, metadata, sources
from surgery.checkpoint.source import AdapterReference
from surgery.execute.files import PICTURE
from surgery.hub.parents import public_reference
from surgery.markdown import code, fenced, plain, prose, row
from surgery.recipe.dump import to_yaml
from surgery.recipe.models import pinned
from surgery.text import all_names, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.checkpoint.ledger import Ledger
    from surgery.hub.check import LoadReport
    from surgery.hub.licence import MergeLicence
    from surgery.hub.parents import Parent
    from surgery.plan.model import Plan
    from surgery.recipe.recipe import Recipe, Reference

METRICS = (
    "`M_vis`: right with the image and wrong with a black one. `M_v2r`: right with the image, and "
    "right with a black one and a description. `M_rea`: right in text. All three are those of "
    "[arXiv 2602.12395](https://arxiv.org/abs/2602.12395)."
)
ASK = """\
messages = [{"role": "user", "content": [
    {"type": "image", "url": "photo.jpg"},
    {"type": "text", "text": "What is in the picture?"},
]}]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
).to(model.device, model.dtype)
answer = model.generate(**inputs, max_new_tokens=256)[0, inputs["input_ids"].shape[1]:]
print(processor.decode(answer, skip_special_tokens=True))"""
PAPER = "https://arxiv.org/abs/2602.12395"


@dataclass(frozen=True)
class Evaluation:
    """The scores of a merge and its parents in an evaluation run.

    Attributes:
        variant: What the run calls the merge.
        scores: Of the merge and of its parents, one metric each: `variant`, `suite`, `task`,
            `measure`, `value`, `low`, `high` (shares, 95%), `n`, `missing`, `guessed`.
        differences: The merge against each parent on the samples that both answered: `against`,
            `suite`, `task`, `measure`, `difference`, `low`, `high`, `p`, `p_holm`, `n`.
        settings: How answers were asked for and read, as a sentence.
        results: Entries for `.eval_results/`, by file name.
        index: The model-index that older readers know.
    """

    variant: str
    scores: Sequence[Any]
    differences: Sequence[Any]
    settings: str
    results: Mapping[str, Any] = field(default_factory=dict)
    index: Sequence[Any] = ()


@dataclass(frozen=True)
class ProvenMerge:
    """The contents of a card.

    Attributes:
        repo: `namespace/name`.
        plan: What was merged; without paths of this machine, as `published_plan` makes it.
        ledger: What the merge wrote down.
        loaded: How it loads.
        parents: The models it descends from.
        licence: What it carries.
        evaluation: Its scores, if it was scored.
        revision: The branch it goes to, if not the default one.
    """

    repo: str
    plan: Plan
    ledger: Ledger
    loaded: LoadReport
    parents: Sequence[Parent]
    licence: MergeLicence
    evaluation: Evaluation | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """The repository's name without its namespace."""
        return self.repo.rpartition("/")[2]


def published_plan(plan: Plan) -> Plan:
    """Return a plan without local paths: a folder appears by its name only."""
    public = {
        name: _public(reference, plan.models[name].revision)
        for name, reference in plan.recipe.models.items()
    }
    infos = {name: replace(info, reference=str(public[name])) for name, info in plan.models.items()}
    return replace(plan, recipe=replace(plan.recipe, models=public), models=infos)


def published_recipe(plan: Plan) -> Recipe:
    """Return a plan's recipe with each repository at the commit that was read.

    Models that are in folders have no reference: a folder of that name elsewhere is another model.
    """
    recipe = _pinned(plan)
    return replace(
        recipe,
        models={
            name: reference if all(map(_is_anywhere, sources(reference))) else None
            for name, reference in recipe.models.items()
        },
    )


def _pinned(plan: Plan) -> Recipe:
    return pinned(plan.recipe, {name: info.revision for name, info in plan.models.items()})


def _is_anywhere(reference: str) -> bool:
    """Check whether a pinned reference means the same on any machine."""
    return reference.startswith(("hf://", "specimen:"))


def _public(reference: Reference | None, revision: str | None) -> Reference | None:
    if isinstance(reference, AdapterReference):
        base, _, adapter = (revision or "").partition(" + ")
        return AdapterReference(
            public_reference(reference.base, base), public_reference(reference.adapter, adapter)
        )
    return None if reference is None else public_reference(reference, revision)


def card(subject: ProvenMerge) -> str:
    """Markdown with the metadata block that the Hub reads.

    Args:
        subject: What it is about.
    """
    plan = subject.plan
    parts = [
        f"# {plain(subject.name)}",
        prose(plan.recipe.description),
        describe_origin(plan, _base(subject)),
        f"![Which layers come from which model]({PICTURE})",
        *_scores(subject.evaluation),
        *_use(subject),
        *_again(subject),
        *_parents(subject),
        *_limits(subject),
        "## Recipe",
        fenced(to_yaml(published_recipe(plan)), "yaml"),
        f"`surgery.json` names the source and the sha256 of every tensor, and how each was made. "
        f"Moving layers between checkpoints of one model follows [arXiv 2602.12395]({PAPER}).",
    ]
    return document(_metadata(subject), parts)


def _base(subject: ProvenMerge) -> str:
    """Return the base by its name in the recipe, and its location."""
    name = subject.plan.recipe.base
    parent = next((item for item in subject.parents if item.name == name), None)
    return f"{code(name)} ({_link(parent)})" if parent is not None else code(name)


def _link(parent: Parent) -> str:
    if parent.repo is None:
        return code(parent.reference)
    return f"[{plain(parent.repo)}](https://huggingface.co/{quote(parent.repo)})"


def _metadata(subject: ProvenMerge) -> dict[str, Any]:
    """Return what the Hub reads, in the order people write it."""
    parents = [(item.repo, item.commit) for item in subject.parents if item.repo is not None]
    fields = metadata(subject.plan, parents)
    licence = subject.licence
    if subject.ledger.engine == "mergekit" or "mergekit" in subject.ledger.versions:
        fields["tags"].append("mergekit")
    languages = dict.fromkeys(code for parent in subject.parents for code in parent.languages)
    return {
        "license": licence.license,
        "license_name": licence.name,
        "license_link": licence.link,
        "language": list(languages),
        **fields,
        "model-index": list(subject.evaluation.index) if subject.evaluation else [],
    }


def _scores(evaluation: Evaluation | None) -> list[str]:
    """Yield scores, the parents' scores, and differences, each with its interval and n."""
    if evaluation is None:
        return []
    models = list(dict.fromkeys(row.variant for row in evaluation.scores))
    table: dict[tuple[str, str, str], dict[str, Any]] = {}
    for score in evaluation.scores:
        table.setdefault((score.suite, score.task, score.measure), {})[score.variant] = score
    columns = ["this merge" if model == evaluation.variant else plain(model) for model in models]
    lines = [row("suite", "task", "metric", *columns), row(*["---"] * 3, *["---:"] * len(models))]
    for key, by_model in table.items():
        lines.append(row(*map(plain, key), *(_score_text(by_model.get(model)) for model in models)))
    parts = [
        "## Scores",
        METRICS,
        "In percent, with the 95% interval, the number of samples, and of answers that were "
        "guessed because the response marks none.",
        "\n".join(lines),
    ]
    if evaluation.differences:
        lines = [
            row("suite", "task", "metric", "against", "difference", "95%", "p", "p (Holm)", "n"),
            row(*["---"] * 4, *["---:"] * 5),
        ]
        lines += [_difference(difference) for difference in evaluation.differences]
        text = (
            "This merge less each other model, in percentage points, on samples that both answered:"
        )
        parts += [text, "\n".join(lines)]
    return [*parts, evaluation.settings]


def _score_text(score: Any) -> str:
    if score is None or isnan(score.value):
        return "-"
    value, low, high = (f"{100 * v:.1f}" for v in (score.value, score.low, score.high))
    lost = f", {score.missing:,} missing" if score.missing else ""
    guessed = f", {score.guessed:,} guessed" if score.guessed else ""
    return f"{value} ({low} to {high}, n={score.n:,}{lost}{guessed})"


def _difference(row_values: Any) -> str:
    cells = map(plain, (row_values.suite, row_values.task, row_values.measure, row_values.against))
    if isnan(row_values.difference):
        return row(*cells, "-", "-", "-", "-", f"{row_values.n:,}")
    middle, low, high = (
        f"{100 * v:+.1f}" for v in (row_values.difference, row_values.low, row_values.high)
    )
    return row(
        *cells,
        middle,
        f"{low} to {high}",
        _p(row_values.p),
        _p(row_values.p_holm),
        f"{row_values.n:,}",
    )


def _p(p: float) -> str:
    if isnan(p):
        return "-"
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def _use(subject: ProvenMerge) -> list[str]:
    """Return the section on loading the model."""
    repo = json.dumps(subject.repo)
    revision = f", revision={json.dumps(subject.revision)}" if subject.revision else ""
    first = "AutoProcessor" if subject.loaded.vision else "AutoTokenizer"
    name = "processor" if subject.loaded.vision else "tokenizer"
    lines = (
        f"from transformers import {subject.loaded.auto}, {first}\n\n"
        f"{name} = {first}.from_pretrained({repo}{revision})\n"
        f'model = {subject.loaded.auto}.from_pretrained({repo}{revision}, dtype="auto")'
    )
    if subject.loaded.vision:
        lines += f"\n\n{ASK}"
    plan = subject.plan
    dtypes = " and ".join(dict.fromkeys(op.dtype.torch_name for op in plan.ops))
    text = (
        f"It is a `{subject.loaded.model}` with {sum(op.numel for op in plan.ops):,} "
        f"parameters in {dtypes}, {size_text(plan.nbytes)}; no code of its own is needed."
        + (" Processors of some families need torchvision." if subject.loaded.vision else "")
    )
    return ["## How to load it", fenced(lines, "python"), text, *custom_code(plan)]


def _again(subject: ProvenMerge) -> list[str]:
    """Return the command that repeats the merge."""
    revision = f"@{subject.revision}" if subject.revision else ""
    local = published_recipe(subject.plan).unbound
    bound = "".join(f" --model {name}={_place(subject.plan, name)}" for name in local)
    version = subject.ledger.versions.get("vlm-surgery", "")
    text = (
        f"Made with vlm-surgery {plain(version)}. This command makes the same weights, byte for "
        f"byte; "
        f"{code(f'surgery verify hf://{subject.repo}{revision}{bound}')} verifies those in this "
        "repository."
    )
    missing = (
        f"{all_names([*map(code, local)])} {'is' if len(local) == 1 else 'are'} not on the Hub: "
        "FOLDER stands for where you have it."
        if local
        else ""
    )
    command = f"surgery merge hf://{subject.repo}{revision} {subject.name}{bound}"
    return ["## How to make it again", fenced(command, "sh"), text, missing]


def _place(plan: Plan, name: str) -> str:
    """Return a reference for a shell, with FOLDER in place of a local folder."""
    parts = sources(_pinned(plan).models[name])
    text = " + ".join(part if _is_anywhere(part) else "FOLDER" for part in parts)
    return shlex.quote(text)


def _parents(subject: ProvenMerge) -> list[str]:
    """Every parent with commit, licence and fingerprint."""
    lines = [
        row("name", "checkpoint", "commit", "licence", "kind", "content"),
        row(*["---"] * 6),
    ]
    for parent in subject.parents:
        commit = code(parent.commit) if parent.commit else "not on the Hub"
        if parent.reference.startswith("specimen:"):
            commit = "ships with vlm-surgery"
        content = f"`{parent.content[:16]}`" if parent.content else "by commit"
        stated = plain(str(parent.licence)) if parent.licence else "none stated"
        mark = f"`{subject.plan.models[parent.name].fingerprint[:16]}`"
        lines.append(row(code(parent.name), _link(parent), commit, stated, mark, content))
    text = (
        "The last two columns are fingerprints: the kind of model (its configuration and the names "
        "and shapes of its tensors), and its very weights, where no commit stands for them."
    )
    return ["## Parents", "\n".join(lines), text]


def _limits(subject: ProvenMerge) -> list[str]:
    """Return the section on limitations and open questions."""
    limits = [
        "A merge is an instrument to find the layers behind an ability. It was not trained as a "
        "whole, and nothing was done for its safety: what its parents get wrong it may get wrong "
        "more often.",
        _evaluated(subject.evaluation),
        *(_settled(subject.licence, issue) for issue in subject.licence.issues),
        *map(plain, subject.plan.notes),
    ]
    if subject.loaded.unused:
        limits.append(
            f"{len(subject.loaded.unused)} of its tensors are not used by "
            f"`{subject.loaded.model}` (first: {code(subject.loaded.unused[0])})."
        )
    return ["## What it is not good for", "\n".join(f"- {limit}" for limit in limits if limit)]


def _settled(licence: MergeLicence, issue: str) -> str:
    """Return an issue of the license, without the advice to the publisher."""
    text = re.sub(r"[:,;.][^:;.]*--license.*$", "", issue, flags=re.DOTALL)
    stated = licence.name or licence.license
    return (
        f"Its publisher settled the licence as {plain(str(stated))}, knowing this: "
        f"{plain(text.rstrip('.'))}."
    )


def _evaluated(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "It was not evaluated: nothing is known of how well it answers."
    suites = all_names([*dict.fromkeys(code(row.suite) for row in evaluation.scores)])
    return f"It was scored on {suites} and on nothing else; the numbers say nothing of other tasks."
