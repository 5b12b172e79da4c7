"""The Hub's validation of a card's front matter: errors that refuse it, and warnings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from tests.hub.wire import Answer, Refusal, Request, reply

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from tests.hub.hub import Hub
    from tests.hub.store import Commit

# https://huggingface.co/docs/hub/repositories-licenses
_LICENSES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
    openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 grok2-community gemma unknown other
"""

LICENSES = frozenset(_LICENSES.split())

RELATIONS = ("adapter", "finetune", "merge", "quantized")

# https://huggingface.co/tasks
_TASKS = """
    any-to-any audio-classification audio-text-to-text audio-to-audio
    automatic-speech-recognition depth-estimation document-question-answering
    feature-extraction fill-mask graph-ml image-classification image-feature-extraction
    image-segmentation image-text-to-image image-text-to-text image-text-to-video image-to-3d
    image-to-image image-to-text image-to-video keypoint-detection mask-generation
    multiple-choice object-detection question-answering reinforcement-learning robotics
    sentence-similarity summarization table-question-answering tabular-classification
    tabular-regression tabular-to-text text-classification text-generation text-ranking
    text-retrieval text-to-3d text-to-audio text-to-image text-to-speech text-to-video
    time-series-forecasting token-classification translation unconditional-image-generation
    video-classification video-text-to-text video-to-video visual-document-retrieval
    visual-question-answering voice-activity-detection zero-shot-classification
    zero-shot-image-classification zero-shot-object-detection other
"""

TASKS = frozenset(_TASKS.split())

_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)

_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

EMPTY = "empty or missing yaml metadata in repo card"


class _Strict(yaml.SafeLoader):
    """Refuses a key that is there twice, as the Hub's parser does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "duplicated mapping key")
        return super().construct_mapping(node, deep)


def validate(hub: Hub, request: Request) -> Answer:
    """Check a card; like the Hub's own, this needs no token."""
    requests = request.json()
    if requests.get("repoType") not in ("model", "dataset"):
        raise Refusal(400, '"repoType" must be one of [model, dataset]')
    errors, warnings = check(str(requests.get("content", "")), requests["repoType"])
    messages = {
        "errors": [{"message": text} for text in errors],
        "warnings": [{"message": text} for text in warnings],
    }
    return reply(messages, 400 if errors else 200)


def check(content: str, kind: str = "model") -> tuple[list[str], list[str]]:
    """Errors and warnings about a card."""
    try:
        card = front_matter(content)
    except yaml.YAMLError as error:
        return [f"bad yaml: {error}"], []
    if card is None:
        return [], [EMPTY]
    if not isinstance(card, dict):
        return ["the metadata must be an object"], []
    errors = [*_shared(card), *(_model(card) if kind == "model" else ())]
    task = card.get("pipeline_tag")
    odd = isinstance(task, str) and task not in TASKS
    return errors, [f'The pipeline tag "{task}" is not in the official list'] if odd else []


def card_data(commit: Commit) -> dict[str, Any]:
    """The front matter of a commit's README.md; empty where there is none to use."""
    blob = commit.files.get("README.md")
    try:
        card = front_matter(blob.data.decode()) if blob else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return card if isinstance(card, dict) else {}


def front_matter(content: str) -> Any:
    """The YAML at the top of a card, or None."""
    match = _FRONT.match(content)
    return None if match is None else yaml.load(match.group(1), _Strict)


def _shared(card: dict[Any, Any]) -> Iterator[str]:
    yield from _license(card)
    for key in ("tags", "datasets", "metrics"):
        value = card.get(key, [])
        if not isinstance(value, list):
            yield f'"{key}" must be an array'
        elif not all(isinstance(item, str) and item for item in value):
            yield f'"{key}" must hold only strings'
    for key in ("language", "license", "base_model"):
        if key in card and not _strings(card[key]):
            yield f'"{key}" must be a string or an array of strings'
    for key in ("library_name", "pipeline_tag", "license_link", "pretty_name"):
        if key in card and not isinstance(card[key], str):
            yield f'"{key}" must be a string'


def _license(card: dict[Any, Any]) -> Iterator[str]:
    value = card.get("license")
    names = value if isinstance(value, list) else [value]
    for name in names:
        if isinstance(name, str) and name not in LICENSES:
            yield f'"license" must be one of [{", ".join(sorted(LICENSES))}], found {name}'
    name = card.get("license_name")
    if "other" in names and name is None:
        yield '"license_name" is required with "license: other"'
    if name is not None and not re.fullmatch(r"[a-z0-9-.]+", str(name)):
        yield '"license_name" must match ^[a-z0-9-.]+$'


def _model(card: dict[Any, Any]) -> Iterator[str]:
    base = card.get("base_model", [])
    for name in base if isinstance(base, list) else [base]:
        if isinstance(name, str) and not _MODEL.fullmatch(name):
            yield f'"base_model" with value "{name}" is not valid. Use a model id'
    relation = card.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f'"base_model_relation" must be one of [{", ".join(RELATIONS)}]'
    if "base_model_relation" in card and not base:
        yield '"base_model_relation" needs "base_model"'
    if "model-index" in card:
        yield from _index(card["model-index"])


def _index(index: Any) -> Iterator[str]:
    if not isinstance(index, list) or not index:
        yield '"model-index" must be an array with at least 1 item'
        return
    for number, model in enumerate(index):
        location = f"model-index[{number}]"
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            yield f'"{location}.name" is required'
        elif not isinstance(model.get("results"), list):
            yield f'"{location}.results" must be an array'
        else:
            for row, result in enumerate(model["results"]):
                yield from _result(f"{location}.results[{row}]", result)


def _result(location: str, result: Any) -> Iterator[str]:
    expected = {"task": ("type",), "dataset": ("type", "name")}
    if not isinstance(result, dict):
        yield f'"{location}" must be an object'
        return
    for key, names in expected.items():
        for name in names:
            part = result.get(key)
            if not isinstance(part, dict) or not isinstance(part.get(name), str):
                yield f'"{location}.{key}.{name}" is required'
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f'"{location}.metrics" must be an array with at least 1 item'
        return
    for number, metric in enumerate(metrics):
        if not isinstance(metric, dict) or not isinstance(metric.get("type"), str):
            yield f'"{location}.metrics[{number}].type" is required'
        elif metric.get("value") is None:
            yield f'"{location}.metrics[{number}].value" is required'


def _strings(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(item, str) for item in values)
