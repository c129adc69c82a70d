"""The Google family's part of sdk_story: generateContent and countTokens of a Gemini 3, as Google takes and gives them.

It signs the first call of an answer whether it shows its thoughts or not, and answers 400 when the call comes back
without that signature or the word that Google documents for calls whose signature is lost. `signatures` tells which
came. Its calls have no ids of their own.
"""

from __future__ import annotations

import json
from typing import Any

from support import sdk_story as story
from support.sdk_story import demand, demand_members
from support.upstream import Call

SIGNATURE = "EpwICpkIAXLI2nxlU6gsWZaZHRYkX1orzuM8vSUFwaAt1JRxEC2h+/==" * 3
STAND_IN = "skip_thought_signature_validator"
COUNTED = 432
MEMBERS = "contents systemInstruction tools toolConfig generationConfig safetySettings cachedContent"
CONFIG_MEMBERS = """candidateCount frequencyPenalty logprobs maxOutputTokens presencePenalty responseJsonSchema
responseLogprobs responseMimeType responseModalities responseSchema seed stopSequences temperature thinkingConfig topK
topP"""
PARTS = "text thought thoughtSignature functionCall functionResponse inlineData fileData"
Part = dict[str, Any]


async def answer(call: Call) -> None:
    path, _, query = call.path.partition("?")
    method = path.rpartition(":")[2]
    demand(call.headers.get("x-goog-api-key") == "goog-test", "API key not valid")
    demand(path.startswith("/v1beta/models/gemini-3"), f"no {path}")
    if method == "countTokens":
        demand_members(call.json, "contents generateContentRequest", "body")
        _check_request({k: v for k, v in call.json["generateContentRequest"].items() if k != "model"})
        await call.reply(200, {"totalTokens": COUNTED})
        return
    body = call.json
    _check_request(body)
    parts = _parts(body)
    head = {"modelVersion": "gemini-3-pro-preview", "responseId": "resp-abc_123"}
    if method == "streamGenerateContent":
        demand(query == "alt=sse", f"streamed with {query!r}")
        await call.stream(_chunks(head, parts))
        return
    demand(method == "generateContent", f"no method {method}")
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}
    await call.reply(200, {"candidates": [candidate], "usageMetadata": _usage(), **head})


def _check_request(body: dict[str, Any]) -> None:
    demand_members(body, MEMBERS, "body")
    config = body.get("generationConfig", {})
    demand_members(config, CONFIG_MEMBERS, "generationConfig")
    for index, content in enumerate(body["contents"]):
        demand_members(content, "role parts", f"contents[{index}]")
        demand(content["role"] == ("user", "model")[index % 2], f"contents[{index}]: roles must alternate")
        demand(content["parts"], f"contents[{index}]: no parts")
        for part in content["parts"]:
            demand_members(part, PARTS, f"contents[{index}].parts")
    for tool in body.get("tools", []):
        demand_members(tool, "functionDeclarations", "tools")
        for declared in tool["functionDeclarations"]:
            demand_members(declared, "name description parametersJsonSchema", "functionDeclarations")
            if declared["name"] == story.TOOL:
                demand(declared["description"] == story.TOOL_DESCRIPTION, "functionDeclarations: description")
                story.demand_parameters(declared["parametersJsonSchema"], "parametersJsonSchema")
    if "responseJsonSchema" in config:
        demand(config.get("responseMimeType") == "application/json", "responseMimeType")
        story.demand_report(config["responseJsonSchema"], "responseJsonSchema")
        demand("$schema" not in config["responseJsonSchema"], "responseJsonSchema: $schema")


def _parts(body: dict[str, Any]) -> list[Part]:
    last = body["contents"][-1]["parts"]
    if any("functionResponse" in part for part in last):
        _check_history(body["contents"])
    elif body.get("tools"):
        shows = body.get("generationConfig", {}).get("thinkingConfig", {}).get("includeThoughts")
        thought = [{"text": story.THOUGHT, "thought": True}] if shows else []
        first, second = ({"functionCall": {"name": story.TOOL, "args": {"city": city}}} for city in story.CITIES)
        return [*thought, {"text": story.LEAD_IN}, {**first, "thoughtSignature": SIGNATURE}, second]
    wants_report = "responseJsonSchema" in body.get("generationConfig", {})
    return [{"text": story.REPORT_TEXT if wants_report else story.PLAIN_ANSWER}]


def _check_history(contents: list[dict[str, Any]]) -> None:
    demand(len(contents) >= 3, "contents: a result without a question and a call before it")
    asked, said, told = contents[-3:]
    demand(asked["parts"][-1].get("text") == story.QUESTION, "contents: the question is another one")
    spoken = [part["text"] for part in said["parts"] if "text" in part and not part.get("thought")]
    demand(spoken == [story.LEAD_IN], f"contents: the model said {spoken}")
    calls = [part for part in said["parts"] if "functionCall" in part]
    demand([call["functionCall"]["name"] for call in calls] == [story.TOOL] * 2, f"contents: the calls are {calls}")
    demand(
        [call["functionCall"]["args"] for call in calls] == [{"city": city} for city in story.CITIES],
        f"contents: the arguments are {calls}",
    )
    signed = [call.get("thoughtSignature") for call in calls]
    demand(
        signed in ([SIGNATURE, None], [STAND_IN, None]),
        f"contents: Function call is missing a thought_signature: {signed}",
    )
    ids = {call["functionCall"]["args"]["city"]: call["functionCall"].get("id") for call in calls}
    demand(len(set(ids.values())) == len(ids), f"contents: ids {ids}")
    responses = [part.get("functionResponse") for part in told["parts"]]
    demand(all(responses), f"contents: more than responses among {told['parts']}")
    demand([response["name"] for response in responses] == [story.TOOL] * 2, "functionResponse.name")
    story.demand_results([(response.get("id"), response["response"].get("output")) for response in responses], ids)


def signatures(calls: list[Call]) -> set[str]:
    """Those that came back with the model's calls in these requests."""
    contents = [content for call in calls if "generateContent" in call.path.replace("streamG", "g")
                for content in call.json["contents"]]  # fmt: skip
    parts = [part for content in contents for part in content["parts"] if "functionCall" in part]
    return {part["thoughtSignature"] for part in parts if "thoughtSignature" in part}


def _usage() -> dict[str, Any]:
    spoken = story.OUTPUT_TOKENS - story.THOUGHT_TOKENS
    return {
        "promptTokenCount": story.INPUT_TOKENS,
        "candidatesTokenCount": spoken,
        "thoughtsTokenCount": story.THOUGHT_TOKENS,
        "totalTokenCount": story.INPUT_TOKENS + story.OUTPUT_TOKENS,
    }


def _chunks(head: dict[str, Any], parts: list[Part]) -> list[bytes]:
    """Text in pieces, each call whole, and a last chunk that has the finish reason and hardly a word."""
    told = [[piece] for part in parts for piece in _pieces_of(part)]
    candidates = [{"content": {"parts": part, "role": "model"}, "index": 0} for part in told]
    candidates.append({"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0})
    chunks = [{"candidates": [candidate], "usageMetadata": _usage(), **head} for candidate in candidates]
    return [f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks]


def _pieces_of(part: Part) -> list[Part]:
    if "text" not in part:
        return [part]
    return [{**part, "text": piece} for piece in story.pieces(part["text"], 9)]
