"""The fault matrix as text: a line per cell for the golden file, a row per fault for docs/routing.md."""

from __future__ import annotations

from collections.abc import Iterable

from support.fault_matrix import FAULTS, RETRIES, Fault
from support.fault_matrix_run import Measured

BEGIN = "<!-- fault matrix: generated -->"
END = "<!-- end of fault matrix -->"
HEAD = (
    "fault",
    "kind",
    "first target: calls",
    "the caller gets",
    "booked",
    "every target: calls with 1 · 2 · 3",
    "the caller gets",
    "booked",
)


# -- the golden file --------------------------------------------------------------------------------------------------


def lines(measured: list[Measured]) -> dict[str, str]:
    """Cell → what was measured, without anything that differs from run to run."""
    return {str(seen.cell): " | ".join((_calls(seen), _gets(seen), _booked(seen), _kinds(seen))) for seen in measured}


def _calls(seen: Measured) -> str:
    """How often each target was asked, in the policy's order; `1+0`: the second one was not."""
    return "+".join(str(seen.asked.count(place)) for place in seen.cell.places)


def _gets(seen: Measured) -> str:
    if seen.is_answer:
        return "answer"
    if seen.event:
        return f"content, then error event `{seen.code}`"
    retry_after = ", Retry-After" if seen.answer.headers["Retry-After"] else ""
    return f"{seen.answer.status} `{seen.code}`{retry_after}"


def _booked(seen: Measured) -> str:
    if not seen.rows:
        return "no row"
    how = "estimate" if seen.row["estimated"] else "exact"
    return f"`{seen.row['status']}`, {'0' if seen.row['cost'] == '0' else how}"


def _kinds(seen: Measured) -> str:
    return " ".join(attempt["error"]["kind"] if attempt["error"] else "ok" for attempt in seen.attempts)


# -- the table --------------------------------------------------------------------------------------------------------


def table(measured: list[Measured]) -> str:
    rows = [row for fault in FAULTS for row in _rows(fault, [seen for seen in measured if seen.cell.fault is fault])]
    head = [f"{len(measured)} cells, `retries: {RETRIES}`.", "", _row(HEAD), _row(["---"] * len(HEAD))]
    return "\n".join([*head, *map(_row, rows)])


def in_page(page: str) -> str:
    """The generated part of the page."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def replaced(page: str, text: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{BEGIN} is missing"
    assert end, f"{END} is missing"
    return f"{before}{begin}\n{text}\n{end}{after}"


def _rows(fault: Fault, measured: list[Measured]) -> list[list[str]]:
    """One row when whole and streamed calls go the same way, else one for each."""
    by_shape = {shape: _cells(shape, measured) for shape in fault.shapes}
    kinds = {attempt["error"]["kind"] for seen in measured for attempt in seen.attempts if attempt["error"]}
    kind = ", ".join(f"`{kind}`" for kind in sorted(kinds)) or "–"
    if len(by_shape) > 1 and len({tuple(cells) for cells in by_shape.values()}) == 1:
        return [[fault.title, kind, *by_shape[fault.shapes[0]]]]
    return [[f"{fault.title} ({shape})", kind, *cells] for shape, cells in by_shape.items()]


def _cells(shape: str, measured: list[Measured]) -> list[str]:
    found: list[str] = []
    for series in ("first", "all"):
        seen = [each for each in measured if (each.cell.shape, each.cell.series) == (shape, series)]
        seen.sort(key=lambda each: each.cell.targets)
        calls = ["+".join(_calls(each).split("+")[: max(each.asked, default=1)]) for each in seen]
        found += [_merged(calls), _merged(map(_gets, seen)), _merged(map(_booked, seen))]
    return found


def _merged(values: Iterable[str]) -> str:
    listed = list(values)
    return listed[0] if len(set(listed)) == 1 else " · ".join(listed)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
