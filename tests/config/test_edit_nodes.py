"""From where to where things are written."""

from __future__ import annotations

import pytest

from config.edit_nodes import Written, everything, is_bare, keeps_blank_lines, read, used_outside

TEXT = """\
# é😀
a: &x !!str one   # c
b:
  - - 1
    - k: |
        lines

  # deeper
  -   # nothing
c: {d, e: , f: [g: 1, "h"]}
? i
: *x
j:
k: &s
- 2
"""


def at(root: Written, *path: str | int) -> Written:
    for step in path:
        index = root.index(step)
        assert index is not None
        root = root.items[index]
    return root


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (("a",), "&x !!str one"),
        (("b", 0), "- 1\n    - k: |\n        lines"),
        (("b", 0, 1, "k"), "|\n        lines"),
        (("b", 1), ""),
        (("c",), '{d, e: , f: [g: 1, "h"]}'),
        (("c", "d"), ""),
        (("c", "e"), ""),
        (("c", "f", 0), "g: 1"),
        (("c", "f", 1), '"h"'),
        (("i",), "*x"),
        (("j",), ""),
        (("k",), "&s\n- 2"),
    ],
)
def test_a_node_is_what_is_written(path: tuple[str | int, ...], written: str) -> None:
    node = at(read(TEXT), *path)
    assert TEXT[node.start : node.end] == written


def test_marks_and_colons_frame_an_entry() -> None:
    root = read(TEXT)
    marks = [TEXT[mark : mark + 2] for mark in root.marks]
    assert marks == ["a:", "b:", "c:", "? ", "j:", "k:"]
    assert [TEXT[after - 1] for after in root.afters] == [":"] * 6
    dashes = at(root, "b")
    assert [TEXT[after - 1] for after in dashes.afters] == ["-", "-"]
    assert at(root, "c").afters[0] == -1
    assert at(root, "j").start == root.afters[4]


def test_only_what_is_written_here_has_an_index() -> None:
    root = read("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    merging = at(root, "b")
    assert (merging.index("x"), merging.index("y"), merging.index(0), merging.has_merge) == (None, 1, None, True)
    assert not at(root, "a").has_merge


def test_an_anchor_knows_its_aliases() -> None:
    root = read("a: [&x 1, *x]\nb: &y 2\nc: *y\n")
    assert used_outside(at(root, "a")) is None
    assert used_outside(at(root, "b")) is at(root, "b")
    assert len(list(everything(root))) == 6


def test_a_pair_in_brackets_is_bare() -> None:
    text = "a: [b: 1, {c: 1}]\n"
    pair, mapping = at(read(text), "a").items
    assert (is_bare(pair, text), is_bare(mapping, text)) == (True, False)


@pytest.mark.parametrize(
    ("header", "keeps"), [("|+", True), ("&a |2+", True), (">+ # c", True), ("|  # +", False), ("|-", False)]
)
def test_a_block_scalar_may_own_the_blank_lines_below(header: str, keeps: bool) -> None:
    text = f"a:\n  - {header}\n      x\n\n"
    assert keeps_blank_lines(text, read(text)) is keeps
