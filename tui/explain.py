"""`scaigrid explain`: the decision for a call as people read it, within 90 columns. The appliance made it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from tui.client import Client
from tui.locate import Place
from tui.output import print_json, visible

WIDTH = 90
_NAME_WIDTH = 30
_NUMBERS = ("share", "prio", "weight", "health", "p50 ms", "p95 ms", "running")
_WIDTHS = (6, 5, 7, 12, 7, 7, 8)
_INDENT = " " * 5


class Line(NamedTuple):
    text: str
    style: str = ""


async def explain(place: Place, query: Mapping[str, str], *, as_json: bool) -> None:
    async with Client(place) as client:
        found = await client.get("/v1/routing/explain", query)
    if as_json:
        print_json(found)
        return
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if sys.stdout.isatty() else WIDTH
    console = Console(highlight=False) if sys.stdout.isatty() else None
    for line in report(found, width):
        if console:
            console.out(visible(line.text), style=line.style or None)
        else:
            sys.stdout.write(f"{visible(line.text)}\n")


def report(found: Mapping[str, Any], width: int = WIDTH) -> list[Line]:
    """Nothing is shortened; what is too long goes on in the next line."""
    return [
        *_head(found, width),
        Line(""),
        *_targets(found["targets"], width),
        Line(""),
        *_rates(found["rate_limits"], width),
        Line(""),
        *_budgets(found["budgets"], width),
        Line(""),
        *_worst_case(found, width),
    ]


# -- what is asked ----------------------------------------------------------------------------------------------------


def _head(found: Mapping[str, Any], width: int) -> Iterator[Line]:
    model, policy, call = found["model"], found["policy"], found["call"]
    passed = "".join(f"{name} → " for name in found["passed_on_by"])
    status = "" if model["status"] == "active" else f" ({model['status']})"
    yield from _wrapped(
        f"model {passed}{model['name']}{status}, policy {policy['name']}: {_order(policy)}", width, "bold"
    )
    yield from _wrapped(_attempts(policy), width, indent="  ")
    yield from _wrapped(_caller(call), width)
    if found["passed_on_by"]:
        yield from _wrapped("the input is longer than the context window: the call is passed on", width, indent="  ")
    elif fallback := _fallback(model["fallback"]):
        yield from _wrapped(fallback, width, indent="  ")
    if policy["sticky"] != "none" and not call["sticks"]:
        hint = "--metadata conversation_id=ID" if policy["sticky"] == "conversation" else "--user USER"
        yield from _wrapped(f"sticky by {policy['sticky']}, and none is named: give {hint}", width, indent="  ")
    if refused := found["access"]["refused"]:
        yield from _wrapped(f"✗ refused, {refused['code']}: {refused['message']}", width)


def _order(policy: Mapping[str, Any]) -> str:
    explore = f", explore {policy['explore']:g}" if policy["explore"] is not None else ""
    sticky = "" if policy["sticky"] == "none" else f", sticky by {policy['sticky']}"
    return f"{policy['strategy']}{explore}{sticky}"


def _attempts(policy: Mapping[str, Any]) -> str:
    retries = f"{policy['retries']} {'retry' if policy['retries'] == 1 else 'retries'}"
    parts = [f"{retries} on {', '.join(policy['retry_on']) or 'nothing'}" if policy["retries"] else "no retries"]
    parts.append(f"deadline {policy['deadline_s']:g} s")
    if breaker := policy["circuit_breaker"]:
        rule = f"{breaker['failures']} failures in {breaker['window_s']:g} s, then {breaker['cooldown_s']:g} s off"
        parts.append(f"breaker: {rule}")
    else:
        parts.append("no breaker")
    if hedge := policy["hedge"]:
        share = f"{hedge['max_share'] * 100:g} % of calls"
        parts.append(f"hedge: p{hedge['percentile']}, at least {hedge['min_delay_s']:g} s, at most {share}")
    return "; ".join(parts)


def _caller(call: Mapping[str, Any]) -> str:
    who = call["user_id"] or f"anybody of {call['tenant_id']}"
    roles = f" ({', '.join(call['roles'])})" if call["roles"] else ""
    parts = [f"{call['operation']} by {who}{roles}: about {call['input_tokens']} tokens in"]
    if call["expected_output_tokens"] is not None:
        parts.append(f"{call['expected_output_tokens']} expected out")
    if call["needs"]:
        parts.append(f"needs {', '.join(call['needs'])}")
    parts += [f"{name}={value}" for name, value in call["metadata"].items()]
    return ", ".join(parts)


def _fallback(fallback: Mapping[str, Any]) -> str:
    reasons = {"context_window": "an input that is too long", "content_filter": "what a filter refuses"}
    parts = [f"{fallback[name]} takes over {what}" for name, what in reasons.items() if fallback[name]]
    return "; ".join(parts)


# -- targets ----------------------------------------------------------------------------------------------------------


def _targets(targets: Sequence[Mapping[str, Any]], width: int) -> Iterator[Line]:
    longest = max((len(target["backend"]) for target in targets), default=0)
    name_width = min(max(longest, len("target")), _NAME_WIDTH)
    numbers = "".join(title.rjust(size) for title, size in zip(_NUMBERS, _WIDTHS, strict=True))
    yield Line(f"{_INDENT}{'target'.ljust(name_width)}{numbers}", "bold")
    for target in targets:
        style = "" if target["taken"] else "dim"
        mark = f"✓{target['place']:>3}" if target["taken"] else "✗   "
        row = "".join(cell.rjust(size) for cell, size in zip(_row(target), _WIDTHS, strict=True))
        if len(target["backend"]) > name_width:
            yield Line(f"{mark} {target['backend']}", style)
            yield Line(f"{_INDENT}{' ' * name_width}{row}", style)
        else:
            yield Line(f"{mark} {target['backend'].ljust(name_width)}{row}", style)
        for said in _said(target):
            yield from _wrapped(said, width, style, indent=_INDENT)


def _row(target: Mapping[str, Any]) -> tuple[str, ...]:
    streamed = target["first_token_ms_p50"] is not None
    measured = "first_token_ms" if streamed else "total_ms"
    return (
        f"{target['share'] * 100:.4g} %" if target["taken"] else "-",
        str(target["priority"]),
        str(target["weight"]),
        target["health_status"],
        _number(target[f"{measured}_p50"]),
        _number(target[f"{measured}_p95"]),
        str(target["in_flight"]),
    )


def _said(target: Mapping[str, Any]) -> Iterator[str]:
    yield target["reason"]
    if not target["taken"]:
        return
    if held := target["held_back"]:
        words = {
            "open": "its circuit is open: passed over",
            "probing": "a probe is under way: passed over",
            "spared": "it asked to be spared: asked after all others",
        }
        yield f"! {words[held['reason']]} for {held['wait_s']:g} s"
    elif target["circuit_breaker"] != "closed":
        yield f"! its circuit is {target['circuit_breaker']}: this call may be the probe"
    queue = target["queue"]
    used = f"{queue['in_use']} of {queue['limit']} connections in use, {queue['waiting']} wait"
    yield f"{target['expected_cost']} USD expected, {target['worst_cost']} at worst; {used}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


# -- limits -----------------------------------------------------------------------------------------------------------

_RATES = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "concurrent_requests": "at the same time",
}


def _rates(rates: Mapping[str, Any], width: int) -> Iterator[Line]:
    yield from _wrapped(f"rate limits: the call counts 1 request and {rates['tokens']} tokens", width, "bold")
    for item in rates["items"]:
        parts = [f"{_used(item[name])} {what}" for name, what in _RATES.items() if item[name]]
        mark = "✗" if item["refused"] else "✓"
        yield from _wrapped(f"{mark} {item['subject']}: {', '.join(parts) or 'none'}", width, hanging=2)
        if item["refused"]:
            yield from _wrapped(_refusal(item["refused"]), width, indent=_INDENT)


def _used(counted: Mapping[str, Any]) -> str:
    return str(counted["limit"]) if counted["used"] is None else f"{counted['used']} of {counted['limit']}"


def _budgets(budgets: Mapping[str, Any], width: int) -> Iterator[Line]:
    yield Line("budgets" if budgets["items"] else "budgets: none applies", "bold")
    for item in budgets["items"]:
        parts = [_balance(item[name], unit) for name, unit in _UNITS.items() if item[name]]
        named = f" {item['name']}" if item["name"] else ""
        resets = f"; resets {item['resets_at']}" if item["resets_at"] else ""
        action = "" if item["hard_action"] == "block" else f" ({item['hard_action']} only)"
        text = f"{item['subject']} {item['period']}{named}{action}: {', '.join(parts) or 'not shown'}{resets}"
        yield from _wrapped(f"{'✓' if item['fits'] else '✗'} {text}", width, hanging=2)
    if budgets["refused"]:
        yield from _wrapped(_refusal(budgets["refused"]), width, indent=_INDENT)


_UNITS = {"cost": "USD", "tokens": "tokens", "requests": "requests"}


def _balance(balance: Mapping[str, Any], unit: str) -> str:
    used = f"{balance['used']} of {balance['limit']} {unit} used"
    return f"{used}, {balance['reserved']} reserved, {balance['remaining']} left"


def _refusal(refused: Mapping[str, Any]) -> str:
    wait = f"; try again in {refused['retry_after']:.0f} s" if "retry_after" in refused else ""
    return f"{refused['code']}: {refused['message']}{wait}"


def _worst_case(found: Mapping[str, Any], width: int) -> Iterator[Line]:
    worst = found["worst_case"]
    parts = [f"{worst['input_tokens']} tokens in", f"{worst['output_tokens']} out"]
    parts += [f"{count} {name}" for name, count in worst["units"].items()]
    yield from _wrapped(f"worst case: {worst['cost']} USD ({', '.join(parts)})", width, "bold")
    if worst["clamped_to"] is not None:
        text = f"the budgets cover no longer answer: the cap would be lowered to {worst['clamped_to']} tokens"
        yield from _wrapped(text, width, indent="  ")


def _wrapped(text: str, width: int, style: str = "", *, indent: str = "", hanging: int = 2) -> Iterable[Line]:
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + " " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [Line(line, style) for line in lines]
