"""What must hold in the fault matrix whatever the golden table says: each rule is read off the contract.

A rule tells whether it holds in a cell; None: it says nothing about this cell.
"""

from __future__ import annotations

from collections.abc import Callable

from support.fault_matrix import RETRIES, STATUS
from support.fault_matrix_run import Measured

Rule = Callable[[Measured], bool | None]

AT_ONCE_S = 1.0
"""Less than any wait that an upstream asks for in the matrix."""
LONGEST_S = 10.0
USED = {"tokens_in": 7, "tokens_out": 3, "cost": "0.013", "backend_cost": "0.013", "estimated": False}
NOTHING = {"tokens_in": 0, "tokens_out": 0, "cost": "0", "backend_cost": "0", "estimated": False}


def never_more_calls_than_one_and_the_retries(seen: Measured) -> bool:
    return max(len(seen.attempts), sum(seen.arrived)) <= 1 + RETRIES


def those_are_asked_whom_the_contract_wants_asked(seen: Measured) -> bool:
    return seen.asked == seen.cell.asked


def each_attempt_is_one_request_at_its_target(seen: Measured) -> bool:
    """Where no connection comes about, no request may arrive."""
    expected = [
        0 if seen.cell.is_faulty(place) and seen.cell.fault.play is None else seen.asked.count(place)
        for place in seen.cell.places
    ]
    return seen.arrived == expected


def whoever_can_be_answered_is_answered(seen: Measured) -> bool:
    return seen.is_answer == seen.cell.is_answered


def an_answer_is_whole_and_there_once(seen: Measured) -> bool | None:
    if not seen.is_answer:
        return None
    return seen.is_whole and seen.text == f"answer of {seen.asked[-1]}"


def an_answer_is_paid_once(seen: Measured) -> bool | None:
    if not seen.is_answer:
        return None
    return seen.row["status"] == "completed" and USED.items() <= seen.row.items()


def there_is_one_row_for_a_call_that_was_tried_and_none_for_another(seen: Measured) -> bool:
    """A refused connection is a try as well; nobody is tried only where no target is configured."""
    tried = seen.cell.fault.provider != "nokey" or any(seen.arrived)
    return len(seen.rows) == tried


def a_failed_call_costs_nothing_unless_its_output_began(seen: Measured) -> bool | None:
    if seen.is_answer or not seen.rows:
        return None
    if seen.row["status"] != "failed" or seen.row["error"] != seen.code:
        return False
    if seen.text:
        return seen.row["estimated"] is True and _charged(seen)
    return NOTHING.items() <= seen.row.items()


def _charged(seen: Measured) -> bool:
    row = seen.row
    return row["tokens_in"] > 0 and row["tokens_out"] > 0 and float(row["cost"]) > 0 and row["backend_cost"] != "0"


def a_fault_of_the_callers_is_one_call_and_a_4xx(seen: Measured) -> bool | None:
    if seen.cell.fault.kind != "caller":
        return None
    return sum(seen.arrived) == 1 and 400 <= seen.answer.status < 500


def operators_faults_and_quotas_ask_nobody_twice_and_wait_for_nothing(seen: Measured) -> bool | None:
    if seen.cell.fault.kind not in ("operator", "quota"):
        return None
    return max(seen.arrived) == 1 and seen.seconds < AT_ONCE_S


def an_operators_fault_is_never_the_callers_own(seen: Measured) -> bool | None:
    if seen.cell.fault.kind != "operator":
        return None
    return seen.answer.status not in (401, 402, 403, 404)


def an_error_is_typed_with_the_code_and_status_of_the_contract(seen: Measured) -> bool | None:
    if seen.is_answer:
        return None
    if seen.event:
        return seen.code == seen.cell.fault.code and bool(seen.event["message"])
    error = seen.answer.json()["error"]
    return error["code"] == seen.cell.fault.code and seen.answer.status == STATUS[seen.code] and bool(error["message"])


def every_failed_attempt_says_why(seen: Measured) -> bool:
    """Those of sound targets have no failure, and there is at most one, the last."""
    kinds = [attempt["error"]["kind"] if attempt["error"] else None for attempt in seen.attempts]
    expected = [seen.cell.fault.kind if seen.cell.is_faulty(place) else None for place in seen.asked]
    statuses = ["failed" if kind else "completed" for kind in kinds]
    return kinds == expected and [attempt["status"] for attempt in seen.attempts] == statuses


def an_error_event_comes_only_after_content_and_ends_the_stream(seen: Measured) -> bool | None:
    if not (seen.event or seen.cell.fault.after_content):
        return None
    return seen.cell.fault.after_content and seen.text == "one two" and seen.answer.body.endswith(b"data: [DONE]\n\n")


def no_finish_reason_is_invented(seen: Measured) -> bool | None:
    return b'"finish_reason":"' not in seen.answer.body.replace(b" ", b"") if seen.event else None


def retry_after_is_told_where_the_upstream_told_it(seen: Measured) -> bool | None:
    if seen.is_answer or seen.event:
        return None
    told, bounds = seen.answer.headers["Retry-After"], seen.cell.fault.retry_after
    inside = seen.answer.json()["error"].get("retry_after")
    if told is None or inside is None or bounds is None:
        return told is inside is bounds is None
    return bounds[0] <= float(inside) <= int(told) <= bounds[1]


def a_long_retry_after_is_handed_on_at_once(seen: Measured) -> bool | None:
    bounds = seen.cell.fault.retry_after
    if seen.is_answer or bounds is None or bounds[0] <= 2:
        return None
    return seen.answer.status == 429 and seen.seconds < AT_ONCE_S and max(seen.arrived) == 1


def a_target_is_asked_again_after_a_pause_only(seen: Measured) -> bool | None:
    return seen.seconds >= seen.cell.pause_s if seen.cell.pause_s else None


def nobody_waits_for_ever(seen: Measured) -> bool:
    return seen.seconds < LONGEST_S


def the_headers_say_what_the_row_says(seen: Measured) -> bool | None:
    if not seen.attempts:
        return None
    told = (seen.answer.headers["X-Scaigrid-Attempts"], seen.answer.headers["X-Scaigrid-Backend"])
    if seen.is_answer and seen.cell.shape == "whole" and seen.answer.json()["meta"]["attempts"] != len(seen.attempts):
        return False
    return told == (str(len(seen.attempts)), seen.attempts[-1]["backend"])


RULES: list[Rule] = [
    never_more_calls_than_one_and_the_retries,
    those_are_asked_whom_the_contract_wants_asked,
    each_attempt_is_one_request_at_its_target,
    whoever_can_be_answered_is_answered,
    an_answer_is_whole_and_there_once,
    an_answer_is_paid_once,
    there_is_one_row_for_a_call_that_was_tried_and_none_for_another,
    a_failed_call_costs_nothing_unless_its_output_began,
    a_fault_of_the_callers_is_one_call_and_a_4xx,
    operators_faults_and_quotas_ask_nobody_twice_and_wait_for_nothing,
    an_operators_fault_is_never_the_callers_own,
    an_error_is_typed_with_the_code_and_status_of_the_contract,
    every_failed_attempt_says_why,
    an_error_event_comes_only_after_content_and_ends_the_stream,
    no_finish_reason_is_invented,
    retry_after_is_told_where_the_upstream_told_it,
    a_long_retry_after_is_handed_on_at_once,
    a_target_is_asked_again_after_a_pause_only,
    nobody_waits_for_ever,
    the_headers_say_what_the_row_says,
]
