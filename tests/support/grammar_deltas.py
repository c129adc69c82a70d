"""The grammar of choices and deltas, which the native and OpenAI's streams share."""

from __future__ import annotations

from typing import Any

from support.grammar import FINISH_REASONS, Answer, Call, Said, check_arguments, count, filled, member

_TEXTS = {"content": "text", "refusal": "refusal", "reasoning": "reasoning", "reasoning_content": "reasoning"}
"""Member of a delta → where it is gathered. Of the two reasoning members a dialect uses one."""


class Choices:
    """Feed each chunk's choices; `close` when the stream ended in order."""

    def __init__(self, answer: Answer, reasoning_member: str, *, relayed: bool = False) -> None:
        """`relayed`: an upstream's own chunks; see grammar_openai.check. Either reasoning member then will do."""
        self._answer = answer
        self._relayed = relayed
        self._other_reasoning = set() if relayed else {"reasoning", "reasoning_content"} - {reasoning_member}
        self._places: dict[tuple[int, int], int] = {}
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def feed(self, choices: list[Any], where: str) -> None:
        seen = set[int]()
        for choice in choices:
            assert isinstance(choice, dict), f"{where}: a choice is no object"
            index = count(choice, "index", where)
            assert index not in seen, f"{where}: choice {index} stands twice in one chunk"
            seen.add(index)
            self._choice(index, choice, f"{where}, choice {index}")

    def close(self) -> None:
        """What can only be seen at the end. A choice that was cut off by the cap may have cut arguments."""
        indexes = sorted(self._begun)
        assert indexes == list(range(len(indexes))), f"the choices are {indexes}, not 0 to {len(indexes) - 1}"
        assert not self._finished or self._finished == self._begun, (
            f"the stream ended, but of the choices {indexes} only {sorted(self._finished)} have a finish reason"
        )
        for index, said in self._answer.choices.items():
            where = f"choice {index}"
            if said.finish_reason == "tool_calls":
                assert said.calls, f"{where} finished with tool_calls, but there is no call"
            ids = [call.id for call in said.calls]
            assert len(ids) == len(set(ids)), f"{where}: two calls have the same id: {ids}"
            if said.finish_reason in ("stop", "tool_calls"):
                for call in said.calls:
                    check_arguments(call, where)

    def _choice(self, index: int, choice: dict[str, Any], where: str) -> None:
        delta = member(choice, "delta", dict, where)
        finish = member(choice, "finish_reason", (str, type(None)), where)
        said = self._answer.choice(index)
        if index in self._finished:
            assert finish is None, f"{where} finishes a second time"
            assert not any(delta.values()), f"{where} goes on after its finish reason: {delta}"
            return
        self._role(index, delta, where)
        self._texts(delta, said, where)
        for entry in member(delta, "reasoning_details", list, where) if "reasoning_details" in delta else []:
            assert isinstance(entry, dict), f"{where}: an entry of reasoning_details is no object"
            filled(entry, "type", f"{where}, reasoning_details")
            said.opaque.append(entry)
        if delta.get("annotations") is not None:
            said.citations += member(delta, "annotations", list, where)
        if delta.get("tool_calls") is not None:
            self._calls(index, member(delta, "tool_calls", list, where), said, where)
        if finish is not None:
            assert finish in FINISH_REASONS, f"{where}: {finish!r} is no finish reason"
            self._finished.add(index)
            said.finish_reason = finish
            said.native_finish = choice.get("native_finish_reason") or finish

    def _role(self, index: int, delta: dict[str, Any], where: str) -> None:
        role = delta.get("role")
        if index in self._begun:
            assert role is None or self._relayed, f"{where}: a role after the first delta"
            return
        self._begun.add(index)
        assert role == "assistant" or (self._relayed and not role), (
            f"{where}: the first delta has the role {role!r}, not 'assistant'"
        )

    def _texts(self, delta: dict[str, Any], said: Said, where: str) -> None:
        if self._relayed and delta.get("reasoning_content") and delta.get("reasoning"):
            delta = {name: value for name, value in delta.items() if name != "reasoning"}
        wrong = self._other_reasoning & delta.keys()
        assert not wrong, f"{where}: {', '.join(wrong)} is the other dialect's word"
        for name, gathered in _TEXTS.items():
            if delta.get(name) is not None:
                setattr(said, gathered, getattr(said, gathered) + member(delta, name, str, where))

    def _calls(self, choice: int, pieces: list[Any], said: Said, where: str) -> None:
        assert pieces or self._relayed, f"{where}: tool_calls is empty"
        for piece in pieces:
            assert isinstance(piece, dict), f"{where}: a piece of a call is no object"
            index = count(piece, "index", where)
            if self._relayed:
                index = self._places.setdefault((choice, index), len(said.calls))
            where_call = f"{where}, call {index}"
            assert index <= len(said.calls), f"{where_call} comes before call {len(said.calls)}"
            function = piece.get("function", {})
            assert isinstance(function, dict), f"{where_call}: function is no object"
            if index == len(said.calls):
                assert self._relayed or piece.get("type") == "function", (
                    f"{where_call}: the type is {piece.get('type')!r}"
                )
                name = filled(function, "name", where_call)
                said.calls.append(Call(filled(piece, "id", where_call), name))
            else:
                known = (None, "", said.calls[index].id, said.calls[index].name) if self._relayed else (None,)
                assert piece.get("id") in known, f"{where_call}: an id after the call's first piece"
                assert function.get("name") in known, f"{where_call}: a name after the call's first piece"
            said.calls[index].arguments += function.get("arguments") or ""
