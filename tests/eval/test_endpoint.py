"""An endpoint that fails in every way, and the messages."""

from __future__ import annotations

import base64

import pytest

from eval.endpoint import Endpoint
from eval.engines.server import ServerEngine
from eval.generation import Generation
from eval.prompts import STYLES, Message
from eval.questions import questions
from eval.records import Failure, Metric, Response
from surgery.errors import ExecutionError
from tests.eval.samples import picture, question, suite
from tests.eval.scripted import Script, last_text, said, serving
from tests.waiting import until

ASK = [Message("system", ("be brief",)), Message("user", (picture("red"), "what?"))]


def endpoint(script: Script, **more) -> Endpoint:
    return Endpoint(script.url, "m", **{"pause": 0.01, "timeout": 60.0, **more})


def test_what_is_sent_and_what_comes_back() -> None:
    with serving(Script(lambda *_: (200, {}, said("red", tokens=2)))) as script:
        result = endpoint(script).complete(ASK, max_tokens=9, temperature=0.0)
    assert result == Response("red", 2, truncated=False)
    ((body, headers),) = script.requests
    assert body["model"] == "m"
    assert (body["max_tokens"], body["temperature"]) == (9, 0.0)
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    image, text = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "what?"}
    sent = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert sent == picture("red").data
    assert headers["authorization"] == "Bearer none"


def test_other_formats_are_named_or_turned_into_png() -> None:
    with serving(Script(lambda *_: (200, {}, said("x")))) as script:
        for kind in ("JPEG", "WEBP"):
            endpoint(script).complete([Message("user", (picture("red", kind=kind), "?"))])
    urls = [body["messages"][0]["content"][0]["image_url"]["url"] for body, _ in script.requests]
    assert [url.partition(";")[0] for url in urls] == ["data:image/jpeg", "data:image/png"]


def test_a_cut_off_answer_is_truncated_and_thinking_is_kept() -> None:
    replies = [
        said("half", finish="length"), said("7", reasoning_content="3+4"),
        said(None, reasoning="3+"),
    ]  # fmt: skip
    with serving(Script(lambda number, _: (200, {}, replies[number]))) as script:
        results = [endpoint(script).complete(ASK) for _ in replies]
    assert results[0].truncated
    assert results[1].text == "<think>3+4</think>7"
    assert results[2].text == "<think>3+"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_what_passes_is_tried_again(status: int) -> None:
    def reply(number, _):
        return (200, {}, said("7")) if number == 2 else (status, {}, {"error": "later"})

    with serving(Script(reply)) as script:
        assert endpoint(script).complete(ASK) == Response("7", 3, truncated=False)
    assert len(script.requests) == 3


@pytest.mark.parametrize("broken", ["nonsense", "{}", '{"choices": []}'])
def test_answers_that_are_none_are_tried_again(broken: str) -> None:
    def reply(number, _):
        return (200, {}, said("7") if number else broken)

    with serving(Script(reply)) as script:
        assert endpoint(script).complete(ASK).text == "7"


def test_broken_connections_and_timeouts_become_failures() -> None:
    with serving(Script(lambda *_: (None, {}, ""))) as script:
        result = endpoint(script, attempts=2).complete(ASK)
    assert isinstance(result, Failure)
    assert len(script.requests) == 2
    with serving(Script(lambda *_: (200, {}, said("7")), delay=1.0)) as script:
        result = endpoint(script, attempts=2, timeout=0.2).complete(ASK)
    assert result == Failure("no answer within 0.2 s")


