"""Bad requests at every inference URL: each gets a 4xx in its dialect that names the member, and costs nothing.

What cannot be read at all (broken JSON, header bombs) is tried in test_bad_requests.py on two of them, since one reader
serves all that take JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.inference_urls import BOUNDARY, CALLING, NEW, WAV, InferenceUrl, form, models
from support.refusals import BAD_REQUEST, assert_refused, still_well_after


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`demo` is what still_well_after asks; the demo provider lacks images, files, audio and logprobs."""
    yaml_text = f"""
providers:
  demo: {{type: demo}}
models:
  demo: {{price: free, route: [{{backend: "demo:demo"}}]}}
{models('{input: "1", output: "1", image: "1", audio_minute: "1", characters: "1", search: "1"}', "demo:x")}
"""
    with running(yaml_text, tmp_path_factory.mktemp("bad-calls")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def still_well(gateway: Gateway) -> Iterator[None]:
    with still_well_after(gateway):
        yield


Bad = tuple[str, Any]
"""A member, and a value that it cannot have; `...` leaves it out."""


def bad(member: str, *values: Any) -> list[Bad]:
    return [(member, value) for value in values]


SAMPLING: list[Bad] = [("temperature", "hot"), ("temperature", 3), ("top_p", 2)]
GENERATE: list[Bad] = [
    *bad("prompt", ..., None, 5, [], {}),
    *bad("max_tokens", "10", 0, 1.5),
    *bad("stop", 5, [1]),
    *bad("stream", "yes", 1),
    *SAMPLING,
]
COMPLETIONS: list[Bad] = [
    *GENERATE,
    *bad("n", 0, "2", 1000),
    *bad("best_of", 3),
    *bad("echo", True),
    *bad("suffix", "end"),
    *bad("logprobs", 0, 5),
    *bad("presence_penalty", 5),
    *bad("stream_options", "x"),
]
RESPONSES: list[Bad] = [
    *bad("input", ..., None, 5, {}, [1], [{"type": "alien"}]),
    *(("input", [{"role": role, "content": content}]) for role, content in (("alien", "x"), ("user", 5))),
    *bad("max_output_tokens", "10", 0, 1.5),
    *bad("background", True),
    *bad("conversation", "conv_1"),
    *bad("prompt", {"id": "p"}),
    *bad("truncation", "auto"),
    *bad("text", 5, {"format": {"type": "alien"}}, {"alien": 1}),
    *bad("reasoning", 5, {"alien": 1}),
    *bad("tools", "x", [1], [{"type": "function"}]),
    *bad("top_logprobs", 50, 5),
    *bad("previous_response_id", 5, ""),
    *bad("include", ["alien"]),
    *bad("stream", "yes"),
    *bad("instructions", 5),
    *SAMPLING,
]
MESSAGES: list[Bad] = [
    *bad("messages", ..., None, "hi", {}, [], [1], [{"content": "no role"}]),
    *(("messages", [{"role": role, "content": content}]) for role, content in (("alien", "x"), ("user", 5))),
    *(("messages", [{"role": "user", "content": [block]}]) for block in ({"type": "alien"}, 1, {"type": "text"})),
    *bad("system", 5, [1]),
    *bad("tools", "x", [1], [{"name": 5}]),
    *bad("tool_choice", 5, {"type": "alien"}),
    *bad("thinking", 5, {"type": "alien"}),
]
CREATE: list[Bad] = [
    *MESSAGES,
    *bad("max_tokens", ..., None, "10", 0, -1, 1.5),
    *bad("stop_sequences", "x", [1]),
    *bad("stream", "yes"),
    *bad("top_k", "x"),
    *bad("temperature", "hot", 2),
]
EMBED: list[Bad] = [
    *bad("input", ..., None, 5, {}, [], [1, "x"], [None], [[]], [[-1]], [["x"]]),
    *bad("dimensions", 0, -1, "10", 1.5),
    *bad("encoding_format", "hex", 5),
    *bad("user", 5),
]
IMAGE: list[Bad] = [
    *bad("prompt", ..., None, 5, "", []),
    *bad("n", 0, 11, "2", 1.5),
    *bad("size", 5, []),
    *bad("quality", 5),
    *bad("response_format", "jpg", 5),
    *bad("output_format", "gif"),
    *bad("stream", True),
    *bad("num_images", 100),
]
SPEECH: list[Bad] = [
    *bad("input", ..., None, 5, "", []),
    *bad("voice", ..., None, 5, "", {}, {"id": 5}),
    *bad("response_format", "midi", 5),
    *bad("speed", "fast", 0, 100),
    *bad("instructions", 5),
    *bad("stream_format", "sse"),
]
RERANK: list[Bad] = [
    *bad("query", ..., None, 5, "", []),
    *bad("documents", ..., None, 5, "x", [], [1], [None], {}),
    *bad("top_n", 0, -1, "2", 1.5),
    *bad("return_documents", "yes"),
]
TRANSCRIBE: list[Bad] = [
    *bad("file", ..., "no file but text"),
    *bad("response_format", "midi"),
    *bad("temperature", "hot", "2", "nan"),
    *bad("timestamp_granularities", "alien", "word"),
    *bad("stream", "true"),
    *bad("language", ["en", "de"]),
    *bad("prompt", ["a", "b"]),
]
TRANSLATE: list[Bad] = [*TRANSCRIBE, ("language", "en")]
BAD: dict[str, list[Bad]] = {
    "generate": GENERATE,
    "embed": EMBED,
    "images": IMAGE,
    "transcribe": TRANSCRIBE,
    "synthesize": SPEECH,
    "rerank": RERANK,
    "oai-completions": COMPLETIONS,
    "oai-responses": RESPONSES,
    "oai-embeddings": EMBED,
    "oai-images": IMAGE,
    "oai-transcriptions": TRANSCRIBE,
    "oai-translations": TRANSLATE,
    "oai-speech": SPEECH,
    "oai-rerank": RERANK,
    "anthropic-messages": CREATE,
    "anthropic-count": MESSAGES,
}
BAD_MODELS: list[Any] = [..., None, 5, ""]
FORM_MODELS: list[Any] = [..., ""]
"""A form's fields are text."""


def refused(answer: Answer, url: InferenceUrl, member: str, words: str = "") -> None:
    assert_refused(answer, url.surface, BAD_REQUEST[url.surface], "VALIDATION_ERROR", words or member, member)
    assert len(answer.body) < 1500, "an error is no place to repeat the request"


def test_every_url_has_its_ten_bad_requests() -> None:
    assert set(BAD) == set(NEW)
    assert {name: len(cases) for name, cases in BAD.items() if len(cases) < 10} == {}


@pytest.mark.parametrize(("name", "place"), [(name, place) for name, bad in BAD.items() for place in range(len(bad))])
def test_a_member_that_is_missing_or_wrong(gateway: Gateway, name: str, place: int) -> None:
    url, (member, value) = NEW[name], BAD[name][place]
    refused(url.post(gateway, url.modality, {member: value}), url, member)


@pytest.mark.parametrize(
    ("name", "model"),
    [(name, model) for name, url in NEW.items() for model in (FORM_MODELS if url.upload else BAD_MODELS)],
    ids=repr,
)
def test_a_model_that_is_no_name(gateway: Gateway, name: str, model: Any) -> None:
    refused(NEW[name].post(gateway, "chat", {"model": model}), NEW[name], "model")


@pytest.mark.parametrize("name", NEW)
def test_a_model_that_does_not_exist(gateway: Gateway, name: str) -> None:
    answer = NEW[name].post(gateway, "nope")
    assert_refused(answer, NEW[name].surface, 404, "MODEL_NOT_FOUND", "the model 'nope' does not exist")


@pytest.mark.parametrize("name", NEW)
def test_a_model_of_another_modality(gateway: Gateway, name: str) -> None:
    url = NEW[name]
    other = "image" if url.modality != "image" else "chat"
    refused(url.post(gateway, other), url, "model", f"is of modality {other}")


@pytest.mark.parametrize("name", [name for name, url in NEW.items() if url.surface == "native" and not url.upload])
def test_native_members_that_nobody_knows_are_all_named(gateway: Gateway, name: str) -> None:
    answer = NEW[name].post(gateway, NEW[name].modality, {"alien": 1, "stranger": 2})
    refused(answer, NEW[name], "alien")
    assert {detail["field"] for detail in answer.json()["error"]["details"]} == {"alien", "stranger"}


BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "malformed": (b"{model: demo}", "not valid JSON"),
    "truncated": (b'{"model": "chat", "input": "h', "not valid JSON"),
    "list": (b"[]", "not an object"),
    "null": (b"null", "not an object"),
    "utf-16": (json.dumps({"model": "chat"}).encode("utf-16"), "not valid UTF-8"),
    "deep": (b'{"model": "chat", "input": ' + b"[" * 10_000, "nests deeper"),
    "surrogate": (b'{"model": "chat", "input": "\\ud800", "prompt": "\\ud800"}', ""),
}


