"""Generation and Holder: which Grid serves now, and when an old one may be let go. Who enters, leaves."""

from __future__ import annotations

from collections.abc import Callable

from appliance.grid.grid import Grid


class Generation:
    """One Grid with the count of requests inside it. `retire` runs once, after the last request of an old one left."""

    __slots__ = ("_on_retired", "_retiring", "grid", "inside")

    def __init__(self, grid: Grid, on_retired: Callable[[Grid], None] | None = None) -> None:
        self.grid = grid
        self.inside = 0
        self._retiring = False
        self._on_retired = on_retired

    def leave(self) -> None:
        assert self.inside > 0
        self.inside -= 1
        self._retire_when_empty()

    def retire(self) -> None:
        assert not self._retiring
        self._retiring = True
        self._retire_when_empty()

    def _retire_when_empty(self) -> None:
        if self._retiring and not self.inside and self._on_retired:
            self._on_retired(self.grid)


class Holder:
    """The one place that knows the current Generation, and those before it that still have requests inside."""

    __slots__ = ("_left_behind", "current", "refused")

    def __init__(self, generation: Generation) -> None:
        self.current = generation
        self.refused = 0
        """Configurations that were to follow and could not be used."""
        self._left_behind: list[Generation] = []

    def enter(self) -> Generation:
        generation = self.current
        generation.inside += 1
        return generation

    def swap(self, generation: Generation) -> None:
        old, self.current = self.current, generation
        self._left_behind = [one for one in (*self._left_behind, old) if one.inside]
        old.retire()

    def living(self) -> list[Grid]:
        """The Grids that some request uses or may use: the current one first."""
        return [self.current.grid, *(one.grid for one in self._left_behind if one.inside)]
