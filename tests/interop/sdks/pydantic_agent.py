"""An agent of pydantic-ai through one conversation, told by the environment's STORY (JSON of sdk_programs.py).

`python pydantic_agent.py chat|responses|anthropic` says which dialect it speaks to the gateway. Prints one JSON object
of what came back; judges nothing itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterable
from typing import Any

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, Tool
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

STORY: dict[str, Any] = json.loads(os.environ["STORY"])


class Report(BaseModel):
    warmest: str
    degrees: int


# What a frontend model can do its name does not tell; these are the framework's own words for it.
CAN = ModelProfile(supports_json_schema_output=True)
CAN_OPENAI = OpenAIModelProfile(supports_json_schema_output=True, openai_supports_encrypted_reasoning_content=True)


def model_of(dialect: str) -> Model:
    name, key = STORY["model"], STORY["key"]
    if dialect == "anthropic":
        claude = AsyncAnthropic(base_url=f"{STORY['url']}/anthropic", api_key=key, max_retries=0)
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=claude), profile=CAN)
    client = AsyncOpenAI(base_url=f"{STORY['url']}/oai/v1", api_key=key, max_retries=0)
    kind = OpenAIChatModel if dialect == "chat" else OpenAIResponsesModel
    return kind(name, provider=OpenAIProvider(openai_client=client), profile=CAN_OPENAI)


async def main(dialect: str) -> None:
    asked_for: list[str] = []

    def get_weather(city: str) -> str:
        asked_for.append(city)
        result: str = STORY["results"][city]
        return result

    weather = Tool(get_weather, name=STORY["tool"], description=STORY["description"])
    agent = Agent(
        model_of(dialect), instructions=STORY["system"], tools=[weather], output_type=NativeOutput(Report), retries=0
    )
    whole = await agent.run(STORY["question"])

    # run_stream takes the first text for the answer, also one before a call; this way streams every step to the end.
    seen: list[str] = []

    async def listen(_: Any, told: AsyncIterable[Any]) -> None:
        seen.extend([event.event_kind async for event in told])

    streamed = await agent.run(STORY["question"], event_stream_handler=listen)
    plain = Agent(model_of(dialect), instructions=STORY["system"])
    async with plain.run_stream(STORY["question"]) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    usage = whole.usage
    print(
        json.dumps(
            {
                "reports": [whole.output.model_dump(), streamed.output.model_dump()],
                "asked_for": sorted(asked_for),
                "usage": [usage.input_tokens, usage.output_tokens],
                "ran": "".join(pieces),
                "pieces": len(pieces),
                "calls_seen": seen.count("function_tool_call"),
            }
        )
    )


asyncio.run(main(sys.argv[1]))
