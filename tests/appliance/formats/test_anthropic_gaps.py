from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_gaps import HARMLESS, PASSED, refuse_uncarriable
from appliance.formats.chat import ChatRequest, Message, TextPart

HELLO = [Message("user", [TextPart("hello")])]


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("n", {"n": 2}),
        ("logprobs", {"logprobs": True}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("seed", {"seed": 0}),
        ("presence_penalty", {"presence_penalty": 0.5}),
        ("frequency_penalty", {"frequency_penalty": -0.5}),
        ("logit_bias", {"extra": {"logit_bias": {"50256": -100}}}),
        ("audio", {"extra": {"audio": {"voice": "alloy", "format": "wav"}}}),
        ("modalities", {"extra": {"modalities": ["text", "audio"]}}),
        ("verbosity", {"extra": {"verbosity": "low"}}),
        ("functions", {"extra": {"functions": [{"name": "f"}]}}),
        ("function_call", {"extra": {"function_call": {"name": "f"}}}),
        ("web_search_options", {"extra": {"web_search_options": {}}}),
        ("background", {"extra": {"background": True}}),
        ("truncation", {"extra": {"truncation": "auto"}}),
        ("container", {"extra": {"container": "container_1"}}),
        ("mcp_servers", {"extra": {"mcp_servers": []}}),
        ("speed", {"extra": {"speed": "fast"}}),
        ("never_heard_of", {"extra": {"never_heard_of": False}}),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(name: str, members: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        refuse_uncarriable(ChatRequest("m", HELLO, **members))
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", name)
    assert caught.value.message == (
        f"{name}: cannot be carried to an Anthropic target; remove it or route to a target that takes it"
    )


def test_everything_that_cannot_be_carried_is_told_at_once() -> None:
    request = ChatRequest("m", HELLO, n=3, seed=7, extra={"thinking": {}, "logit_bias": {"1": 1}, "store": True})
    with pytest.raises(GatewayError) as caught:
        refuse_uncarriable(request)
    assert caught.value.message.startswith("n, seed, logit_bias: cannot be carried to an Anthropic target")
    assert [detail["field"] for detail in caught.value.details or []] == ["n", "seed", "logit_bias"]
    assert caught.value.param == "n"


def test_what_changes_nothing_about_the_answer_is_let_go() -> None:
    neutral: dict[str, Any] = {
        "logit_bias": {},
        "modalities": ["text"],
        "verbosity": "medium",
        "functions": [],
        "audio": None,
        "background": False,
        "truncation": "disabled",
    }
    harmless = dict.fromkeys(HARMLESS, "anything")
    passed = {name: {"any": "thing"} for name in PASSED}
    request = ChatRequest(
        "m",
        HELLO,
        logprobs=False,
        top_logprobs=0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        metadata={"team": "a"},
        extra={**neutral, **harmless, **passed},
    )
    refuse_uncarriable(request)
    request.extra["seed_of_another_kind"] = 1
    with pytest.raises(GatewayError, match="seed_of_another_kind"):
        refuse_uncarriable(request)
