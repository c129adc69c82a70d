from __future__ import annotations

import pytest

from appliance.formats.responses_opaque import Opaque, is_made, made_id, pack, seed_of, unpack


@pytest.mark.parametrize(
    ("opaque", "text"),
    [
        (Opaque("signature", "responses", "gAAAA.x"), "gAAAA.x"),
        (Opaque("signature", "anthropic", "Ev\nQ=="), "scaigrid.anthropic.Ev\nQ=="),
        (Opaque("signature", "", "of nobody known"), "scaigrid..of nobody known"),
        (Opaque("redacted", "anthropic", "Em.w"), "scaigrid.anthropic-redacted.Em.w"),
        (Opaque("call", "google", "Cs"), "scaigrid.google-call.Cs"),
        (Opaque("call", "responses", "Cs"), "scaigrid.responses-call.Cs"),
        (Opaque("signature", "responses", "scaigrid.google.x"), "scaigrid.responses.scaigrid.google.x"),
    ],
)
def test_opaque_data_finds_back_to_its_origin(opaque: Opaque, text: str) -> None:
    assert pack(opaque) == text
    assert unpack(text) == opaque


def test_the_dialects_own_redacted_data_is_its_encrypted_content() -> None:
    assert pack(Opaque("redacted", "responses", "gAAAA")) == "gAAAA"


def test_made_ids_are_known_again_and_short_enough() -> None:
    item_id = made_id("rs", seed_of("resp_" + "a1-b" * 40), 999)
    assert is_made(item_id)
    assert item_id.startswith("rs_scaigrid_")
    assert len(item_id) <= 64
    assert not is_made("rs_6859a4c69e0481989e14c31c10bb34fb")


def test_answers_of_different_ids_have_different_seeds() -> None:
    assert seed_of("resp_a1") == "a1"
    assert seed_of("resp_a1") != seed_of("resp_a2")