def test_it_waits_as_long_as_the_server_asks(monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("eval.endpoint.time.sleep", waits.append)
    with serving(Script(lambda *_: (429, {"retry-after": "7"}, "{}"))) as script:
        result = Endpoint(script.url, "m", attempts=4, pause=1).complete(ASK)
    assert waits == [7, 7, 7]
    assert "429 Too Many Requests" in result.reason
    waits.clear()
    with serving(Script(lambda *_: (503, {}, "{}"))) as script:
        Endpoint(script.url, "m", attempts=4, pause=1).complete(ASK)
    assert waits == [1, 2, 4]


def test_a_refused_question_is_missing_at_once() -> None:
    with serving(Script(lambda *_: (400, {}, {"error": "too many images"}))) as script:
        result = endpoint(script).complete(ASK)
    assert "400 Bad Request" in result.reason
    assert "too many images" in result.reason
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_the_run(status: int) -> None:
    script = Script(lambda *_: (status, {}, {"error": "no"}))
    text = f"model 'm': the server answered {status}"
    with serving(script), pytest.raises(ExecutionError, match=text):
        endpoint(script).complete(ASK)


def test_no_server_ends_the_run_one_that_dies_does_not() -> None:
    with serving(Script(lambda *_: (200, {}, said("7")))) as script:
        alive = endpoint(script, attempts=2)
        alive.complete(ASK)
    assert alive.complete(ASK) == Failure(f"no server answers at {script.url}")
    with pytest.raises(ExecutionError, match="Is the server running there"):
        endpoint(script, attempts=2).complete(ASK)


def test_what_is_no_address_is_refused_before_a_question() -> None:
    with pytest.raises(ExecutionError, match="'http://h:99999' is not a server address"):
        Endpoint("http://name:secret@h:99999", "m")


def test_no_key_is_sent_or_told_unasked(monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_hub")
    monkeypatch.setenv("MY_KEY", "sk-very-secret")

    def reply(_, body):
        return 500, {}, {"error": "your key sk-very-secret is no good", "echo": body}

    with serving(Script(reply)) as script:
        result = endpoint(script, attempts=1, key_variable="MY_KEY").complete(ASK)
        endpoint(script, attempts=1).complete(ASK)
    assert script.requests[0][1]["authorization"] == "Bearer sk-very-secret"
    assert script.requests[1][1]["authorization"] == "Bearer none"
    assert "sk-very-secret" not in result.reason
    assert "sk-very-secret" not in repr(endpoint(script, key_variable="MY_KEY"))
    with pytest.raises(ExecutionError, match="variable ABSENT should hold the API key"):
        endpoint(script, key_variable="ABSENT").complete(ASK)


def asked(count: int, generation: Generation | None = None):
    """Return questions, and the keys of their responses."""
    result = suite(Metric.REASONING, *(question(f"q{i}") for i in range(count)))
    item = list(questions([result], STYLES["plain"], generation or Generation()))
    return item, [entry.key("v", {}) for entry in item]


def test_many_are_under_way_at_once_and_never_more() -> None:
    def reply(_, body):
        until(lambda: script.most >= 5)
        return 200, {}, said(last_text(body))

    script = Script(reply, delay=0.01)
    with serving(script):
        result = {
            ask.sample.id: outcome.text
            for ask, outcome in ServerEngine(endpoint(script), 5).answer(*asked(23))
        }
    assert result == {f"q{i}": f"Question q{i}?" for i in range(23)}
    assert script.most == 5


def test_leaving_early_leaves_the_rest_unasked() -> None:
    script = Script(lambda *_: (200, {}, said("7")), delay=0.1)
    with serving(script):
        stream = ServerEngine(endpoint(script), 2).answer(*asked(50))
        next(stream)
        stream.close()
        assert len(script.requests) < 25


def test_sampled_repeats_have_seeds_of_their_own() -> None:
    script = Script(lambda *_: (200, {}, said("7")))
    with serving(script):
        list(ServerEngine(endpoint(script)).answer(*asked(2, Generation(temperature=1, repeats=3))))
        list(ServerEngine(endpoint(script)).answer(*asked(1)))
    seeds = [body.get("seed") for body, _ in script.requests]
    assert len(set(seeds[:6])) == 6
    assert seeds[6] is None
