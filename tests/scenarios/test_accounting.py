"""What a call costs: token classes, prices kept in the row, estimates where the upstream says nothing."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.calling import SURFACES, Seen, call
from support.faults import Play, answers
from support.sse import events
from support.upstream import DONE, Call, Upstream, chunk, completion

PRICE = {"input": "3.00", "output": "15.00", "cached_input": "0.30", "cache_write": "3.75"}
COST = {"input": "1.00", "output": "5.00", "cached_input": "0.10", "cache_write": "1.25"}
WORDS = ("one ", "two")


def openai_usage(
    prompt: int, completion: int, *, cached: int = 0, written: int = 0, reasoning: int = 0
) -> dict[str, Any]:
    """`cached` and `written` are parts of the prompt, `reasoning` is a part of the completion."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


USAGES: dict[str, dict[str, Any]] = {
    "plain": openai_usage(1000, 200),
    "cached": openai_usage(1000, 200, cached=900),
    "all-cached": openai_usage(1000, 200, cached=1000),
    "written": openai_usage(1000, 200, written=600),
    "cached-and-written": openai_usage(1000, 200, cached=300, written=600),
    "reasoning": openai_usage(1000, 200, reasoning=150),
    "all-classes": openai_usage(12345, 6789, cached=2345, written=111, reasoning=999),
    "one-token": openai_usage(1, 1),
    "no-output": openai_usage(1000, 0),
    "more-cached-than-input": openai_usage(100, 10, cached=500),
    "large": openai_usage(2_000_000, 1_000_000, cached=1_999_999),
}


def expected_cost(price: dict[str, str], usage: dict[str, Any]) -> Decimal:
    """Each class once, rounded up once, to whole nano-USD. Worked out apart from the appliance."""
    details = usage["prompt_tokens_details"]
    cached = min(details["cached_tokens"], usage["prompt_tokens"])
    written = min(details["cache_write_tokens"], usage["prompt_tokens"] - cached)
    plain = usage["prompt_tokens"] - cached - written
    exact = (
        plain * Decimal(price["input"])
        + cached * Decimal(price["cached_input"])
        + written * Decimal(price["cache_write"])
        + usage["completion_tokens"] * Decimal(price["output"])
    ) / 1_000_000
    return Decimal(math.ceil(exact * 10**9)) / 10**9


def play_openai(call: Call) -> Any:
    usage = USAGES[call.model]
    if not call.json.get("stream"):
        return call.reply(200, completion("one two", usage=usage))
    pieces = [chunk({"content": word}) for word in WORDS]
    return call.stream([*pieces, chunk({}, "stop"), chunk(None, usage=usage), DONE])


def play_anthropic(call: Call) -> Any:
    """The same usage as Anthropic reports it: `input_tokens` without what was read from or written to the cache."""
    usage = USAGES[call.model]
    details = usage["prompt_tokens_details"]
    counts = {
        "input_tokens": usage["prompt_tokens"] - details["cached_tokens"] - details["cache_write_tokens"],
        "cache_read_input_tokens": details["cached_tokens"],
        "cache_creation_input_tokens": details["cache_write_tokens"],
        "output_tokens": usage["completion_tokens"],
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_sequence": None}
    if not call.json.get("stream"):
        content = [{"type": "text", "text": "one two"}]
        return call.reply(200, message | {"content": content, "stop_reason": "end_turn", "usage": counts})
    begun: dict[str, Any] = message | {"content": [], "stop_reason": None, "usage": counts | {"output_tokens": 1}}
    return call.stream(
        [
            _event("message_start", message=begun),
            _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *(_event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in WORDS),
            _event("content_block_stop", index=0),
            _event(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": usage["completion_tokens"]},
            ),
            _event("message_stop"),
        ]
    )


def _event(name: str, **members: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | members)}\n\n".encode()


def without_usage(call: Call) -> Any:
    if call.json.get("stream"):
        return call.stream([chunk({"content": "1234"}), chunk({"content": "5678"}), chunk({}, "stop"), DONE])
    return call.reply(200, {name: value for name, value in completion("12345678").items() if name != "usage"})


