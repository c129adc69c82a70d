"""What a kind of call has of its own; the line itself (authenticate … record) is the same for all of them.

Every verb of the line that depends on the kind asks `exchange.operation`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import msgspec

from appliance.errors import GatewayError, invalid
from appliance.exchange import Attempt, Exchange, Failure
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.native_units import usage_object
from appliance.grid.prices import usd
from appliance.pipeline.call import AttemptFailed, guarded, mismatch, open_upstream, read_whole
from appliance.pipeline.peek import decoded, members
from appliance.providers.refusal_reasons import reason_in
from appliance.state import State


class Operation(Protocol):
    """What the verbs of the line ask for."""

    @property
    def name(self) -> str:
        """As usage rows and metrics have it."""
        ...

    @property
    def modality(self) -> str:
        """The modality that its frontend models have."""
        ...

    @property
    def costs(self) -> bool:
        """False for a question about a call: nothing is reserved, booked or counted in budgets."""
        ...

    async def prepare(self, exchange: Exchange, state: State) -> None:
        """What has to be waited for before the request can be read: a form's file, an earlier answer."""
        ...

    def read(self, exchange: Exchange) -> None:
        """Before the model is known: sets model_name, what else the line needs, and the canonical request."""
        ...

    def measure(self, exchange: Exchange) -> None:
        """Once the model is known: the bound for the reservation and the estimate for the rate limits."""
        ...

    def translate(self, exchange: Exchange, attempt: Attempt) -> None:
        """Sets `attempt.body`. Raises GatewayError when this target's dialect cannot carry the request."""
        ...

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        """Call the target until an answer is in hand. Raises AttemptFailed."""
        ...

    async def send(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        """What of the answer may leave before it is booked: nothing of a whole one."""
        ...

    async def finish(self, exchange: Exchange, state: State) -> None:
        """The last bytes of an answer that ended well; the row is written."""
        ...

    def is_unknown(self, exchange: Exchange, reported: Usage) -> bool:
        """A unit that the price counts is not among what was reported: an unknown amount never counts as zero."""
        ...

    def estimate(self, exchange: Exchange, reported: Usage | None) -> Usage:
        """What was used, where the upstream did not say."""
        ...


class Documents(ABC):
    """The common case: one JSON document up, one JSON document down."""

    name: ClassVar[str]
    modality: ClassVar[str]
    feature: ClassVar[str]
    """What a target must be able to do at all (formats/needs.py)."""
    costs: ClassVar[bool] = True
    units: ClassVar[frozenset[str]] = frozenset({"total_tokens"})
    """What such a call can be charged by: members of Usage."""
    charged_by: ClassVar[frozenset[str]] = frozenset()
    """Prices one of which a model must have to be called so, where its modality alone does not say it."""

    async def prepare(self, exchange: Exchange, state: State) -> None:
        return

    def read(self, exchange: Exchange) -> None:
        exchange.members = exchange.members or members(exchange.body)
        body = decoded(exchange.body)
        exchange.asked = self.decode(exchange, body)
        exchange.model_name = exchange.asked.model
        exchange.needs = frozenset({self.feature}) | self.needs(exchange)

    def measure(self, exchange: Exchange) -> None:
        assert exchange.model
        if self.charged_by and not self.charged_by & exchange.model.price.written:
            # An unknown price never counts as zero (contract section 4).
            raise invalid("model", f"{exchange.model.name!r} has no price for this kind of call")
        exchange.bound = self.most(exchange)
        exchange.input_bound = exchange.bound.input_tokens
        exchange.input_estimate = min(self.likely(exchange).input_tokens, exchange.input_bound)
        exchange.head = ReplyHead(
            id=f"{self.name}_{exchange.usage_id.removeprefix('usage_')}",
            model=exchange.model_name,
            created=int(exchange.received_unix),
        )

    def translate(self, exchange: Exchange, attempt: Attempt) -> None:
        attempt.body = msgspec.json.encode(self.encode(exchange, attempt))

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        upstream = await open_upstream(exchange, attempt, state, self.name, attempt.body)
        attempt.upstream = upstream
        body = await read_whole(exchange, attempt, upstream)
        attempt.answer = self.understood(exchange, attempt, body)
        attempt.usage = self.used(exchange, attempt)

    async def send(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        return

    async def finish(self, exchange: Exchange, state: State) -> None:
        attempt = exchange.answered
        assert attempt
        data = self.shown(exchange, attempt)
        body = enveloped(exchange, data) if exchange.surface == "native" else msgspec.json.encode(data)
        await exchange.client.whole(200, exchange.reply_headers, body)

    def is_unknown(self, exchange: Exchange, reported: Usage) -> bool:
        return bool(self._unknown(exchange, reported))

    def estimate(self, exchange: Exchange, reported: Usage | None) -> Usage:
        """What was not reported and has to be known, never more than was held for the call."""
        assert exchange.bound
        likely, usage = self.likely(exchange), reported or Usage()
        missing = self._unknown(exchange, usage) if reported else set(Usage.__struct_fields__)
        if "total_tokens" in missing:
            missing |= {"input_tokens", "output_tokens"}
        counts = {
            name: min(getattr(likely, name), getattr(exchange.bound, name)) if name in missing else getattr(usage, name)
            for name in Usage.__struct_fields__
        }
        return Usage(**counts)

    def _unknown(self, exchange: Exchange, reported: Usage) -> set[str]:
        """Units that this kind of call is charged by here, and that nobody told: none of them counts as zero."""
        assert exchange.model
        price = exchange.model.price
        rates = {
            "images": price.image,
            "audio_ms": price.audio_minute,
            "characters": price.characters,
            "searches": price.search,
            "total_tokens": price.base.dearest_input or price.base.dearest_output,
        }
        return {unit for unit in self.units if rates[unit] and not getattr(reported, unit)}

    # -- what each kind says for itself -------------------------------------------------------------------------------

    @abstractmethod
    def decode(self, exchange: Exchange, body: Any) -> Any:
        """The caller's JSON → the canonical request. Raises VALIDATION_ERROR."""

    def needs(self, exchange: Exchange) -> frozenset[str]:
        return frozenset()

    @abstractmethod
    def most(self, exchange: Exchange) -> Usage:
        """An upper bound of all units."""

    @abstractmethod
    def likely(self, exchange: Exchange) -> Usage:
        """A fair estimate, for the rate limits and for upstreams that report nothing."""

    @abstractmethod
    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        """The target's body. Raises GatewayError when its dialect cannot carry the request."""

    @abstractmethod
    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> Any:
        """The target's answer in canonical form. Raises UPSTREAM_SHAPE_MISMATCH."""

    def understood(self, exchange: Exchange, attempt: Attempt, body: bytes) -> Any:
        try:
            return self.decode_reply(exchange, attempt, body)
        except GatewayError as error:
            if error.code == "VALIDATION_ERROR":  # the answer says that the caller's request is at fault
                message = guarded(attempt).scrub(error.message)
                reason = reason_in(error.message)
                failure = Failure("caller", error.code, message, 200, param=error.param, reason=reason)
                raise AttemptFailed(failure) from error
            what = error.message if body.strip() else "an empty body"
            raise AttemptFailed(mismatch(attempt, what)) from error

    def used(self, exchange: Exchange, attempt: Attempt) -> Usage | None:
        """What the upstream said it used, or what follows from the answer itself; None when neither is known."""
        usage: Usage | None = attempt.answer.usage
        return usage

    @abstractmethod
    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        """The reply in the caller's dialect; on the native surface its `data`."""


def enveloped(exchange: Exchange, data: Any) -> bytes:
    """A native reply: contract section 3."""
    attempt = exchange.answered
    assert attempt
    meta = {
        "request_id": exchange.request_id,
        "backend": attempt.target.backend,
        "provider": attempt.target.endpoint.name,
        "attempts": len(exchange.attempts),
        "latency_ms": int((exchange.clock() - exchange.received_at) * 1000),
    }
    return msgspec.json.encode({"status": "ok", "data": data, "meta": meta})


def defaults_of(exchange: Exchange, model_name: Any) -> dict[str, Any]:
    """What the operator's YAML says where the caller says nothing; the model is not looked up in earnest yet."""
    model = exchange.grid.models.get(model_name) if isinstance(model_name, str) else None
    return dict(model.default_params) if model else {}


def native_usage(exchange: Exchange) -> dict[str, Any]:
    """`usage` as the native surface shows it."""
    assert exchange.usage
    return usage_object(exchange.usage, usd(exchange.cost_nano), exchange.estimated)
