"""The records of one request: Exchange, Attempt, Failure; and of people: Principal, User, Key. No behaviour.

Times named `_at` are seconds of the loop's monotonic clock unless they say `unix`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from appliance.errors import GatewayError
from appliance.formats.base import AnswerWriter, Frame
from appliance.formats.chat import ChatReply, ChatRequest, Usage

if TYPE_CHECKING:
    from msgspec import Raw

    from appliance.formats.base import Passthrough, ReplyHead
    from appliance.grid.grid import FrontendModel, Grid, Target
    from appliance.grid.strategies import Decision
    from appliance.pipeline.operations.base import Operation
    from appliance.state.fair_queue import Slot
    from appliance.state.health import Permit
    from appliance.state.ledger import Reservation
    from appliance.state.limiter import Grant


# -- people -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class User:
    """A human or service identity in exactly one tenant. `id` is `tenant:name`."""

    id: str
    name: str
    tenant_id: str
    partner_id: str
    roles: tuple[str, ...]
    status: Literal["active", "suspended"] = "active"
    email: str = ""
    display_name: str = ""
    declared: str = ""
    """`FILE:LINE` of the YAML entry; empty for people made at run time."""
    groups: tuple[str, ...] = ()
    custom_role_ids: tuple[str, ...] = ()
    module_permissions: tuple[str, ...] = ()
    """Given to the user directly; custom roles add theirs."""
    created_unix: float = 0.0


@dataclass(slots=True)
class Key:
    """An API key, without its secret: only the SHA-256 digest of the whole key is ever kept. Times are Unix seconds."""

    id: str
    digest: str
    user_id: str
    name: str = ""
    prefix: str = "sgk_"
    created_unix: float = 0.0
    expires_unix: float | None = None
    revoked_unix: float | None = None
    declared: str = ""


@dataclass(slots=True)
class Principal:
    """Who calls: a key resolved to its user, tenant and partner, with the permissions that follow from the roles.

    `inactive` is set the moment the key is revoked or its user or tenant is suspended; running streams test it.
    """

    key_id: str
    user_id: str
    user: str
    tenant_id: str
    partner_id: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    email: str = ""
    expires_unix: float | None = None
    groups: tuple[str, ...] = ()
    custom_roles: tuple[str, ...] = ()
    """Slugs of the tenant's own roles that the user bears; conditions of routing may name them."""
    subjects: tuple[str, ...] = ()
    """Whose budgets and limits count: partner, tenant, groups, user and key, as `tenant:acme`."""
    module_permissions: frozenset[str] = frozenset()
    """Those of custom roles and direct grants; some roles hold all (appliance/permissions.py)."""
    inactive: tuple[str, str] | None = None
    """Error code and reason, once access is cut."""
    running: set[Callable[[], None]] = field(default_factory=set)
    """What ends the calls that are under way, the moment access is cut."""


# -- one request ------------------------------------------------------------------------------------------------------

FailureKind = Literal[
    "connect", "timeout", "rate_limited", "server_error", "operator", "quota", "busy", "caller", "canceled"
]
"""connect … server_error are the classes of `retry_on`. operator (bad upstream key, unknown upstream model), quota and
busy (no place in our own queue) go to the next target, never to the same one again; caller is final."""
FallbackReason = Literal["context_window", "content_filter"]
"""What another frontend model may serve where this one refuses (docs/routing.md)."""


@dataclass(slots=True)
class Failure:
    """One attempt's failure. `message` may reach the caller and holds no secret; `detail` is for the log only."""

    kind: FailureKind
    code: str
    message: str
    status: int | None = None
    retry_after: float | None = None
    param: str | None = None
    detail: str = ""
    reason: FallbackReason | None = None
    """The input is too long for the model, or the provider's filter refused it."""

    def error(self) -> GatewayError:
        return GatewayError(self.code, self.message, param=self.param, retry_after=self.retry_after)