NO_USAGE: dict[str, Play] = {
    "missing": without_usage,
    "null": lambda call: call.reply(200, completion("12345678", usage=None)),
    "empty": lambda call: call.reply(200, completion("12345678", usage={})),
    "text": lambda call: call.reply(200, completion("12345678", usage="much")),
    "negative": lambda call: call.reply(200, completion("12345678", usage=openai_usage(-5, -5))),
}
FAILING: dict[str, Play] = {"f500": answers(500), "f400": answers(400)}


def _play(call: Call) -> Any:
    if call.path.endswith("/messages"):
        return play_anthropic(call)
    if call.model in USAGES:
        return play_openai(call)
    return {**NO_USAGE, **FAILING}[call.model](call)


def _mapping(price: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}: "{value}"' for name, value in price.items()) + "}"


def _models() -> Iterator[str]:
    for provider in ("up", "claude"):
        for name in USAGES:
            target = f'{{backend: "{provider}:{name}", cost: {_mapping(COST)}}}'
            yield f"  {provider}-{name}: {{price: {_mapping(PRICE)}, route: [{target}]}}"
    dear = '{input: "1000000", output: "2000000"}'
    for name in (*NO_USAGE, *FAILING):
        yield f'  {name}: {{price: {dear}, route: {{retries: 0, targets: [{{backend: "up:{name}"}}]}}}}'
    yield '  short: {price: {input: "0.000000001", output: "0"}, route: [{backend: "up:plain"}]}'
    yield '  free: {price: free, route: [{backend: "up:plain", cost: {input: "1", output: "2"}}]}'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Upstream() as upstream:
        upstream.answer(_play)
        yaml_text = f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
  claude: {{type: anthropic, base_url: "{upstream.url}", api_key: "${{env:K}}"}}
