"""Input items are shown as OpenAI shows them, and what is kept stays as it was sent."""

from __future__ import annotations

from typing import Any

from appliance.formats.responses_input_items import shown_items


def test_a_message_gets_what_it_lacks() -> None:
    sent: list[Any] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", "id": "msg_1"}]
    assert shown_items(sent, "resp_abc") == [
        {
            "id": "item_abc_0",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "hi"}],
            "status": "completed",
        },
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "ho", "annotations": []}],
            "status": "completed",
        },
    ]
    assert sent == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", "id": "msg_1"}]


def test_what_is_there_stays() -> None:
    parts = [{"type": "input_text", "text": "hi"}]
    output = {"type": "function_call_output", "id": None, "call_id": "c", "output": "21", "status": "incomplete"}
    message, result = shown_items([{"role": "user", "content": parts}, output], "resp_abc")
    assert message["content"] == parts
    assert result == output | {"id": "item_abc_1"}


def test_what_has_no_status_gets_none() -> None:
    (shown,) = shown_items([{"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}], "resp_a")
    assert "status" not in shown