@pytest.mark.parametrize("name", [name for name, url in NEW.items() if not url.upload])
@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_cannot_be_read(gateway: Gateway, name: str, body: str) -> None:
    data, words = BODIES[body]
    answer = gateway.post(NEW[name].path, data)
    assert_refused(answer, NEW[name].surface, BAD_REQUEST[NEW[name].surface], "VALIDATION_ERROR", words)


# -- forms ------------------------------------------------------------------------------------------------------------

FORM = f"multipart/form-data; boundary={BOUNDARY}"
GOOD_FORM = form({"model": "audio", "file": WAV})
SECOND_FILE = GOOD_FORM.replace(b'name="model"', b'name="file"; filename="second.wav"')
FORMS: dict[str, tuple[bytes, str, str]] = {  # name: body, content type, words of the answer
    "json": (b'{"model": "audio"}', "application/json", "multipart/form-data"),
    "no-boundary": (GOOD_FORM, "multipart/form-data", "boundary"),
    "another-boundary": (GOOD_FORM, "multipart/form-data; boundary=other", "form"),
    "empty": (b"", FORM, "file"),
    "cut-short": (GOOD_FORM[:-60], FORM, "cut short"),
    "no-parts": (f"--{BOUNDARY}--\r\n".encode(), FORM, "file"),
    "nameless-part": (GOOD_FORM.replace(b'; name="model"', b""), FORM, "no name"),
    "two-files": (SECOND_FILE, FORM, "file"),
    "many-fields": (form({"model": "audio", "x": ["y"] * 100, "file": WAV}), FORM, "64 fields"),
    "no-utf8": (form({"model": b"\xff\xfe", "file": WAV}), FORM, ""),
}


