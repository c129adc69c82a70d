"""LangChain's ChatOpenAI through one conversation, told by the environment's STORY (JSON of sdk_programs.py).

`python langchain_chat.py chat|responses`. Prints one JSON object of what came back; judges nothing itself.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

STORY: dict[str, Any] = json.loads(os.environ["STORY"])


class Report(BaseModel):
    """The warmest of the cities asked for."""

    warmest: str
    degrees: int


@tool(STORY["tool"], description=STORY["description"])
def get_weather(city: str) -> str:
    result: str = STORY["results"][city]
    return result


def main(api: str) -> None:
    model = ChatOpenAI(
        model=STORY["model"],
        base_url=f"{STORY['url']}/oai/v1",
        api_key=STORY["key"],
        max_retries=0,
        stream_usage=True,
        use_responses_api=api == "responses",
    )
    turns = [SystemMessage(STORY["system"]), HumanMessage(STORY["question"])]
    with_tools = model.bind_tools([get_weather], strict=True)
    reporter = model.bind_tools([get_weather], strict=True, response_format=Report)

    first = with_tools.invoke(turns)
    whole = reporter.invoke([*turns, first, *results_of(first)])

    said = joined(list(with_tools.stream(turns)))
    chunks = list(reporter.stream([*turns, said, *results_of(said)]))
    streamed = joined(chunks)
    plain = model.with_structured_output(Report, method="json_schema").invoke(turns)
    assert isinstance(plain, Report)
    usage = streamed.usage_metadata
    print(
        json.dumps(
            {
                "reports": [json.loads(whole.text), json.loads(streamed.text), plain.model_dump()],
                "usage": [usage["input_tokens"], usage["output_tokens"]],
                "pieces": len([chunk for chunk in chunks if chunk.text]),
            }
        )
    )


def results_of(said: Any) -> list[ToolMessage]:
    results = [get_weather.invoke(call) for call in said.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    return results


def joined(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


main(sys.argv[1])
