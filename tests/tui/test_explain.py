"""`scaigrid explain`: what people, pipes and machines get to read. The decisions are tested where they are made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.appliance import Gateway
from support.cli import scaigrid, terminal
from tui.explain import WIDTH, report


def target(backend: str = "up:a", **changes: Any) -> dict[str, Any]:
    found = {
        "backend": backend,
        "place": 1,
        "taken": True,
        "reason": "the only one of its priority that can serve the call",
        "share": 1.0,
        "priority": 1,
        "weight": 1,
        "expected_cost": "0.001",
        "worst_cost": "0.2",
        "health_status": "healthy",
        "circuit_breaker": "closed",
        "held_back": None,
        "in_flight": 0,
        "first_token_ms_p50": None,
        "first_token_ms_p95": None,
        "total_ms_p50": None,
        "total_ms_p95": None,
        "queue": {"in_use": 3, "limit": 256, "waiting": 2, "size": 100},
    }
    return found | changes


def rate(subject: str, **changes: Any) -> dict[str, Any]:
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "refused")
    return {"subject": subject, **dict.fromkeys(names), **changes}


def explanation(**changes: Any) -> dict[str, Any]:
    """The API's data; changes of a part are merged into it."""
    found: dict[str, Any] = {
        "model": {"name": "gpt", "status": "active", "fallback": {"context_window": None, "content_filter": None}},
        "passed_on_by": [],
        "policy": {
            "name": "steady",
            "strategy": "weighted",
            "sticky": "none",
            "explore": None,
            "retries": 2,
            "retry_on": ["connect", "timeout"],
            "deadline_s": 120.0,
            "circuit_breaker": {"failures": 5, "window_s": 30.0, "cooldown_s": 15.0},
            "hedge": None,
        },
        "call": {
            "operation": "chat",
            "tenant_id": "acme",
            "user_id": "acme:alice",
            "roles": ["tenant_user"],
            "input_tokens": 1000,
            "expected_output_tokens": 500,
            "needs": [],
            "metadata": {},
            "sticks": False,
        },
        "access": {"allowed": True, "refused": None},
        "targets": [target()],
        "rate_limits": {"fits": True, "tokens": 1500, "items": []},
        "budgets": {"fits": True, "refused": None, "items": []},
        "worst_case": {"input_tokens": 6048, "output_tokens": 2000, "units": {}, "clamped_to": None, "cost": "0.05"},
    }
    for name, change in changes.items():
        found[name] = found[name] | change if isinstance(found[name], dict) else change
    return found


def text(**changes: Any) -> str:
    """The report with its line ends taken away, so that a sentence is found wherever it was broken."""
    return " ".join(" ".join(line.text for line in report(explanation(**changes))).split())


def lines(**changes: Any) -> list[str]:
    return [line.text for line in report(explanation(**changes))]


def test_the_head_says_what_is_asked_and_by_which_rules() -> None:
    said = text()
    assert "model gpt, policy steady: weighted" in said
    assert "2 retries on connect, timeout; deadline 120 s; breaker: 5 failures in 30 s, then 15 s off" in said
    assert "chat by acme:alice (tenant_user): about 1000 tokens in, 500 expected out" in said
    assert "hedge" not in said
    assert "refused" not in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": {"retries": 1}}, "1 retry on connect"),
        ({"policy": {"retries": 0}}, "no retries; deadline"),
        ({"policy": {"retry_on": []}}, "2 retries on nothing"),
        ({"policy": {"circuit_breaker": None}}, "no breaker"),
        (
            {"policy": {"hedge": {"percentile": 95, "min_delay_s": 0.2, "max_share": 0.05}}},
            "hedge: p95, at least 0.2 s, at most 5 % of calls",
        ),
        ({"policy": {"strategy": "latency", "explore": 0.05}}, "steady: latency, explore 0.05"),
        ({"policy": {"sticky": "conversation"}}, "give --metadata conversation_id=ID"),
        ({"policy": {"sticky": "user"}}, "give --user USER"),
        ({"model": {"status": "deprecated"}}, "model gpt (deprecated)"),
        ({"model": {"fallback": {"context_window": "big", "content_filter": None}}}, "big takes over an input that is"),
        ({"model": {"fallback": {"context_window": None, "content_filter": "mild"}}}, "mild takes over what a filter"),
        ({"model": {"name": "big"}, "passed_on_by": ["gpt"]}, "model gpt → big, policy"),
        ({"passed_on_by": ["gpt"]}, "the input is longer than the context window: the call is passed on"),
        ({"call": {"user_id": None, "roles": []}}, "chat by anybody of acme: about"),
        ({"call": {"needs": ["images"], "metadata": {"data": "secret"}}}, "needs images, data=secret"),
        (
            {"access": {"refused": {"code": "MODEL_ACCESS_DENIED", "message": "no"}}},
            "✗ refused, MODEL_ACCESS_DENIED: no",
        ),
    ],
)
def test_the_head_says_what_is_special(changes: dict[str, Any], said: str) -> None:
    assert said in text(**changes)


