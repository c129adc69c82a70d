"""Recordings: the form's file goes to each target from disk, minutes are charged, and silence is not free."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from support.build import FakeJournal, FakeUpstream, make_directory, make_user
from support.operations import FOR_EVER, FakeIncoming, Ran, answer, ran, transcript

SIZE = 80_000
"""Ten seconds at the likely bitrate."""


async def written(*script: Any, operation: str = "transcribe", incoming: FakeIncoming | None = None, **kw: Any) -> Ran:
    fields = kw.pop("fields", {})
    incoming = incoming or FakeIncoming(SIZE, **({"model": "scribe"} | fields))
    return await ran(operation, None, *script, incoming=incoming, **kw)


async def test_the_file_goes_up_with_the_target_s_own_model_name() -> None:
    done = await written(transcript("hello", duration=2.5), fields={"language": "en", "unheard_of": "x"})
    assert done.client.json() == {"text": "hello", "duration": 2.5}
    (upload,) = done.pools.uploads
    assert upload
    assert upload.path.name == "a.mp3"
    assert upload.fields == (("model", "w1"), ("language", "en"), ("response_format", "json"), ("unheard_of", "x"))
    ((_, url, headers, body),) = done.pools.opened
    assert (url, body) == ("http://one.test/v1/audio/transcriptions", b"")
    assert "Content-Type" not in headers, "a form's boundary is set where it is written"


async def test_a_translation_has_an_operation_and_a_url_of_its_own() -> None:
    done = await written(transcript("hello", duration=1), operation="translate")
    assert done.pools.opened[0][1].endswith("/audio/translations")
    assert done.row["operation"] == "translate"
    refused = await written(operation="translate", fields={"language": "nl"})
    assert refused.error.param == "language"


async def test_a_second_target_gets_the_same_file() -> None:
    done = await written(answer({"error": {"message": "down"}}, 503), transcript(duration=1))
    first, second = done.pools.uploads
    assert first
    assert second
    assert first.path == second.path
    assert [dict(upload.fields)["model"] for upload in (first, second)] == ["w1", "w2"]
    assert done.exchange.upload
    assert done.exchange.upload.fields == (), "the caller's own form stays as it was"


async def test_seconds_that_the_upstream_tells_are_charged() -> None:
    done = await written(transcript(duration=60.0))
    assert json.loads(done.row["units"]) == {"audio_ms": 60_000}
    assert (done.row["cost_nano"], done.row["estimated"]) == (6_000_000, False)


@pytest.mark.parametrize("more", [{}, {"usage": {"input_tokens": 30, "output_tokens": 5}}], ids=["nothing", "tokens"])
async def test_seconds_that_nobody_tells_are_estimated_and_never_zero(more: dict[str, Any]) -> None:
    done = await written(transcript(**more))
    assert json.loads(done.row["units"]) == {"audio_ms": 10_000}
    assert (done.row["cost_nano"], done.row["estimated"]) == (1_000_000, True)
    assert done.row["output_tokens"] == more.get("usage", {}).get("output_tokens", done.row["output_tokens"])


async def test_silence_is_not_free() -> None:
    done = await written(FakeUpstream(b""), fields={"response_format": "srt"})
    assert done.client.status == 200
    assert done.row["cost_nano"] > 0


async def test_a_length_read_off_subtitles_is_marked_as_an_estimate() -> None:
    srt = b"1\n00:00:00,000 --> 00:00:04,500\nhello\n"
    done = await written(FakeUpstream(srt), fields={"response_format": "srt"})
    assert json.loads(done.row["units"]) == {"audio_ms": 4_500}
    assert done.row["estimated"]
    assert (done.client.body, done.client.content_type) == (srt, "text/plain; charset=utf-8")


async def test_the_native_answer_is_the_upstream_s_object_with_its_cost() -> None:
    done = await written(transcript("hello", duration=60, words=[1.10]), surface="native")
    data = done.client.json()["data"]
    assert (data["text"], data["words"]) == ("hello", [1.1])
    assert (data["usage"]["audio_seconds"], data["usage"]["cost"]) == (60, "0.006")


async def test_the_native_surface_hands_text_on_as_text() -> None:
    done = await written(FakeUpstream(b"hello\n"), surface="native", fields={"response_format": "text"})
    assert (done.client.body, done.client.content_type) == (b"hello\n", "text/plain; charset=utf-8")


async def test_the_operator_s_defaults_hold_where_the_form_says_nothing() -> None:
    done = await written(transcript(duration=1), fields={"model": "dutch"})
    fields = dict(done.pools.uploads[0].fields)  # type: ignore[union-attr]
    assert (fields["language"], fields["response_format"]) == ("nl", "verbose_json")
    own = await written(transcript(duration=1), fields={"model": "dutch", "language": "en", "response_format": "json"})
    fields = dict(own.pools.uploads[0].fields)  # type: ignore[union-attr]
    assert (fields["language"], fields["response_format"]) == ("en", "json")


async def test_a_default_language_is_not_put_into_a_translation() -> None:
    done = await written(transcript(duration=1), operation="translate", fields={"model": "dutch"})
    assert "language" not in dict(done.pools.uploads[0].fields)  # type: ignore[union-attr]


# -- before anything is sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"model": ""}, "model"), ({"model": ["a", "b"]}, "model"), ({"response_format": "yaml"}, "response_format")],
)
async def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    done = await written(fields=fields)
    assert (done.error.code, done.error.param) == ("VALIDATION_ERROR", param)
    assert done.pools.opened == []


@pytest.mark.parametrize(("model", "code"), [("voices", "VALIDATION_ERROR"), ("m", "VALIDATION_ERROR")])
async def test_a_model_of_another_kind_is_refused(model: str, code: str) -> None:
    done = await written(fields={"model": model})
    assert (done.error.code, done.error.param) == (code, "model")


async def test_free_is_a_price() -> None:
    done = await written(transcript(), fields={"model": "gratis"})
    assert (done.client.status, done.row["cost_nano"], done.row["estimated"]) == (200, 0, True)


async def test_a_form_that_cannot_be_read_is_refused() -> None:
    class Broken(FakeIncoming):
        async def receive(self) -> Any:
            raise GatewayError("PAYLOAD_TOO_LARGE", "too large")

    done = await written(incoming=Broken())
    assert (done.client.status, done.error.code) == (413, "PAYLOAD_TOO_LARGE")


async def test_who_may_not_call_is_not_listened_to() -> None:
    incoming = FakeIncoming(model="scribe")
    done = await ran("transcribe", None, incoming=incoming, directory=_viewer())
    assert (done.error.code, incoming.received) == ("AUTHZ_PERMISSION_DENIED", 0)


def _viewer() -> Any:
    return make_directory([make_user(roles=("tenant_viewer",))])


@pytest.mark.parametrize(("head", "size"), [(b"ID3", SIZE), (b"\x00", SIZE), (b"ID3", 10)])
async def test_what_is_held_is_more_than_what_is_likely(head: bytes, size: int) -> None:
    done = await written(transcript(), incoming=FakeIncoming(size, head, model="scribe"))
    assert done.exchange.reservation
    assert done.row["cost_nano"] <= done.exchange.reservation.amount.cost


async def test_an_upload_that_cannot_be_booked_goes_nowhere() -> None:
    journal = FakeJournal()
    journal.failing = True
    done = await written(transcript(), journal=journal)
    assert (done.client.status, done.pools.opened) == (503, [])


async def test_an_upstream_that_stalls_is_given_up() -> None:
    stalled = FakeUpstream(b'{"text":', FOR_EVER)
    done = await written(stalled, transcript(duration=1))
    assert stalled.closed
    assert done.client.status == 200
