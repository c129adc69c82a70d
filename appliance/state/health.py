"""Per backend: until when it asked to be spared. Keyed by `provider:upstream_model`, so a reload forgets nothing."""

from __future__ import annotations

MAX_SPARED_S = 3600.0
"""An upstream that asks for more is asked again after an hour all the same."""


class Health:
    def __init__(self) -> None:
        self._spared_until: dict[str, float] = {}

    def spare(self, backend: str, now: float, seconds: float) -> None:
        """The backend answered Retry-After. A shorter wait never takes back a longer one."""
        until = now + min(seconds, MAX_SPARED_S)
        self._spared_until[backend] = max(until, self._spared_until.get(backend, 0.0))

    def wait_s(self, backend: str, now: float) -> float:
        """Seconds the backend still wants to be spared; 0 when it may be asked."""
        if not self._spared_until:
            return 0.0
        left = self._spared_until.get(backend, 0.0) - now
        if left <= 0:
            self._spared_until.pop(backend, None)
            return 0.0
        return left
