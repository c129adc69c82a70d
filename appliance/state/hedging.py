"""How many calls of a policy may still be hedged: a share of all its calls, saved up for a few at most."""

from __future__ import annotations

MOST_SAVED = 10.0


class Hedges:
    """Keyed by the policy's name. Each call earns its share, each hedge takes a whole one."""

    def __init__(self) -> None:
        self._saved: dict[str, float] = {}
        self.begun = 0
        self.won = 0

    def earn(self, policy: str, share: float) -> None:
        """A call of the policy begins."""
        self._saved[policy] = min(MOST_SAVED, self._saved.get(policy, 0.0) + share)

    def may(self, policy: str) -> bool:
        # Shares such as 0.05 add up to a hair less than 1.
        return self._saved.get(policy, 0.0) > 1 - 1e-9

    def take(self, policy: str) -> None:
        """A hedge of the policy begins."""
        self._saved[policy] = max(0.0, self._saved.get(policy, 0.0) - 1)
        self.begun += 1

    def give_back(self, policy: str) -> None:
        """One that was taken is not made."""
        self._saved[policy] = min(MOST_SAVED, self._saved.get(policy, 0.0) + 1)
        self.begun -= 1