models:
{chr(10).join(_models())}
"""
        with running(yaml_text, tmp_path_factory.mktemp("accounting"), {"K": "some-anthropic-key"}) as gateway:
            yield gateway


NOT_ANTHROPIC = ("reasoning", "all-classes", "more-cached-than-input")
"""It does not report reasoning tokens apart, and its input counts exclude the cache."""
REPORTED = [(name, "up") for name in USAGES] + [(name, "claude") for name in USAGES if name not in NOT_ANTHROPIC]


# -- one call ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("name", "provider"), REPORTED)
def test_each_token_class_is_charged_exactly_once(
    gateway: Gateway, name: str, provider: str, surface: str, stream: bool
) -> None:
    """So a streamed call costs what the same call costs unstreamed, on both surfaces, at both providers."""
    usage = USAGES[name]
    seen = call(gateway, f"{provider}-{name}", surface, stream=stream, max_tokens=100)
    row = seen.row
    details = usage["prompt_tokens_details"]
    assert row["status"] == "completed"
    assert row["estimated"] is False
    assert row["tokens_in"] == row["input_tokens"] == usage["prompt_tokens"]
    assert row["tokens_out"] == row["output_tokens"] == usage["completion_tokens"]
    assert row["total_tokens"] == usage["total_tokens"]
    assert row["cached_input_tokens"] == min(details["cached_tokens"], usage["prompt_tokens"])
    assert row["reasoning_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"]
    assert Decimal(row["cost"]) == expected_cost(PRICE, usage)
    assert Decimal(row["backend_cost"]) == expected_cost(COST, usage)
    if surface == "native":
        assert told(seen, stream) == {
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "total_tokens": row["total_tokens"],
            "cached_input_tokens": row["cached_input_tokens"],
            "reasoning_tokens": row["reasoning_tokens"],
            "cost": row["cost"],
            "estimated": False,
        }


def told(seen: Seen, stream: bool) -> dict[str, Any]:
    """The usage that the native answer tells of."""
    if not stream:
        usage: dict[str, Any] = seen.answer.json()["data"]["usage"]
        return usage
    last: dict[str, Any] = events(seen.answer.body)[-2][1]["usage"]
    return last


def test_cost_is_rounded_up_once_never_down_to_nothing(gateway: Gateway) -> None:
    """A thousandth of a nano-USD is a nano-USD."""
    assert call(gateway, "short").row["cost"] == "0.000000001"


def test_a_free_model_costs_the_caller_nothing_and_us_what_it_costs(gateway: Gateway) -> None:
    row = call(gateway, "free").row
    assert (row["cost"], row["backend_cost"]) == ("0", "0.0014")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", NO_USAGE)
def test_usage_that_the_upstream_does_not_report_is_estimated_and_marked(
    gateway: Gateway, name: str, surface: str
) -> None:
    seen = call(gateway, name, surface)
    row = seen.row
    assert (row["status"], row["estimated"]) == ("completed", True)
    assert row["tokens_in"] > 0
    assert row["tokens_out"] >= 2, "eight letters are about two tokens"
    assert Decimal(row["cost"]) == row["tokens_in"] + 2 * row["tokens_out"], "at a million USD per million tokens"
    if surface == "native":
        assert told(seen, stream=False)["estimated"] is True


@pytest.mark.parametrize("surface", SURFACES)
def test_an_estimated_stream_costs_what_the_same_answer_costs_whole(gateway: Gateway, surface: str) -> None:
    whole = call(gateway, "missing", surface, stream=False).row
    streamed = call(gateway, "missing", surface, stream=True).row
    assert whole["estimated"] is streamed["estimated"] is True
    assert streamed["tokens_out"] == whole["tokens_out"] == 2, "eight letters are about two tokens"
    assert streamed["tokens_in"] == pytest.approx(whole["tokens_in"], abs=1)


@pytest.mark.parametrize("name", FAILING)
def test_a_call_that_gave_no_answer_costs_nothing(gateway: Gateway, name: str) -> None:
    row = call(gateway, name).row
    assert (row["status"], row["cost"], row["backend_cost"], row["total_tokens"]) == ("failed", "0", "0", 0)


def test_the_row_keeps_the_prices_it_was_computed_with(gateway: Gateway) -> None:
    """Read in the database itself, so that a later price change can be told from an error."""
    row = call(gateway, "up-all-classes").row
    with sqlite3.connect(f"file:{gateway.data_dir / 'scaigrid.db'}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        (stored,) = database.execute("SELECT * FROM usage WHERE id = ?", (row["id"],)).fetchall()
    database.close()
    kept = json.loads(stored["price"])
    for name, written in (("price", PRICE), ("cost", COST)):
        rates = {each: int(Decimal(value) * 10**9) for each, value in written.items()}
        rates |= {"reasoning": rates["output"], "above": 0}
        by_the_piece = dict.fromkeys(("request", "image", "audio_minute", "characters", "search"), 0)
        assert kept[name] == {"base": rates, "tiers": []} | by_the_piece
    usage = USAGES["all-classes"]
    assert stored["cost_nano"] == expected_cost(PRICE, usage) * 10**9
    assert isinstance(stored["cost_nano"], int)
    assert stored["cache_write_tokens"] == 111


def test_a_new_price_changes_no_old_row(gateway: Gateway) -> None:
    old = call(gateway, "up-plain").row
    text = gateway.config.read_text()
    gateway.terminate()
    gateway.config.write_text(text.replace('input: "3.00"', 'input: "6.00"'))
    gateway.start()
    new = call(gateway, "up-plain").row
    assert gateway.usage_of(old["request_id"])["cost"] == old["cost"] == "0.006"
    assert new["cost"] == "0.009"
    gateway.terminate()
    gateway.config.write_text(text)
    gateway.start()


def test_a_row_says_all_that_was_promised(gateway: Gateway) -> None:
    row = call(gateway, "up-plain", stream=True, metadata={"project": "x"}).row
    assert row["model"] == "up-plain"
    assert (row["backend_id"], row["provider"]) == ("up:plain", "up")
    assert (row["partner_id"], row["tenant_id"], row["user_id"]) == ("default", "default", "default:admin")
    assert (row["operation"], row["stream"], row["surface"]) == ("chat", True, "native")
    assert row["metadata"] == {"project": "x"}
    assert row["finish_reason"] == "stop"
    assert 0 <= row["time_to_first_token_ms"] <= row["latency_ms"]
    assert row["created_at"].endswith("Z")
    assert row["error"] is None
