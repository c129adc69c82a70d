from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from appliance.formats.google_contents import UNSIGNED_CALL, encode_contents

OLD, NEW = "gemini-2.5-flash", "gemini-3-pro-preview"
USER = Message("user", [TextPart("hi")])


def _contents(*messages: Message, model: str = OLD) -> list[dict[str, Any]]:
    return encode_contents([*messages], model)[1]


def _model_parts(*parts: Part, model: str = OLD) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = _contents(USER, Message("assistant", [*parts]), model=model)[1]["parts"]
    return said


def _call(call_id: str, name: str = "f", **members: Any) -> ToolCallPart:
    return ToolCallPart(call_id, name, "{}", **members)


def _result(call_id: str, *parts: Part, is_error: bool = False) -> Message:
    return Message("tool", [ToolResultPart(call_id, [*parts], is_error=is_error)])


def _refusal(*messages: Message, model: str = OLD) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        encode_contents([*messages], model)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


def test_system_and_developer_texts_are_gathered_wherever_they_stand() -> None:
    system, contents = encode_contents(
        [
            Message("system", [TextPart("a"), TextPart("")]),
            USER,
            Message("developer", [TextPart("b")]),
        ],
        OLD,
    )
    assert system == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert contents == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert encode_contents([USER], OLD)[0] is None


def test_a_system_message_holds_text_only() -> None:
    error = _refusal(Message("system", [ImagePart(data="aGk=", media_type="image/png")]), USER)
    assert error.param == "messages.0.content"


def test_neighbours_of_one_role_become_one_content() -> None:
    assert _contents(USER, Message("user", [TextPart("again")]), Message("assistant", [TextPart("yes")])) == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "again"}]},
        {"role": "model", "parts": [{"text": "yes"}]},
    ]


def test_an_answer_of_nothing_leaves_no_content() -> None:
    assert _contents(USER, Message("assistant", [TextPart("")])) == [{"role": "user", "parts": [{"text": "hi"}]}]


def test_a_request_needs_something_to_answer() -> None:
    assert _refusal(Message("system", [TextPart("a")])).param == "messages"


