"""SDKs that are not in the development lock hold the conversation of support.sdk_story with three families each.

Node: OpenAI's and Anthropic's own. Python: LangChain's ChatOpenAI, and agents of pydantic-ai in all three dialects.
Only the base URL is ours. What a provider demands is checked by the upstream, what came back is checked here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from support import sdk_anthropic, sdk_google, sdk_units
from support import sdk_story as story
from support.appliance import Gateway
from support.sdk_programs import TEXTS, told
from support.sdk_upstream import FAMILIES, running_families

all_families = pytest.mark.parametrize("model", FAMILIES)
thinking_or_not = pytest.mark.parametrize("effort", ["", "low"], ids=["plain", "thinking"])
USAGE = [story.INPUT_TOKENS, story.OUTPUT_TOKENS]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_families(tmp_path_factory.mktemp("sdks")) as (gateway, _):
        yield gateway


def check(printed: dict[str, Any], reports: int = 2) -> None:
    assert printed["reports"] == [story.REPORT] * reports
    assert printed["usage"] == USAGE
    assert printed["pieces"] > 2


@all_families
@thinking_or_not
def test_openais_node_sdk_chats(families: Gateway, model: str, effort: str) -> None:
    printed = told(families, "openai_node.mjs", "chat", model=model, effort=effort)
    check(printed)
    assert printed["ran"] == story.PLAIN_ANSWER
    assert printed["thought"] == (story.THOUGHT if effort and model != "family-openai" else "")


@all_families
@thinking_or_not
def test_openais_node_sdk_speaks_responses(families: Gateway, model: str, effort: str) -> None:
    printed = told(families, "openai_node.mjs", "responses", model=model, effort=effort)
    check(printed)
    assert printed["thought"] == (story.THOUGHT if effort and model != "family-openai" else "")


@pytest.mark.parametrize(
    "models",
    [
        {"embed": "embed-openai", "image": "image-openai", "hear": "hear-openai", "speak": "speak-openai"},
        {"embed": "embed-google", "image": "image-google", "hear": "hear-groq", "speak": "speak-groq"},
        {"embed": "embed-mistral", "image": "image-xai", "hear": "hear-mistral", "speak": "speak-custom"},
    ],
    ids=["openai", "google and groq", "mistral, xai and custom"],
)
def test_openais_node_sdk_embeds_paints_hears_and_speaks(families: Gateway, models: dict[str, str]) -> None:
    printed = told(families, "openai_node.mjs", "units", models=models)
    assert printed["vectors"] == [sdk_units.vector(text) for text in TEXTS]
    assert base64.b64decode(printed["picture"]) == sdk_units.PNG
    assert printed["heard"] == sdk_units.TRANSCRIPT
    assert base64.b64decode(printed["spoken"]) == sdk_units.MP3


@all_families
@thinking_or_not
def test_anthropics_node_sdk(families: Gateway, model: str, effort: str) -> None:
    if effort and model == "family-openai":
        effort = ""  # OpenAI's chat completions show no thought, so there is none to be carried
    printed = told(families, "anthropic_node.mjs", model=model, effort=effort)
    check(printed)
    assert printed["ran"] == story.PLAIN_ANSWER
    assert printed["thought"] == (story.THOUGHT if effort else "")
    counts = {"family-anthropic": sdk_anthropic.COUNTED, "family-google": sdk_google.COUNTED}
    assert printed["counted"] == counts.get(model, printed["counted"]) > 0


@all_families
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_langchains_chat_openai(families: Gateway, model: str, api: str) -> None:
    check(told(families, "langchain_chat.py", api, model=model), reports=3)


@all_families
@pytest.mark.parametrize("dialect", ["chat", "responses", "anthropic"])
def test_agents_of_pydantic_ai(families: Gateway, model: str, dialect: str) -> None:
    printed = told(families, "pydantic_agent.py", dialect, model=model)
    assert printed["reports"] == [story.REPORT] * 2
    assert printed["asked_for"] == sorted(story.CITIES * 2)
    assert printed["calls_seen"] == len(story.CITIES)
    # Two calls make one run.
    assert printed["usage"] == [2 * tokens for tokens in USAGE]
    assert printed["ran"] == story.PLAIN_ANSWER
    assert printed["pieces"] > 2
