"""Reads YAML text into nodes that know their places, with the meaning of YAML 1.2's core schema.

It must not know what any key means. PyYAML's parser only splits the text into events; typing, anchors, merge keys and
all limits are decided here, because PyYAML's own rules are YAML 1.1's: `no` is false, `012` is ten, the last key wins.
"""

from __future__ import annotations

import re

import yaml

from config.nodes import MAX_DIGITS, Node, Scalar, core_value, kind, measured
from config.problems import Place, Problem, problem, shown

MAX_DEPTH = 50
"""Mappings and lists inside each other, aliases followed."""

MAX_ALIASED = 250_000
"""Nodes that aliases may add to a file, all of them together."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STANDARD = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}


class Stop(Exception):
    """The text cannot be read further."""

    def __init__(self, place: Place, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = problem(place, message, hint)


def compose(content: bytes, file: str, problems: list[Problem]) -> Node | None:
    """The root node of a file's only document; what is wrong with it is added to `problems`."""
    try:
        text = _decode(content, file)
        return _Composer(text, file, problems).document()
    except Stop as stop:
        problems.append(stop.problem)
        return None


def _decode(content: bytes, file: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_at(content[: error.start].decode("utf-8", "replace"), file)
        raise Stop(place, "the file is not UTF-8 text", "save it in UTF-8") from None
    text = text.removeprefix("\ufeff")
    if found := _UNPRINTABLE.search(text):
        message = f"the control character U+{ord(found[0]):04X} may not stand in YAML"
        raise Stop(_place_at(text[: found.start()], file), message, "remove it, or write it as an escape in quotes")
    return text


def _place_at(before: str, file: str) -> Place:
    return Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


class _Composer:
    """Builds nodes from the parser's events, once, top to bottom."""

    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        self.text, self.file, self.problems = text, file, problems
        self.parser = _LOADER(text)
        self.anchors: dict[str, Node | None] = {}
        self.aliased = 0

    def document(self) -> Node:
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise Stop(Place(self.file, 1, 1), "the file is empty", "it needs at least one section, such as `models:`")
        root = self._node(self._next(), 0)
        self._next()
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise Stop(self._place(after), "a second document begins here", "keep one document per file; see `include`")
        if not isinstance(root.value, dict):
            if root.value is None:
                raise Stop(root.place, "the file is empty", "it needs at least one section, such as `models:`")
            raise Stop(
                root.place, f"the file holds {kind(root.value)}", "write `KEY: VALUE` lines, as in scaigrid.yaml"
            )
        return root

    def _next(self) -> yaml.Event:
        try:
            event: yaml.Event = self.parser.get_event()
            return event
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from None
        except (yaml.YAMLError, ValueError):
            raise Stop(Place(self.file, 1, 1), "not valid YAML", "check the file with a YAML linter") from None

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None
        return Place(self.file, mark.line + 1, mark.column + 1)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), place, depth)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(place, self._scalar(event, place), event.value)
            anchor = event.anchor
        else:
            assert isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
            anchor = event.anchor
            node = self._container(event, place, depth)
        if anchor:
            self.anchors[anchor] = node
        return node

    def _container(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, place: Place, depth: int) -> Node:
        if depth >= MAX_DEPTH:
            raise Stop(place, f"nested deeper than {MAX_DEPTH} levels", "flatten the structure")
        if event.anchor:
            self.anchors[event.anchor] = None
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _STANDARD + ("map" if is_mapping else "seq")):
            self._problem(place, f"the tag {_tag(str(event.tag))} has no meaning here", "remove it")
        return self._mapping(place, depth) if is_mapping else self._list(place, depth)

    def _alias(self, name: str, place: Place, depth: int) -> Node:
        if name not in self.anchors:
            hint = "anchors are declared before their use; a text that begins with `*` needs quotes"
            raise Stop(place, f"the alias {shown('*' + name)} has no anchor", hint)
        target = self.anchors[name]
        if target is None:
            raise Stop(place, f"the alias {shown('*' + name)} stands inside its own anchor", "write the value out")
        self.aliased += target.size
        if self.aliased > MAX_ALIASED:
            raise Stop(
                place, f"aliases expand the file by more than {MAX_ALIASED} nodes", "use fewer aliases of aliases"
            )
        if depth + target.height > MAX_DEPTH:
            raise Stop(place, f"nested deeper than {MAX_DEPTH} levels", "flatten the structure")
        return target

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        value = self._core(event.value, place)
        if event.tag is None:
            return value if event.implicit[0] else event.value
        name = event.tag.removeprefix(_STANDARD)
        if event.tag == "!" or name == "str":
            return event.value
        if name not in _TYPES:
            self._problem(place, f"the tag {_tag(event.tag)} has no meaning here", "remove it")
        elif not isinstance(value, _TYPES[name]):
            self._problem(place, f"the tag `!!{name}` does not fit its value", "remove it")
        return value

    def _core(self, text: str, place: Place) -> Scalar:
        try:
            return core_value(text)
        except ValueError:
            self._problem(place, f"a number of more than {MAX_DIGITS} digits", "put it in quotes if it is a text")
            return text

    def _list(self, place: Place, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return measured(Node(place, items), items)

    def _mapping(self, place: Place, depth: int) -> Node:
        items: dict[str, Node] = {}
        node = Node(place, items)
        merges: list[Node] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key_place = self._place(event)
            plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if isinstance(key.value, dict | list):
                self._problem(
                    key_place, f"a key must be a text, not {kind(key.value)}", "put it in quotes if it is a text"
                )
            elif plain and key.text == "<<" and not merges:
                merges = self._merges(value)
            elif key.text in items or (plain and key.text == "<<"):
                self._duplicate(key.text, key_place, node.keys.get(key.text))
            else:
                items[key.text] = value
                node.keys[key.text] = key_place
        for source in merges:
            _merge(node, source)
        return measured(node, list(items.values()))

    def _merges(self, value: Node) -> list[Node]:
        sources = value.value if isinstance(value.value, list) else [value]
        for source in sources:
            if not isinstance(source.value, dict):
                hint = "write `<<: *anchor`, or a list of aliases"
                self._problem(source.place, f"`<<` merges mappings, not {kind(source.value)}", hint)
        return [source for source in sources if isinstance(source.value, dict)]

    def _duplicate(self, key: str, place: Place, first: Place | None) -> None:
        hint = f"it already stands in line {first.line}" if first else "merge several with `<<: [*a, *b]`"
        self._problem(place, f"the key {shown(key)} is written twice", hint)

    def _problem(self, place: Place, message: str, hint: str) -> None:
        self.problems.append(problem(place, message, hint))

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> Stop:
        begun = error.context_mark
        mark = error.problem_mark or begun
        if begun is not None and "end of stream" in str(error.problem):
            mark = begun
        place = Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file, 1, 1)
        hint = self._syntax_hint(place, error)
        if begun is not None and begun.line + 1 < place.line:
            hint += f"; what is read here began in line {begun.line + 1}"
        return Stop(place, f"not valid YAML: {_sentence(error)}", hint)

    def _syntax_hint(self, place: Place, error: yaml.MarkedYAMLError) -> str:
        lines = self.text.splitlines()
        line = lines[place.line - 1] if place.line <= len(lines) else ""
        at = line[place.column - 1 : place.column]
        if at == "\t":
            return "indent with spaces, not tabs"
        if at and at in "@`%":
            return f"a text that begins with `{at}` needs quotes"
        if "alias" in str(error.context):
            return "a text that begins with `*` needs quotes"
        if "${" in line:
            return "inside [] and {} a reference needs quotes"
        if "mapping values" in str(error.problem):
            return "check the indentation, and put a text that contains `: ` in quotes"
        return "check the indentation, the quotes and the brackets up to here"


def _merge(node: Node, source: Node) -> None:
    """Adds the keys that are not there yet; they keep the places where they were written."""
    assert isinstance(node.value, dict)
    assert isinstance(source.value, dict)
    for key, value in source.value.items():
        if key not in node.value:
            node.value[key] = value
            node.keys[key] = source.keys[key]


def _tag(tag: str) -> str:
    return shown(tag.replace(_STANDARD, "!!", 1))


def _sentence(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.problem, error.context) if part)