class Upstream(Protocol):
    """An upstream's answer that has begun: status and headers are here, the body still flows."""

    status: int
    headers: Any

    async def chunk(self) -> bytes:
        """The next bytes as they arrive; empty at the end. Raises UpstreamCut when the connection broke."""
        ...

    def close(self) -> None:
        """Give the connection up at once. Never waits, may be called twice."""
        ...


class UpstreamCut(Exception):
    """The upstream's connection ended before its body did."""


class ConnectFailed(Exception):
    """No connection, or one that was reset before the upstream began to answer."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A form with one file, which lies on disk. `fields` are in the order in which they go out."""

    path: Path
    filename: str
    content_type: str
    fields: tuple[tuple[str, str], ...] = ()
    file_field: str = "file"
    size: int = 0
    head: bytes = b""
    """The file's beginning, to see what it is."""


class Incoming(Protocol):
    """A form that is still arriving: its fields are small, its file goes to disk."""

    async def receive(self) -> tuple[dict[str, list[str]], Upload]:
        """Raises GatewayError when it is no such form, or too large."""
        ...

    def discard(self) -> None:
        """Remove the file. May be called at any time, and twice."""
        ...


class AnswerStream(Protocol):
    """A streamed answer whose first content is in hand."""

    @property
    def complete(self) -> bool: ...

    async def frames(self) -> list[Frame]:
        """The frames that have arrived; empty at the end. Raises UpstreamCut or TimeoutError."""
        ...


@dataclass(slots=True)
class Attempt:
    """One upstream call. `delay_s` is waited before it is made; `dispatched` says that it was made."""

    number: int
    target: Target
    delay_s: float = 0.0
    permit: Permit | None = None
    """Leave to ask the backend; how the call went is told on it (state/health.py)."""
    slot: Slot | None = None
    """A place among the provider's connections, until the first of the attempt's connections takes it over."""
    hedge: bool = False
    """It was begun beside another attempt that was slow to answer."""
    lost: bool = False
    """Another attempt of the call answered first; this one was cut off."""
    backend_cost_nano: int = 0
    """What it cost us, when its answer is not the caller's."""
    body: bytes = b""
    parts: list[Any] = field(default_factory=list)
    """Canonical requests that this target gets one by one, where it takes only so much at once."""
    upload: Upload | None = None
    passthrough: Passthrough | None = None
    """Set where caller and upstream speak the same dialect."""
    token: str = field(default="", repr=False)
    """A short-lived one that was sent upstream: no text may repeat it."""
    dispatched: bool = False
    sent: bool = False
    """A connection was free: from here on the upstream may be at work."""
    started_at: float = 0.0
    latency_ms: int = 0
    upstream: Upstream | None = None
    failure: Failure | None = None
    reply: ChatReply | None = None
    reply_body: bytes = b""
    """A whole answer as it came, for the way back to a client of the same dialect."""
    answer: Any = None
    """The answer of an operation that is no chat, in its canonical form."""
    content_type: str = ""
    stream: AnswerStream | None = None
    """Set once the first content event of a streamed answer is in hand."""
    usage: Usage | None = None
    """What the upstream reported, as far as it was read when the answer was in hand."""
    estimated: bool = False


class Client(Protocol):
    """The way back to the caller."""

    started: bool

    async def whole(
        self, status: int, headers: dict[str, str], body: bytes, content_type: str = "application/json"
    ) -> None: ...

    async def start_stream(
        self, headers: dict[str, str], content_type: str = "text/event-stream; charset=utf-8"
    ) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def end(self) -> None: ...

    async def break_off(self) -> None:
        """Cut the connection: an end in order would be a lie."""
        ...


Status = Literal["completed", "failed", "interrupted", "cancelled"]


