"""Faults of an upstream as the caller reads them: whose fault it was decides the error, not what the upstream said."""

from __future__ import annotations

import openai
import pytest

from support.aimock_gateway import COMPAT, NATIVE, WRONG_KEY, chat_body, user
from support.appliance import Gateway
from support.sse import events, text_of

both_dialects = pytest.mark.parametrize("model", ["gpt", "claude"])
both_forms = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_dialects
@both_forms
def test_a_request_that_the_upstream_refuses_is_the_callers_fault(
    sdk: openai.OpenAI, gateway: Gateway, model: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature: must be at most 2"):
        sdk.chat.completions.create(model=f"{model}-400", messages=user("Fail with 400"), stream=stream)
    answer = gateway.post(NATIVE, chat_body(f"{model}-400", "Fail with 400", stream=stream))
    assert (answer.status, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


@both_dialects
@both_forms
@pytest.mark.parametrize("fault", ["401", "404"])
def test_an_operators_fault_is_never_shown_as_the_callers(
    sdk: openai.OpenAI, gateway: Gateway, model: str, stream: bool, fault: str
) -> None:
    with pytest.raises(openai.InternalServerError):
        sdk.chat.completions.create(model=f"{model}-{fault}", messages=user(f"Fail with {fault}"), stream=stream)
    answer = gateway.post(NATIVE, chat_body(f"{model}-{fault}", f"Fail with {fault}", stream=stream))
    assert answer.status >= 500
    assert answer.json()["error"]["code"] in ("BACKEND_ERROR", "MODEL_UNAVAILABLE")


@both_dialects
def test_a_wrong_upstream_key_is_the_operators_fault_and_stays_secret(gateway: Gateway, model: str) -> None:
    answer = gateway.post(COMPAT, chat_body(f"locked-{model}", "Say hello"))
    assert answer.status >= 500
    assert WRONG_KEY not in answer.body.decode() + gateway.output()


@both_dialects
@both_forms
def test_a_rate_limit_of_the_upstream_keeps_its_retry_after(
    sdk: openai.OpenAI, gateway: Gateway, model: str, stream: bool
) -> None:
    with pytest.raises(openai.RateLimitError) as failure:
        sdk.chat.completions.create(model=f"{model}-429", messages=user("Fail with 429"), stream=stream)
    assert 1 <= int(failure.value.response.headers["retry-after"]) <= 7
    answer = gateway.post(NATIVE, chat_body(f"{model}-429", "Fail with 429", stream=stream))
    assert (answer.status, answer.json()["error"]["code"]) == (429, "BACKEND_RATE_LIMITED")
    assert 0 < answer.json()["error"]["retry_after"] <= 7


@both_dialects
@both_forms
@pytest.mark.parametrize(
    ("fault", "text", "code"),
    [
        ("500", "Fail with 500", "BACKEND_ERROR"),
        ("529", "Fail with 529", "BACKEND_ERROR"),
        ("hang-up", "Hang up at once", "BACKEND_ERROR"),
        ("garbage", "Answer with garbage", "UPSTREAM_SHAPE_MISMATCH"),
    ],
)
def test_an_upstream_that_fails_is_a_bad_gateway(
    sdk: openai.OpenAI, gateway: Gateway, model: str, stream: bool, fault: str, text: str, code: str
) -> None:
    with pytest.raises(openai.InternalServerError):
        sdk.chat.completions.create(model=f"{model}-{fault}", messages=user(text), stream=stream)
    answer = gateway.post(NATIVE, chat_body(f"{model}-{fault}", text, stream=stream))
    assert (answer.status, answer.json()["error"]["code"]) == (502, code)


@both_dialects
def test_a_stream_that_breaks_off_is_an_error_and_no_answer(sdk: openai.OpenAI, gateway: Gateway, model: str) -> None:
    broken = chat_body(f"{model}-break", "Break off in the middle", stream=True)
    with sdk.chat.completions.create(**broken) as stream, pytest.raises(openai.APIError):
        list(stream)

    body = gateway.post(COMPAT, broken).body
    assert text_of(body).startswith("These wo")
    *_, (_, error), (_, end) = events(body)
    assert error["error"]["message"]
    assert end == "[DONE]"

    body = gateway.post(NATIVE, broken).body
    assert text_of(body).startswith("These wo")
    *_, (name, error), (_, end) = events(body)
    assert (name, error["code"], end) == ("error", "BACKEND_ERROR", "[DONE]")


@both_dialects
def test_a_target_is_asked_again_after_a_fault(gateway: Gateway, model: str) -> None:
    assert gateway.post(COMPAT, chat_body(f"{model}-500", "Fail with 500")).status == 502
    assert gateway.post(COMPAT, chat_body(f"{model}-500", "Say hello")).status == 200
