"""The official OpenAI SDK's embeddings, images and audio, each over three providers that have them.

Anthropic and Google's Gemini have no speech and no transcription behind these endpoints: other providers stand there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from support import sdk_units
from support.sdk_upstream import running_families

TEXTS = ["a banana", "Grüße 👋", "tall"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with running_families(tmp_path_factory.mktemp("sdk")) as (gateway, _):
        base_url = f"{gateway.url}/oai/v1"
        key = gateway.admin_key
        with OpenAI(base_url=base_url, api_key=key, max_retries=0, _strict_response_validation=True) as sdk:
            yield sdk


def over(kind: str, *providers: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("model", [f"{kind}-{provider}" for provider in providers])


@over("embed", "openai", "google", "mistral")
def test_embeddings_come_in_order_as_the_sdks_default_form_and_as_numbers(client: OpenAI, model: str) -> None:
    expected = [sdk_units.vector(text) for text in TEXTS]
    # In its default form the SDK asks for base64 and unpacks it, which its own strict validation comes before.
    with OpenAI(base_url=client.base_url, api_key=client.api_key, max_retries=0) as lenient:
        packed = lenient.embeddings.create(model=model, input=TEXTS)
        one = lenient.embeddings.create(model=model, input="one")
    assert [entry.embedding for entry in packed.data] == expected
    assert packed.model == model
    numbers = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    assert [entry.embedding for entry in numbers.data] == expected
    assert one.data[0].embedding == sdk_units.vector("one")


@over("image", "openai", "google", "xai")
def test_pictures_come_as_bytes(client: OpenAI, model: str) -> None:
    asked: Any = {} if model == "image-google" else {"n": 2}
    made = client.images.generate(model=model, prompt="a lighthouse", response_format="b64_json", **asked)
    assert made.data is not None
    assert [base64.b64decode(picture.b64_json or "") for picture in made.data] == [sdk_units.PNG] * asked.get("n", 1)


@over("hear", "openai", "mistral", "groq")
def test_a_recording_becomes_text(client: OpenAI, model: str) -> None:
    file = ("greeting.wav", sdk_units.RECORDING, "audio/wav")
    heard = client.audio.transcriptions.create(model=model, file=file, language="de")
    assert heard.text == sdk_units.TRANSCRIPT


@over("hear", "openai", "groq")
def test_a_recording_becomes_text_with_times(client: OpenAI, model: str) -> None:
    file = ("greeting.wav", sdk_units.RECORDING, "audio/wav")
    heard = client.audio.transcriptions.create(model=model, file=file, language="de", response_format="verbose_json")
    assert heard.duration == 1.0
    assert heard.segments is not None
    assert [segment.text for segment in heard.segments] == [sdk_units.TRANSCRIPT]


@over("speak", "openai", "groq", "custom")
def test_text_becomes_sound_whole_and_streamed(client: OpenAI, model: str) -> None:
    asked: Any = {"model": model, "voice": "alloy", "input": "Grüße aus Delft."}
    assert client.audio.speech.create(**asked).read() == sdk_units.MP3
    with client.audio.speech.with_streaming_response.create(**asked) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert b"".join(answer.iter_bytes()) == sdk_units.MP3


@pytest.mark.parametrize("model", ["family-anthropic", "family-google", "embed-mistral"])
def test_a_model_that_makes_no_pictures_refuses_by_name(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match=model):
        client.images.generate(model=model, prompt="a lighthouse")
