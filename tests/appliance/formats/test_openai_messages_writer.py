"""The messages of an OpenAI-protocol request: each quirk of form, and what cannot be carried."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.formats.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from appliance.formats.openai_messages_writer import encode_messages, short_ids
from appliance.formats.openai_quirks import ANY, Quirks

HINT = {"type": "ephemeral", "ttl": "1h"}
IMAGE = ImagePart(url="https://x.test/a.png")


def written(*messages: Message, model: str = "m", **quirks: Any) -> list[dict[str, Any]]:
    return encode_messages(ChatRequest("front", list(messages)), Quirks(**quirks), model)


def assistant(*parts: Part, model: str = "m", **quirks: Any) -> dict[str, Any]:
    (message,) = written(Message("assistant", list(parts)), model=model, **quirks)
    return {name: value for name, value in message.items() if name != "role"}


def content(*parts: Part, role: Any = "user", **quirks: Any) -> Any:
    return written(Message(role, list(parts)), **quirks)[0]["content"]


def result(*parts: Part, call_id: str = "c", cache: dict[str, Any] | None = None) -> Message:
    return Message("tool", [ToolResultPart(call_id, list(parts), cache=cache)])


# -- roles and turns --------------------------------------------------------------------------------------------------


def test_roles_and_names() -> None:
    message = Message("developer", [TextPart("x")], name="n")
    assert written(message) == [{"role": "developer", "content": "x", "name": "n"}]
    assert written(message, developer=False, names=False) == [{"role": "system", "content": "x"}]


def test_a_turn_of_the_assistant_where_the_server_insists_on_one() -> None:
    user = Message("user", [TextPart("x")])
    messages = [result(TextPart("1")), result(TextPart("2")), user, user]
    roles = [message["role"] for message in written(*messages, bridge="OK")]
    assert roles == ["tool", "tool", "assistant", "user", "user"]
    assert written(*messages, bridge="OK")[2]["content"] == "OK"
    assert len(written(*messages)) == 4


def test_neighbours_of_one_role_become_one() -> None:
    user, image = Message("user", [TextPart("x")]), Message("user", [TextPart("y"), IMAGE])
    one, two = Message("assistant", [TextPart("a")]), Message("assistant", [ToolCallPart("c", "f")])
    texts = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
    (joined, said) = written(user, image, one, two, alternates=True)
    assert joined == {"role": "user", "content": [*texts, {"type": "image_url", "image_url": {"url": IMAGE.url}}]}
    assert (said["content"], len(said["tool_calls"])) == ([{"type": "text", "text": "a"}], 1)
    assert len(written(user, image, one, two)) == 4
    system = Message("system", [TextPart("x")])
    assert len(written(system, system, alternates=True)) == 2


def test_the_beginning_of_an_answer() -> None:
    request = ChatRequest("front", [Message("assistant", [TextPart("It is")])], prefill=True)
    assert encode_messages(request, Quirks(prefill={"prefix": True}), "m")[-1]["prefix"] is True
    request.prefill = False
    assert "prefix" not in encode_messages(request, Quirks(prefill={"prefix": True}), "m")[-1]


# -- ids --------------------------------------------------------------------------------------------------------------


def test_ids_of_nine_are_kept_and_others_mapped_the_same_everywhere() -> None:
    calls: list[Part] = [ToolCallPart("call_1", "f"), ToolCallPart("aB3dE6gH9", "g")]
    messages = [Message("assistant", calls), result(TextPart("1"), call_id="call_1")]
    said, answered = written(*messages, call_ids="nine")
    first, second = (call["id"] for call in said["tool_calls"])
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)
    assert (second, answered["tool_call_id"]) == ("aB3dE6gH9", first)
    assert short_ids([result(call_id="call_1")])["call_1"] == first


def test_a_mapped_id_never_meets_one_that_is_there() -> None:
    taken = short_ids([result(call_id="call_1")])["call_1"]
    ids = short_ids([result(call_id="call_1"), result(call_id=taken)])
    assert ids[taken] == taken
    assert ids["call_1"] != taken
    assert re.fullmatch("[a-zA-Z0-9]{9}", ids["call_1"])


@given(st.lists(st.text(max_size=12), unique=True, max_size=20))
def test_two_ids_never_become_one(said: list[str]) -> None:
    ids = short_ids([result(call_id=call_id) for call_id in said])
    assert len(set(ids.values())) == len([call_id for call_id in said if call_id])


# -- reasoning --------------------------------------------------------------------------------------------------------

SIGNED = ReasoningPart("why", "sig", origin="anthropic")
CALL = ToolCallPart("c", "f", signature="g", origin="google")


@pytest.mark.parametrize("member", ["reasoning", "reasoning_content"])
def test_reasoning_in_a_member(member: Any) -> None:
    said = assistant(SIGNED, ReasoningPart(redacted="blob"), ReasoningPart("!"), TextPart("x"), reasoning=member)
    assert said == {"content": "x", member: "why!"}
    assert assistant(TextPart("x"), reasoning=member) == {"content": "x"}


def test_reasoning_as_chunks_stays_where_it_was() -> None:
    said = assistant(TextPart("a"), ReasoningPart("b"), ReasoningPart(redacted="blob"), CALL, reasoning="chunks")
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}
    assert said["content"] == [{"type": "text", "text": "a"}, thinking]


def test_an_empty_reasoning_stands_in_where_the_server_insists() -> None:
    needs: dict[str, Any] = {"reasoning": "reasoning_content", "reasoning_needed": True}
    said = Message("assistant", [TextPart("x")])
    assert written(said, **needs)[0] == {"role": "assistant", "content": "x"}
    assert written(said, result(TextPart("1")), **needs)[0]["reasoning_content"] == ""
    with_tools = ChatRequest("front", [said], tools=[Tool("f")])
    assert encode_messages(with_tools, Quirks(**needs), "m")[0]["reasoning_content"] == ""


def test_models_that_take_no_reasoning_get_none() -> None:
    quirks: dict[str, Any] = {"reasoning": "reasoning", "reasoning_models": re.compile("gpt-oss")}
    assert assistant(SIGNED, model="llama", **quirks) == {"content": ""}
    assert assistant(SIGNED, model="gpt-oss", **quirks) == {"content": "", "reasoning": "why"}


DETAILS: dict[str, Any] = {
    "reasoning": "details",
    "signed": None,
    "opaque": ((re.compile("claude"), "anthropic"), (re.compile("gemini"), "google")),
}


def test_what_is_opaque_goes_back_to_its_own_provider_only() -> None:
    redacted = ReasoningPart(redacted="blob", origin="anthropic")
    said = assistant(SIGNED, redacted, CALL, model="claude", **DETAILS)
    kept = [(d["type"], d.get("signature"), d.get("data")) for d in said["reasoning_details"]]
    assert kept == [("reasoning.text", "sig", None), ("reasoning.encrypted", None, "blob")]
    said = assistant(SIGNED, redacted, CALL, model="gemini", **DETAILS)
    signature = {"type": "reasoning.encrypted", "data": "g", "id": "c", "format": "google-gemini-v1"}
    assert said["reasoning_details"] == [signature]
    assert "reasoning" not in said
    assert assistant(SIGNED, redacted, model="gemini", **DETAILS) == {"content": ""}


def test_where_nobody_asks_for_signatures_the_text_goes_along() -> None:
    assert assistant(SIGNED, model="llama", **DETAILS) == {"content": "", "reasoning": "why"}
    assert assistant(ReasoningPart("why"), model="claude", **DETAILS) == {"content": "", "reasoning": "why"}


def test_details_with_an_id_go_back_as_they_came() -> None:
    said = assistant(ReasoningPart("why", id="r1"), model="llama", **DETAILS)
    assert said["reasoning_details"] == [{"type": "reasoning.text", "text": "why", "id": "r1"}]


# -- calls and results ------------------------------------------------------------------------------------------------


def test_a_thought_signature_goes_only_to_those_who_made_it() -> None:
    google = {"google": {"thought_signature": "g"}}
    assert assistant(CALL, signed=ANY)["tool_calls"][0]["extra_content"] == google
    assert "extra_content" not in assistant(CALL, signed=None)["tool_calls"][0]
    foreign = ToolCallPart("c", "f", signature="g", origin="responses")
    assert "extra_content" not in assistant(foreign, signed=ANY)["tool_calls"][0]


def test_a_word_stands_in_for_a_missing_signature_of_the_first_call() -> None:
    quirks: dict[str, Any] = {"signed": ANY, "unsigned": (re.compile("gemini-3"), "skip")}
    calls = assistant(ToolCallPart("a", "f"), ToolCallPart("b", "f"), model="gemini-3", **quirks)["tool_calls"]
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "skip"}}
    assert "extra_content" not in calls[1]
    assert assistant(CALL, model="gemini-3", **quirks)["tool_calls"][0]["extra_content"]["google"] == {
        "thought_signature": "g"
    }
    assert "extra_content" not in assistant(ToolCallPart("a", "f"), model="gemini-2", **quirks)["tool_calls"][0]


def test_results() -> None:
    assert written(result())[0]["content"] == ""
    hinted = result(TextPart("a"), TextPart("b"), cache=HINT)
    last = {"type": "text", "text": "b", "cache_control": HINT}
    assert written(hinted, cache=ANY)[0]["content"] == [{"type": "text", "text": "a"}, last]
    assert written(hinted, cache=None)[0]["content"] == "a\nb"
    assert written(result(cache=HINT), cache=ANY)[0]["content"][0]["cache_control"] == HINT


def test_images_in_results_where_they_are_taken() -> None:
    assert written(result(TextPart("a"), IMAGE), tool_images=True)[0]["content"][1]["type"] == "image_url"
    with pytest.raises(GatewayError, match="type image cannot be sent to this target in a tool result"):
        written(result(IMAGE), images=False)


def test_elsewhere_images_of_results_follow_in_a_message_of_the_users() -> None:
    told, shown = written(result(TextPart("a"), IMAGE))
    assert told["content"] == "a\n[picture 1, shown in the next message]"
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]
    assert (told["role"], shown["role"]) == ("tool", "user")


# -- content ----------------------------------------------------------------------------------------------------------


def test_a_refusal_has_a_member_or_is_text() -> None:
    assert assistant(RefusalPart("no")) == {"content": None, "refusal": "no"}
    assert assistant(RefusalPart("no"), refusals=False) == {"content": "no"}


def test_several_texts() -> None:
    two = (TextPart("a"), TextPart("b"))
    assert content(*two) == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert content(*two, text_lists=False) == "a\nb"
    assert assistant(*two, text_lists=False)["content"] == "ab"
    assert len(content(*two, IMAGE, text_lists=False)) == 3
    assert len(content(TextPart("a", HINT), TextPart("b"), text_lists=False, cache=ANY)) == 2
    assert content(TextPart("a", HINT), TextPart("b"), text_lists=False, cache=None) == "a\nb"


def test_the_lifetime_of_a_hint_is_left_out_where_it_is_not_known() -> None:
    assert content(TextPart("a", HINT), cache=ANY)[0]["cache_control"] == HINT
    assert content(TextPart("a", HINT), cache=ANY, cache_ttl=False)[0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("object", {"data": "aGk=", "format": "wav"}),
        ("text", "aGk="),
        ("data_url", {"data": "data:;base64,aGk=", "format": "wav"}),
    ],
)
def test_audio(form: Any, expected: Any) -> None:
    assert content(AudioPart("aGk=", "wav"), audio=form) == [{"type": "input_audio", "input_audio": expected}]


DATA = FilePart(data="aGk=", media_type="application/pdf", filename="a.pdf")
DATA_URL = "data:application/pdf;base64,aGk="
LINK = FilePart(url="https://x.test/a.pdf")


@pytest.mark.parametrize(
    ("part", "form", "expected"),
    [
        (DATA, "object", {"type": "file", "file": {"filename": "a.pdf", "file_data": DATA_URL}}),
        (LINK, "object_or_url", {"type": "file", "file": {"filename": "document", "file_data": LINK.url}}),
        (DATA, "document", {"type": "document_url", "document_url": DATA_URL, "document_name": "a.pdf"}),
        (LINK, "document", {"type": "document_url", "document_url": LINK.url}),
        (FilePart(file_id="f"), "document", {"type": "file", "file_id": "f"}),
        (FilePart(file_id="f"), "object", {"type": "file", "file": {"file_id": "f"}}),
    ],
)
def test_files(part: FilePart, form: Any, expected: Any) -> None:
    assert content(part, files=form) == [expected]


@pytest.mark.parametrize(
    ("part", "quirks"),
    [
        (IMAGE, {"images": False}),
        (AudioPart("aGk=", "wav"), {"audio": ""}),
        (DATA, {"files": ""}),
        (LINK, {"files": "object"}),
        (ToolCallPart("c", "f"), {}),
    ],
)
def test_what_cannot_be_carried_is_named_with_its_place(part: Part, quirks: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        written(Message("user", [TextPart("x")]), Message("user", [part]), **quirks)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", "messages.1.content")