@dataclass(slots=True)
class Exchange:
    """One inference request from accepted to recorded. Changed by its own task, and by those of a race inside it."""

    request_id: str
    surface: str
    """The name of the client's format in FORMATS."""
    operation: Operation
    grid: Grid
    client: Client
    credential: str | None
    body: bytes
    received_at: float
    received_unix: float
    clock: Callable[[], float]
    ip: str = ""

    principal: Principal | None = None
    model: FrontendModel | None = None
    members: dict[str, Raw] = field(default_factory=dict)
    """The request's top-level members, undecoded."""
    request: ChatRequest | None = None
    """Canonical form; made when a target of another dialect needs it (always on the native surface)."""
    asked: Any = None
    """The canonical request of an operation that is no chat."""
    incoming: Incoming | None = None
    """A form that is still to be received, where the operation takes one."""
    form: dict[str, list[str]] = field(default_factory=dict)
    upload: Upload | None = None
    previous_id: str = ""
    """The stored answer that the call goes on from; its turns are part of the body by now."""
    own_items: list[Any] = field(default_factory=list)
    """What the caller himself sent, to be kept with the answer."""
    forwarded: Mapping[str, str] = field(default_factory=dict)
    """The caller's headers that go to upstreams of his own dialect."""
    needs: frozenset[str] = frozenset()
    """Features that the request asks of a target (formats/needs.py)."""
    bound: Usage | None = None
    """The most that an operation without open length can use; chats have input_bound and a cap instead."""
    model_name: str = ""
    stream: bool = False
    include_usage: bool = False
    metadata: dict[str, Any] | None = None
    n: int = 1
    asked_cap: int | None = None
    """The most output tokens per choice that the caller asked for; None when he left it open."""
    input_estimate: int = 0
    input_bound: int = 0
    """An upper bound of the input tokens, for the reservation (docs/accounting.md)."""
    output_cap: int | None = None
    """What goes upstream as the output cap, once a budget depends on it."""
    clamped: bool = False
    grant: Grant | None = None
    rate_limit: tuple[int, int, int] = (0, 0, 0)
    """Limit, remaining and seconds until the window is empty, of the tightest request limit; zeros: there is none."""
    reservation: Reservation | None = None
    deadline_at: float = 0.0
    head: ReplyHead | None = None

    decisions: list[Decision] = field(default_factory=list)
    """Every target of the policy, why it was taken or skipped."""
    most_attempts: int = 1
    """The call's whole budget: retries, further targets, hedges and another model's targets all come out of it."""
    held_back_s: float | None = None
    """Breakers held every target back that was left; the soonest may be asked after so long."""
    busy: Failure | None = None
    """A target's provider had no place for the call; the one with the shortest wait."""
    passed_on: tuple[str, ...] = ()
    """The models that could not serve the call, the one that was asked for first; `model` took over."""
    attempts: list[Attempt] = field(default_factory=list)
    answered: Attempt | None = None
    """The attempt whose answer the caller gets."""
    translation_error: GatewayError | None = None
    first_token_at: float | None = None
    usage: Usage | None = None
    estimated: bool = False
    finish_reason: str = ""
    output_bytes: int = 0
    """Bytes of generated text seen so far; the basis of the estimate when the upstream reports no usage."""

    usage_id: str = ""
    begun: bool = False
    """The journal knows of this call, so it owes a row."""
    begun_as: str = ""
    """The model that the journal knows it by."""
    status: Status = "failed"
    on_end: Callable[[], None] | None = None
    """To be called when the last upstream byte was read: nothing can cut the call off from then on."""
    cut_off: bool = False
    """The key was revoked or its owner suspended while the call was under way."""
    error: GatewayError | None = None
    charged: bool = False
    """The call counts in request budgets: it was answered, or given up while an upstream worked on it."""
    entry: int = 0
    """The ledger's running number of its posting."""
    cost_nano: int = 0
    backend_cost_nano: int = 0
    writer: AnswerWriter | None = None
    """Renders a streamed answer for the client."""
    reply_headers: dict[str, str] = field(default_factory=dict)
    """What the answer's head tells, once there is an answer."""
