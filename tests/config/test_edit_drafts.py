"""The files of an edit."""

from __future__ import annotations

from pathlib import Path

import config
from config import Place
from config.edit_drafts import drafts_of, texts_of
from config.edit_text import Splice

MAIN, FIRST, SECOND = Path("/x/main.yaml"), Path("/x/a.yaml"), Path("/x/b.yaml")


def loaded(monkeypatch_files: dict[str, str]) -> config.Loaded:
    for name, text in monkeypatch_files.items():
        Path(name).write_text(text, encoding="utf-8")
    return config.load("scaigrid.yaml", {})


def test_only_files_that_may_hold_the_entry_are_read(folder: Path) -> None:
    found = loaded(
        {
            "scaigrid.yaml": "version: 1\ninclude: [a.yaml, b.yaml]\n",
            "a.yaml": "providers:\n  one: {type: demo}\n",
            "b.yaml": "partners:\n  two: {}\n",
        }
    )
    assert [file.name for file in drafts_of(found, [("providers", "new")])] == ["scaigrid.yaml", "a.yaml"]
    deep = ("partners", "two", "tenants", "t")  # what is not there yet belongs to where its owner is
    assert [file.name for file in drafts_of(found, [deep])] == ["scaigrid.yaml", "b.yaml"]
    assert [file.name for file in drafts_of(found, [("partners", "two", "x")])] == ["scaigrid.yaml", "b.yaml"]
    assert len(drafts_of(found, [()])) == 3


def test_a_byte_order_mark_is_no_part_of_the_text_and_stays(folder: Path) -> None:
    found = loaded({"scaigrid.yaml": "\ufeffversion: 1\nproviders: {}\n"})
    drafts = drafts_of(found, [("providers",)])
    (draft,) = drafts.values()
    assert draft.text.startswith("version")
    assert draft.place(draft.root.keys[1].start) == Place("scaigrid.yaml", 2, 1)
    assert texts_of(found, drafts) == {}
    draft.splice([Splice(0, 0, "# hello\n")])
    assert texts_of(found, drafts) == {folder / "scaigrid.yaml": "\ufeff# hello\nversion: 1\nproviders: {}\n"}
    assert draft.root.marks[0] == 8