def test_a_named_conversation_needs_no_hint() -> None:
    assert "--metadata" not in text(policy={"sticky": "conversation"}, call={"sticks": True})


def test_targets_stand_in_their_order_with_mark_and_reason() -> None:
    taken = target("up:a", share=0.95, weight=95, first_token_ms_p50=120, first_token_ms_p95=900, in_flight=3)
    skipped = target("up:b", taken=False, place=None, reason="switched off", health_status="unavailable")
    table = lines(targets=[taken, skipped])
    row = next(line for line in table if line.startswith("✓"))
    assert row.split() == ["✓", "1", "up:a", "95", "%", "1", "95", "healthy", "120", "900", "3"]
    place = table.index(row)
    assert table[place + 1].strip() == taken["reason"]
    assert table[place + 2].strip() == "0.001 USD expected, 0.2 at worst; 3 of 256 connections in use, 2 wait"
    assert table[place + 3].split() == ["✗", "up:b", "-", "1", "1", "unavailable", "-", "-", "0"]
    assert table[place + 4 : place + 6] == ["     switched off", ""]
    assert table[place - 1].split()[0] == "target"


def test_where_nothing_was_streamed_the_whole_time_is_shown() -> None:
    row = next(line for line in lines(targets=[target(total_ms_p50=700, total_ms_p95=800)]) if line.startswith("✓"))
    assert row.split()[-3:] == ["700", "800", "0"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"held_back": {"reason": "open", "wait_s": 12.5}}, "! its circuit is open: passed over for 12.5 s"),
        ({"held_back": {"reason": "probing", "wait_s": 1.0}}, "! a probe is under way: passed over for 1 s"),
        ({"held_back": {"reason": "spared", "wait_s": 7.0}}, "! it asked to be spared: asked after all others for 7 s"),
        ({"circuit_breaker": "half_open"}, "! its circuit is half_open: this call may be the probe"),
    ],
)
def test_what_holds_a_target_back_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in text(targets=[target(**changes)])


def test_limits_and_budgets_are_marked_when_they_would_refuse() -> None:
    reached = {"limit": 5, "used": 5, "remaining": 0}
    refused = {"code": "RATE_LIMITED", "message": "the limit is reached", "retry_after": 12.2}
    limits = [
        rate("key:*", requests_per_minute={"limit": 60, "used": None, "remaining": None}),
        rate("tenant:acme", requests_per_minute=reached, refused=refused),
        rate("partner:north"),
    ]
    said = text(rate_limits={"items": limits})
    assert "the call counts 1 request and 1500 tokens ✓ key:*: 60 requests a minute ✗ tenant:acme: 5 of 5" in said
    assert "RATE_LIMITED: the limit is reached; try again in 12 s" in said
    assert "✓ partner:north: none" in said