@pytest.mark.parametrize("name", [name for name, url in NEW.items() if url.upload])
@pytest.mark.parametrize("case", FORMS)
def test_a_form_that_cannot_be_read(gateway: Gateway, name: str, case: str) -> None:
    body, content_type, words = FORMS[case]
    url = NEW[name]
    answer = gateway.post(url.path, body, headers={"Content-Type": content_type})
    assert_refused(answer, url.surface, BAD_REQUEST[url.surface], "VALIDATION_ERROR", words)


@pytest.mark.parametrize("name", [name for name, url in NEW.items() if url.upload])
def test_fields_that_are_too_large(gateway: Gateway, name: str) -> None:
    answer = NEW[name].post(gateway, "audio", {"prompt": "x" * 300_000})
    assert_refused(answer, NEW[name].surface, 413, "PAYLOAD_TOO_LARGE", "fields")


@pytest.mark.parametrize("name", [name for name, url in NEW.items() if not url.upload])
def test_a_body_that_is_too_large(gateway: Gateway, name: str) -> None:
    answer = gateway.post(NEW[name].path, b" " * 21_000_000)
    assert_refused(answer, NEW[name].surface, 413, "PAYLOAD_TOO_LARGE", "body_limit")


# -- what a model lacks -----------------------------------------------------------------------------------------------

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
URL = f"data:image/png;base64,{PIXEL}"
SOURCE = {"type": "base64", "media_type": "image/png", "data": PIXEL}
PICTURE = {"type": "image", "source": SOURCE}
DOCUMENT = {"type": "document", "source": SOURCE | {"media_type": "application/pdf"}}
LACKING: dict[str, tuple[str, Mapping[str, Any], str]] = {  # what: URL, members, the member that is named
    "responses-image": (
        "oai-responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]},
        "input",
    ),
    "responses-logprobs": ("oai-responses", {"top_logprobs": 2}, "top_logprobs"),
    "messages-image": ("anthropic-messages", {"messages": [{"role": "user", "content": [PICTURE]}]}, "messages"),
    "messages-document": ("anthropic-messages", {"messages": [{"role": "user", "content": [DOCUMENT]}]}, "messages"),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_the_only_model_lacks_is_refused_before_the_call(gateway: Gateway, what: str) -> None:
    name, members, member = LACKING[what]
    refused(NEW[name].post(gateway, "chat", members), NEW[name], member)


# -- and nothing of it was booked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEW)
def test_the_good_request_that_the_bad_ones_differ_from_is_served(gateway: Gateway, name: str) -> None:
    url = NEW[name]
    answer = url.post(gateway, url.modality, request_id=f"good-{name}")
    assert answer.status == 200, answer.body
    if name in CALLING:
        assert gateway.usage_of(f"good-{name}")["status"] == "completed"
    else:
        assert gateway.usage(request_id=f"good-{name}") == []


def test_nothing_of_all_this_was_booked_but_the_good_calls(gateway: Gateway) -> None:
    """Runs last."""
    others = [row for row in gateway.usage() if row["model"] != "demo"]
    assert sorted(row["request_id"] for row in others) == sorted(f"good-{name}" for name in CALLING)
