from __future__ import annotations

from typing import cast

from appliance.formats import google
from appliance.formats.base import UpstreamFormat
from appliance.formats.google_stream import GoogleStreamDecoder


def test_the_module_is_an_upstream_format() -> None:
    face = cast(UpstreamFormat, google)
    decoder = face.stream_decoder()
    assert isinstance(decoder, GoogleStreamDecoder)
    assert decoder.complete is False
    for name in google.__all__:
        assert callable(getattr(google, name))


def test_every_stream_has_a_decoder_of_its_own() -> None:
    assert google.stream_decoder() is not google.stream_decoder()