def budget(**changes: Any) -> dict[str, Any]:
    cost = {"limit": "500", "used": "12.5", "reserved": "0.2", "remaining": "487.3"}
    known = {"subject": "tenant:acme", "name": None, "period": "monthly", "hard_action": "block", "fits": True}
    return known | {"cost": cost, "tokens": None, "requests": None, "resets_at": "2026-12-01T00:00:00Z"} | changes


def test_budgets_tell_what_is_used_held_and_left() -> None:
    said = text(budgets={"items": [budget()]})
    assert "✓ tenant:acme monthly: 12.5 of 500 USD used, 0.2 reserved, 487.3 left; resets 2026-12-01" in said
    assert "budgets: none applies" in text()
    refused = {"code": "BUDGET_EXCEEDED", "message": "too small"}
    small = budget(fits=False, name="pot", hard_action="notify", cost=None, resets_at=None)
    said = text(budgets={"items": [small], "refused": refused})
    assert "✗ tenant:acme monthly pot (notify only): not shown BUDGET_EXCEEDED: too small" in said


def test_the_worst_case_says_what_it_is_made_of() -> None:
    assert text().endswith("worst case: 0.05 USD (6048 tokens in, 2000 out)")
    worst = {"units": {"images": 2}, "clamped_to": 790}
    assert "2000 out, 2 images) the budgets cover no longer answer: the cap would be lowered to 790" in text(
        worst_case=worst
    )


@pytest.mark.parametrize("width", [90, 80, 60])
def test_no_line_is_longer_than_the_terminal_but_for_the_table(width: int) -> None:
    long = explanation(
        targets=[target("provider-of-a-long-name:" + "model" * 8, reason="it is not for this call: " + "words " * 40)],
        call={"metadata": {f"key{number}": "value" for number in range(30)}},
        budgets={"items": [budget(name="a name " * 20)]},
    )
    widest = max(len(line.text) for line in report(long, width))
    assert widest <= max(width, 87), "numbers are not broken"
    assert WIDTH == 90


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_plain_text(gateway: Gateway) -> None:
    done = scaigrid("explain", "--model", "alpha", "--tenant", "acme", cwd=gateway.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model alpha, policy alpha: priority\n")
    assert "\n✓  1 demo:demo" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= WIDTH


def test_a_terminal_gets_the_same_within_its_width(gateway: Gateway) -> None:
    with terminal("explain", "--model", "alpha", cwd=gateway.folder) as screen:
        assert screen.end() == 0
    assert "✓  1 demo:demo" in screen.screen
    assert b"\x1b[1m" in screen.raw, "headings are bold"
    assert max(map(len, screen.screen.splitlines())) <= 80


def test_machines_get_the_apis_data(gateway: Gateway) -> None:
    arguments = ("--user", "acme:alice", "--metadata", "data=a=b", "--needs", "tools,images", "--needs", "seed")
    numbers = ("--input-tokens", "20", "--max-tokens", "30", "--n", "2", "--stream", "--role", "tenant_admin")
    done = scaigrid("explain", "--model", "alpha", *arguments, *numbers, "--json", cwd=gateway.folder)
    call = json.loads(done.stdout)["call"]
    assert call["metadata"] == {"data": "a=b"}
    assert call["needs"] == ["images", "n", "seed", "streaming", "tools"]
    assert (call["user_id"], call["roles"]) == ("acme:alice", ["tenant_user", "tenant_admin"])
    assert (call["input_tokens"], call["max_tokens"], call["n"]) == (20, 30, 2)
    query = "model=alpha&user=acme:alice&needs=seed,tools,images&metadata.data=a%3Db&role=tenant_admin"
    asked = gateway.get(f"/v1/routing/explain?{query}&input_tokens=20&max_tokens=30&n=2&stream=true")
    assert asked.json()["data"] == json.loads(done.stdout)


def test_a_question_that_cannot_be_meant_is_one_line_and_1(gateway: Gateway) -> None:
    done = scaigrid("explain", "--model", "alpa", cwd=gateway.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("scaigrid: MODEL_NOT_FOUND: ")
    assert "did you mean 'alpha'?" in done.stderr