def test_user_parts_of_all_kinds() -> None:
    message = Message(
        "user",
        [
            TextPart("look"),
            ImagePart(data="aW1n", media_type="image/png"),
            AudioPart("d2F2", "wav"),
            FilePart(data="cGRm", media_type="application/pdf"),
        ],
    )
    assert _contents(message)[0]["parts"] == [
        {"text": "look"},
        {"inlineData": {"mimeType": "image/png", "data": "aW1n"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
    ]


def test_what_a_role_cannot_hold_is_named() -> None:
    assert "reasoning" in _refusal(Message("user", [ReasoningPart("hm")])).message
    assert "text part in a message of role tool" in _refusal(USER, Message("tool", [TextPart("x")])).message
    assert _refusal(USER, Message("assistant", [AudioPart("d2F2", "wav")])).param == "messages.1.content"


# -- answers that go back ---------------------------------------------------------------------------------------------


def test_texts_refusals_and_images_of_an_answer() -> None:
    image = ImagePart(data="aW1n", media_type="image/png")
    assert _model_parts(TextPart("a"), RefusalPart("no"), image) == [
        {"text": "a"},
        {"text": "no"},
        {"inlineData": {"mimeType": "image/png", "data": "aW1n"}},
    ]


def test_a_signature_of_text_returns_as_the_empty_part_that_it_was() -> None:
    parts = _model_parts(TextPart("a"), ReasoningPart(signature="sig", origin="google"))
    assert parts == [{"text": "a"}, {"text": "", "thoughtSignature": "sig"}]


def test_a_thought_returns_with_its_signature_only() -> None:
    assert _model_parts(ReasoningPart("hm", "sig", origin="google"), ReasoningPart("hm"), TextPart("a")) == [
        {"text": "hm", "thought": True, "thoughtSignature": "sig"},
        {"text": "a"},
    ]


@pytest.mark.parametrize("origin", ["anthropic", "responses"])
def test_what_others_signed_does_not_go_to_google(origin: str) -> None:
    foreign = ReasoningPart("hm", "sig", origin=origin)
    call = _call("1", signature="sig", origin=origin)
    hidden = ReasoningPart(redacted="data", origin=origin)
    assert _model_parts(foreign, hidden, TextPart("a"), call) == [
        {"text": "a"},
        {"functionCall": {"id": "1", "name": "f", "args": {}}},
    ]


def test_a_signature_of_unknown_origin_is_tried() -> None:
    assert _model_parts(_call("1", signature="sig"))[0]["thoughtSignature"] == "sig"
    assert _model_parts(ReasoningPart(signature="sig"))[0]["thoughtSignature"] == "sig"


def test_arguments_are_an_object() -> None:
    assert _model_parts(ToolCallPart("1", "f", '{"n": 1.5}'))[0]["functionCall"]["args"] == {"n": 1.5}
    assert _model_parts(ToolCallPart("1", "f", " "))[0]["functionCall"]["args"] == {}
    for arguments in ("[1]", "{"):
        error = _refusal(USER, Message("assistant", [_call("0"), ToolCallPart("1", "f", arguments)]))
        assert error.param == "messages.1.tool_calls.1.function.arguments"


# -- the signature of the current turn --------------------------------------------------------------------------------


def _signatures(*messages: Message, model: str = NEW) -> list[str | None]:
    return [
        part.get("thoughtSignature")
        for content in _contents(*messages, model=model)
        for part in content["parts"]
        if "functionCall" in part
    ]


def test_unsigned_calls_of_the_current_turn_get_the_documented_word() -> None:
    old_turn = [USER, Message("assistant", [_call("1")]), _result("1", TextPart("r"))]
    turn = [USER, Message("assistant", [_call("2"), _call("3")]), _result("2"), _result("3")]
    step = [Message("assistant", [_call("4")]), _result("4")]
    answered = Message("assistant", [TextPart("done")])
    assert _signatures(*old_turn, answered, *turn, *step) == [None, UNSIGNED_CALL, None, UNSIGNED_CALL]


def test_a_signed_call_keeps_its_signature() -> None:
    signed = Message("assistant", [_call("1", signature="sig", origin="google"), _call("2")])
    assert _signatures(USER, signed, _result("1"), _result("2")) == ["sig", None]


def test_a_foreign_signature_is_replaced() -> None:
    foreign = Message("assistant", [_call("1", signature="sig", origin="anthropic")])
    assert _signatures(USER, foreign, _result("1")) == [UNSIGNED_CALL]


def test_words_beside_a_result_do_not_begin_a_new_turn() -> None:
    calling = Message("assistant", [_call("1")])
    assert _signatures(USER, calling, _result("1"), Message("user", [TextPart("hurry")])) == [UNSIGNED_CALL]


def test_older_models_are_not_sent_it() -> None:
    assert _signatures(USER, Message("assistant", [_call("1")]), _result("1"), model=OLD) == [None]


# -- results ----------------------------------------------------------------------------------------------------------


def test_results_are_named_and_ordered_like_their_calls_and_come_first() -> None:
    calls = Message("assistant", [_call("1", "now"), _call("2", "find")])
    contents = _contents(
        USER,
        calls,
        _result("2", TextPart("a "), TextPart("cat")),
        Message("user", [TextPart("and?")]),
        _result("1", TextPart("broken"), is_error=True),
    )
    assert contents[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "1", "name": "now", "response": {"error": "broken"}}},
            {"functionResponse": {"id": "2", "name": "find", "response": {"output": "a cat"}}},
            {"text": "and?"},
        ],
    }


def test_an_id_that_is_used_again_means_the_latest_call() -> None:
    first = [Message("assistant", [_call("1", "now")]), _result("1")]
    second = [Message("assistant", [_call("1", "find")]), _result("1")]
    contents = _contents(USER, *first, *second)
    assert [
        contents[2]["parts"][0]["functionResponse"]["name"],
        contents[4]["parts"][0]["functionResponse"]["name"],
    ] == [
        "now",
        "find",
    ]


def test_a_result_without_its_call_is_refused() -> None:
    assert _refusal(USER, _result("nobody")).param == "messages.1.tool_call_id"


def test_media_of_a_result() -> None:
    calling = Message("assistant", [_call("1")])
    image = _result("1", TextPart("this"), ImagePart(data="aW1n", media_type="image/png"))
    part = _contents(USER, calling, image, model=NEW)[2]["parts"][0]["functionResponse"]
    assert part["response"] == {"output": "this"}
    assert part["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "aW1n"}}]
    assert "text only" in _refusal(USER, calling, image, model=OLD).message
    remote = _result("1", ImagePart(url="https://example.org/cat.png"))
    assert "as data only" in _refusal(USER, calling, remote, model=NEW).message
    assert "reasoning part" in _refusal(USER, calling, _result("1", ReasoningPart("x")), model=NEW).message
