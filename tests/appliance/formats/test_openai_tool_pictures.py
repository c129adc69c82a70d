from __future__ import annotations

from appliance.formats.chat import ImagePart, Message, Part, TextPart, ToolCallPart, ToolResultPart
from appliance.formats.openai_tool_pictures import with_pictures_apart

RED, BLUE = (ImagePart(data=data, media_type="image/png") for data in ("cmVk", "Ymx1ZQ=="))
ASKED = Message("user", [TextPart("look")])
CALLED = Message("assistant", [ToolCallPart("a", "f"), ToolCallPart("b", "f")])


def result(call_id: str, *parts: Part) -> Message:
    return Message("tool", [ToolResultPart(call_id, list(parts))])


def texts(message: Message) -> list[str]:
    held = [inner for part in message.parts for inner in (part.parts if isinstance(part, ToolResultPart) else [part])]
    return [part.text for part in held if isinstance(part, TextPart)]


def test_all_results_of_a_step_stay_together_and_the_pictures_come_behind_them() -> None:
    said = [ASKED, CALLED, result("a", RED, TextPart("and"), BLUE), result("b", RED), ASKED]
    told = list(with_pictures_apart(said))
    assert [index for index, _ in told] == [0, 1, 2, 3, 3, 4]
    assert [message.role for _, message in told] == ["user", "assistant", "tool", "tool", "user", "user"]
    shown = told[4][1]
    assert [part for part in shown.parts if isinstance(part, ImagePart)] == [RED, BLUE, RED]
    assert texts(shown) == [f"Picture {number} of the tool results above:" for number in (1, 2, 3)]
    first, second = (f"[picture {number}, shown in the next message]" for number in (1, 2))
    assert texts(told[2][1]) == [first, "and", second]


def test_each_step_has_its_own_pictures_and_its_own_numbers() -> None:
    said = [ASKED, CALLED, result("a", RED), CALLED, result("b", BLUE)]
    told = list(with_pictures_apart(said))
    assert [index for index, _ in told] == [0, 1, 2, 2, 3, 4, 4]
    pictures = [[part for part in told[place][1].parts if isinstance(part, ImagePart)] for place in (3, 6)]
    assert pictures == [[RED], [BLUE]]
    assert texts(told[3][1]) == texts(told[6][1]) == ["Picture 1 of the tool results above:"]


def test_what_holds_no_picture_of_a_result_is_left_as_it_is() -> None:
    said = [Message("user", [RED]), CALLED, result("a", TextPart("x")), result("b")]
    assert list(with_pictures_apart(said)) == list(enumerate(said))


def test_the_callers_own_messages_are_not_changed() -> None:
    told = result("a", RED)
    list(with_pictures_apart([CALLED, told]))
    assert told == result("a", RED)
