"""The official OpenAI SDK with strict response validation: everything beside chat."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from support import conversation, modal_upstream
from support.appliance import Gateway, running
from support.modal_rules import people
from support.modal_upstream import AUDIO_PIECES, PICTURE, WORDS, by_model
from support.tenancy import key_of
from support.upstream import Upstream

YAML = """
providers:
  up: {{type: custom, base_url: "{url}/v1"}}
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: an-test-12345678}}
  google: {{type: google, base_url: "{url}", api_key: gg-test-12345678}}
models:
  vectors: &vectors {{modality: embedding, price: {{input: "2"}}, route: [{{backend: "openai:embeds"}}]}}
  vectors-plain: {{<<: *vectors, route: [{{backend: "up:embeds"}}]}}
  vectors-google: {{<<: *vectors, route: [{{backend: "google:gembeds"}}]}}
  pictures: {{modality: image, price: {{image: "0.04"}}, route: [{{backend: "up:paints"}}]}}
  gpt-image: {{modality: image, price: {{input: "5", output: "40"}}, route: [{{backend: "openai:gpt-image-1"}}]}}
  ears: {{modality: audio, price: {{audio_minute: "0.006"}}, route: [{{backend: "up:hears"}}]}}
  voice: {{modality: audio, price: {{characters: "15"}}, route: [{{backend: "up:speaks"}}]}}
  chat: &chat {{price: {{input: "1", output: "2"}}, max_output_tokens: 900, route: [{{backend: "openai:says"}}]}}
  chat-anthropic: {{<<: *chat, route: [{{backend: "anthropic:says"}}]}}
  chat-google: {{<<: *chat, route: [{{backend: "google:says"}}]}}
{people}
"""
PLAYS = {
    "embeds": modal_upstream.embeds,
    "gembeds": modal_upstream.embeds_as_google,
    "paints": modal_upstream.paints,
    "gpt-image-1": modal_upstream.paints_as_gpt_image,
    "hears": modal_upstream.hears,
    "speaks": modal_upstream.speaks,
    "says": conversation.play,
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yaml_text = YAML.format(url=upstream.url, people=people(broke={"cost_limit": "0.000001"}))
        with running(yaml_text, tmp_path_factory.mktemp("sdk-modalities")) as gateway:
            yield gateway


def client_of(gateway: Gateway, key: str = "", strict: bool = True) -> OpenAI:
    base_url, key = f"{gateway.url}/oai/v1", key or gateway.admin_key
    return OpenAI(base_url=base_url, api_key=key, max_retries=0, _strict_response_validation=strict)


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with client_of(gateway) as client:
        yield client


@pytest.fixture(scope="module")
def lenient(gateway: Gateway) -> Iterator[OpenAI]:
    """Where the SDK's own types are narrower than what OpenAI sends."""
    with client_of(gateway, strict=False) as client:
        yield client


@pytest.mark.parametrize("model", ["vectors", "vectors-plain", "vectors-google"])
def test_embeddings(client: OpenAI, lenient: OpenAI, model: str) -> None:
    """The SDK asks for base64 unless told otherwise, and decodes it behind its strict validation."""
    plain = client.embeddings.create(model=model, input=["a1", "b22"], encoding_format="float")
    packed = lenient.embeddings.create(model=model, input=["a1", "b22"])
    for made in (plain, packed):
        assert [entry.embedding for entry in made.data] == [[1.0, 0.5], [22.0, 0.5]]
        assert (made.model, made.usage.total_tokens > 0) == (model, True)


@pytest.mark.parametrize("model", ["pictures", "gpt-image"])
def test_pictures(client: OpenAI, model: str) -> None:
    made = client.images.generate(model=model, prompt="a cat", n=2, response_format="b64_json")
    assert made.data is not None
    assert [base64.b64decode(entry.b64_json or "") for entry in made.data] == [base64.b64decode(PICTURE)] * 2
    if model == "gpt-image":
        assert made.usage is not None
        assert (made.usage.input_tokens, made.usage.output_tokens) == (50, 2112)


def test_pictures_by_address(client: OpenAI) -> None:
    made = client.images.generate(model="pictures", prompt="a cat", response_format="url")
    assert made.data is not None
    assert made.data[0].url == "https://pictures.test/1.png"


