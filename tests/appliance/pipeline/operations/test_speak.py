"""Speech: streamed as it comes, its last piece kept until the call is booked, and cut off where it is not whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.exchange import UpstreamCut
from appliance.pipeline.run import run
from support.build import FakeClient, FakeJournal, FakeUpstream, client_of, journal_of
from support.operations import FOR_EVER, answer, ran, ready, sound

CALL = {"model": "voices", "input": "Hello there", "voice": "alloy"}


async def test_the_audio_goes_through_as_it_is() -> None:
    done = await ran("speak", CALL | {"instructions": "Whisper."}, sound(b"one", b"two", b"three"))
    assert done.client.sent == [b"one", b"two", b"three"]
    assert (done.client.ended, done.client.broken_off) == (True, False)
    assert done.client.content_type == "audio/mpeg"
    assert done.bodies == [
        {
            "model": "s1",
            "input": "Hello there",
            "voice": "alloy",
            "response_format": "mp3",
            "instructions": "Whisper.",
        }
    ]


async def test_characters_are_exact() -> None:
    done = await ran("speak", CALL | {"input": "Grüße 👋"}, sound(b"x"))
    assert json.loads(done.row["units"]) == {"characters": 7}
    assert (done.row["cost_nano"], done.row["estimated"]) == (7 * 15_000, False)


async def test_tokens_that_audio_does_not_tell_are_estimated_and_marked() -> None:
    done = await ran("speak", CALL | {"model": "tokened"}, sound(b"x"))
    assert done.row["estimated"]
    assert done.row["output_tokens"] > 0
    assert done.row["cost_nano"] > 0


async def test_a_content_type_that_the_upstream_keeps_to_itself_is_that_of_the_format() -> None:
    done = await ran("speak", CALL | {"response_format": "wav"}, FakeUpstream(b"RIFF"))
    assert done.client.content_type == "audio/wav"


async def test_the_operator_s_voice_holds_where_the_caller_names_none() -> None:
    done = await ran("speak", {"model": "spoken", "input": "Hi", "voice": None}, sound(b"x"))
    assert (done.bodies[0]["voice"], done.bodies[0]["response_format"]) == ("nova", "wav")
    own = await ran("speak", {"model": "spoken", "input": "Hi", "voice": "echo", "response_format": "mp3"}, sound(b"x"))
    assert (own.bodies[0]["voice"], own.bodies[0]["response_format"]) == ("echo", "mp3")


async def test_the_native_surface_streams_audio_too() -> None:
    done = await ran("speak", CALL, sound(b"one", b"two"), surface="native")
    assert done.client.body == b"onetwo"
    wrong = await ran("speak", CALL | {"unheard_of": 1}, surface="native")
    assert wrong.error.param == "unheard_of"


# -- in hand with the first piece -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (lambda: sound(), "UPSTREAM_SHAPE_MISMATCH"),
        (lambda: sound(b'{"error":{"message":"no"}}', content_type="application/json"), "UPSTREAM_SHAPE_MISMATCH"),
        (lambda: sound(b"<html>", content_type="text/html; charset=utf-8"), "UPSTREAM_SHAPE_MISMATCH"),
        (lambda: sound(UpstreamCut("reset")), "BACKEND_ERROR"),
        (lambda: sound(FOR_EVER), "BACKEND_TIMEOUT"),
        (lambda: answer({"error": {"message": "down"}}, 500), "BACKEND_ERROR"),
    ],
    ids=["nothing", "JSON", "a page", "cut", "silence", "500"],
)
async def test_before_the_first_piece_the_next_target_takes_over(first: Any, code: str) -> None:
    broken = first()
    done = await ran("speak", CALL, broken, sound(b"audio"))
    failure = done.exchange.attempts[0].failure
    assert failure
    assert failure.code == code
    assert broken.closed
    assert (done.client.body, done.client.ended) == (b"audio", True)
    assert done.client.headers["X-Scaigrid-Attempts"] == "2"


# -- what breaks half-way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "code", "kind"),
    [
        (UpstreamCut("reset, secret-of-one"), "BACKEND_ERROR", "server_error"),
        (FOR_EVER, "BACKEND_TIMEOUT", "timeout"),
    ],
    ids=["cut", "silence"],
)
@pytest.mark.parametrize("model", ["voices", "tokened"])
async def test_speech_that_is_cut_short_breaks_off_and_the_row_says_so(
    model: str, then: Any, code: str, kind: str
) -> None:
    upstream = sound(b"one", b"two", then, b"never")
    done = await ran("speak", CALL | {"model": model}, upstream)
    assert done.client.sent == [b"one"], "no whole file, and nothing after it was known to be broken"
    assert (done.client.broken_off, done.client.ended) == (True, False)
    assert (done.row["status"], done.row["error_code"], done.row["estimated"]) == ("failed", code, True)
    (attempt,) = json.loads(done.row["attempts"])
    assert (attempt["status"], attempt["error"]["kind"]) == ("failed", kind)
    assert (done.row["charged"], json.loads(done.row["units"])) == (1, {"characters": 11})
    assert done.row["cost_nano"] > 0
    failure = done.exchange.attempts[0].failure
    assert failure
    assert "secret-of-one" not in failure.message + failure.detail
    assert upstream.closed


async def test_speech_of_one_piece_that_is_cut_is_an_error_with_its_status() -> None:
    done = await ran("speak", CALL, sound(b"one", UpstreamCut("reset")))
    assert (done.client.status, done.client.broken_off, done.client.started) == (502, False, False)
    assert b"cut its answer short" in done.client.body


async def test_speech_that_drips_is_ended_by_total(monkeypatch: pytest.MonkeyPatch) -> None:
    drops: list[Any] = [b"x", 0.03] * 200
    done = await ran("speak", CALL, sound(*drops))
    assert (done.error.code, done.client.broken_off) == ("BACKEND_TIMEOUT", True)


async def test_a_key_that_is_revoked_ends_the_speech() -> None:
    upstream = sound(b"one", b"two", 0.05, b"three", b"four")
    exchange, state = ready("speak", CALL, upstream)
    asyncio.get_running_loop().call_later(0.02, state.directory.revoke_key, "apikey_1")
    async with asyncio.timeout(5):
        await run(exchange, state)
    client = client_of(exchange)
    assert exchange.error
    assert exchange.error.code == "AUTH_TOKEN_INVALID"
    assert (client.sent, client.broken_off, client.ended) == ([b"one"], True, False)
    assert upstream.closed
    (row,) = journal_of(state).ended
    assert (row["status"], row["error_code"], row["charged"]) == ("cancelled", "AUTH_TOKEN_INVALID", 1)


# -- the last piece ---------------------------------------------------------------------------------------------------


class FullAtTheEnd(FakeJournal):
    def end(self, row: dict[str, Any]) -> None:
        self.failing = True
        super().end(row)


@pytest.mark.parametrize("pieces", [[b"one"], [b"one", b"two"]])
async def test_speech_that_cannot_be_booked_never_comes_whole(pieces: list[bytes]) -> None:
    done = await ran("speak", CALL, sound(*pieces), journal=FullAtTheEnd())
    assert done.error.code == "JOURNAL_UNAVAILABLE"
    assert done.client.sent == pieces[:-1]
    begun = len(pieces) > 1
    assert (done.client.started, done.client.broken_off) == (begun, begun), "without a byte sent it is a plain error"
    assert begun or done.client.status == 503


class Gone(FakeClient):
    """Leaves while he is sent to."""

    async def send(self, data: bytes) -> None:
        raise asyncio.CancelledError


async def test_a_caller_who_leaves_while_he_listens_is_booked_with_all_characters() -> None:
    upstream = sound(b"one", b"two", FOR_EVER)
    exchange, state = ready("speak", CALL, upstream)
    exchange.client = Gone()
    with pytest.raises(asyncio.CancelledError):
        await run(exchange, state)
    assert upstream.closed
    (row,) = journal_of(state).ended
    assert (row["status"], row["charged"], json.loads(row["units"])) == ("cancelled", 1, {"characters": 11})
