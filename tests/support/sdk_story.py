"""The one conversation that every SDK holds with every family of upstreams: its question, calls, results and answers.

The model thinks, says a word, calls `get_weather` twice in one answer, and from both results makes a report that is
held to a schema. What differs by family (ids, signatures, forms) stands in sdk_openai, sdk_anthropic and sdk_google.
"""

from __future__ import annotations

import json
from typing import Any

SYSTEM = "Be brief."
QUESTION = "Which is warmer today, Delft or Ghent? Grüße 👋"
TOOL = "get_weather"
TOOL_DESCRIPTION = "The weather in a city"
CITIES = ("Delft", "Ghent")
RESULTS = {"Delft": "18 degrees", "Ghent": "21 degrees"}
THOUGHT = "Two cities: I need the weather of both — ☁."
LEAD_IN = "Let me look that up."
REPORT = {"warmest": "Ghent", "degrees": 21}
REPORT_TEXT = json.dumps(REPORT)
PLAIN_ANSWER = "Ghent is warmer: 21 degrees. 🌤"
INPUT_TOKENS, OUTPUT_TOKENS, THOUGHT_TOKENS = 120, 30, 12

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class Refused(Exception):
    """The provider answers 400 with this text: the test that caused it fails with it."""


def demand(truth: object, problem: str) -> None:
    if not truth:
        raise Refused(problem)


def demand_members(value: dict[str, Any], allowed: str, where: str) -> None:
    foreign = set(value) - set(allowed.split())
    demand(not foreign, f"{where}: unknown members {sorted(foreign)}")


def demand_parameters(schema: dict[str, Any], where: str) -> None:
    """The tool's schema arrived with all that it says; SDKs add titles and descriptions of their own."""
    demand(schema.get("type") == "object", f"{where}: is no object schema")
    demand(schema["properties"]["city"].get("type") == "string", f"{where}: city is no string")
    demand(schema.get("required") == ["city"], f"{where}: city is not required")


def demand_report(schema: dict[str, Any], where: str) -> None:
    demand(set(schema["properties"]) == set(REPORT), f"{where}: has {sorted(schema['properties'])}")
    demand(sorted(schema.get("required", [])) == sorted(REPORT), f"{where}: not everything is required")


def demand_results(results: list[tuple[str, str]], ids: dict[str, str]) -> None:
    """(id of the call, text) in the order of the calls, one for each. `ids`: city → id."""
    expected = [(ids[city], RESULTS[city]) for city in CITIES]
    demand(results == expected, f"tool results: got {results}, expected {expected}")


def pieces(text: str, size: int = 5) -> list[str]:
    return [text[place : place + size] for place in range(0, len(text), size)]