@pytest.mark.parametrize("response_format", ["json", "verbose_json", "text", "srt", "vtt"])
def test_transcriptions(client: OpenAI, tmp_path: Path, response_format: Any) -> None:
    file = tmp_path / "speech.mp3"
    file.write_bytes(b"\xff\xfb\x90\x00" + bytes(50_000))
    made: Any = client.audio.transcriptions.create(model="ears", file=file, response_format=response_format)
    assert "hello there" in (made if isinstance(made, str) else made.text)


def test_transcriptions_with_words(client: OpenAI) -> None:
    made = client.audio.transcriptions.create(
        model="ears",
        file=("speech.wav", bytes(1000), "audio/wav"),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert made.words is not None
    assert made.segments is not None
    assert [word.word for word in made.words] == [word["word"] for word in WORDS]
    assert made.duration == 90


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own, about a signature of its own
def test_translations(client: OpenAI) -> None:
    made = client.audio.translations.create(model="ears", file=("speech.wav", bytes(1000)))
    assert made.text == "hello there"


def test_speech(client: OpenAI, tmp_path: Path) -> None:
    with client.audio.speech.with_streaming_response.create(model="voice", voice="alloy", input="hi") as answer:
        answer.stream_to_file(tmp_path / "speech.mp3")
    assert (tmp_path / "speech.mp3").read_bytes() == b"".join(AUDIO_PIECES)
    assert client.audio.speech.create(model="voice", voice="alloy", input="hi").content == b"".join(AUDIO_PIECES)


@pytest.mark.parametrize("model", ["chat", "chat-anthropic", "chat-google"])
def test_older_completions(client: OpenAI, lenient: OpenAI, model: str) -> None:
    made = client.completions.create(model=model, prompt="Once", max_tokens=50)
    assert made.choices[0].text.endswith("heard 1")
    stream = lenient.completions.create(model=model, prompt="Once", max_tokens=50, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices).endswith("heard 1")


@pytest.mark.parametrize("model", ["chat", "chat-anthropic", "chat-google"])
def test_stored_responses(client: OpenAI, model: str) -> None:
    first = client.responses.create(model=model, input="one")
    second = client.responses.create(model="chat", input="two", previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("openai heard 3", first.id)
    assert client.responses.retrieve(first.id).output_text == first.output_text
    (item,) = client.responses.input_items.list(first.id)
    assert item.type == "message"
    assert item.role == "user"
    assert [part.text for part in item.content if part.type == "input_text"] == ["one"]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="chat", input="three", previous_response_id=first.id)


@pytest.mark.parametrize("model", ["chat", "chat-anthropic", "chat-google"])
def test_a_streamed_response_is_stored(client: OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input="one") as stream:
        final = stream.get_final_response()
    assert client.responses.retrieve(final.id).output_text == final.output_text == f"{final.output_text[:-2]} 1"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.embeddings.create(model="chat", input="a"),
        lambda client: client.images.generate(model="voice", prompt="a"),
        lambda client: client.audio.transcriptions.create(model="pictures", file=("a.wav", b"abc")),
        lambda client: client.audio.speech.create(model="vectors", voice="alloy", input="a"),
        lambda client: client.chat.completions.create(model="voice", messages=[{"role": "user", "content": "a"}]),
    ],
)
def test_a_wrong_modality_is_a_bad_request(client: OpenAI, ask: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client)
    assert caught.value.param == "model"
    assert "modality" in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.embeddings.create(model="vectors", input="a"),
        lambda client: client.images.generate(model="pictures", prompt="a"),
        lambda client: client.audio.transcriptions.create(model="ears", file=("a.wav", bytes(5000))),
        lambda client: client.audio.speech.create(model="voice", voice="alloy", input="a"),
        lambda client: client.responses.create(model="chat", input="a"),
        lambda client: client.completions.create(model="chat", prompt="a"),
    ],
)
def test_a_spent_budget_is_a_rate_limit_error(gateway: Gateway, ask: Any) -> None:
    with client_of(gateway, key_of("default", "broke")) as poor, pytest.raises(openai.RateLimitError) as caught:
        ask(poor)
    assert caught.value.code == "insufficient_quota", caught.value


def test_a_form_of_another_kind_than_told_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="pictures", prompt="a", extra_body={"num_images": 5})
    assert caught.value.param == "num_images"
