"""The fault matrix: 33 faults × whole or streamed × 1, 2, 3 targets, against a scripted upstream over real sockets.

What was measured is compared with the rules of the contract, with a golden file, and with the table in docs/routing.md.
SCAIGRID_GOLDEN=write rewrites the last two; read what changed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.fault_matrix import CELLS, FAULTS
from support.fault_matrix_rules import RULES, Rule
from support.fault_matrix_run import Run, run
from support.fault_matrix_table import in_page, lines, replaced, table
from support.golden import check_golden

PAGE = Path(__file__).parents[2] / "docs/routing.md"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_of_the_contract_holds_in_every_cell(played: Run, rule: Rule) -> None:
    verdicts = {str(seen.cell): rule(seen) for seen in played.measured}
    assert any(verdict is not None for verdict in verdicts.values()), "it speaks of no cell at all"
    broken = {cell for cell, verdict in verdicts.items() if verdict is False}
    assert not broken, "\n".join(f"{cell}: {line}" for cell, line in lines(played.measured).items() if cell in broken)


def test_every_cell_went_as_reviewed(played: Run) -> None:
    check_golden(Path("routing/fault_matrix.json"), lines(played.measured))


def test_the_docs_have_the_table_that_was_measured(played: Run) -> None:
    measured, page = table(played.measured), PAGE.read_text(encoding="utf-8")
    if os.environ.get("SCAIGRID_GOLDEN") == "write":
        PAGE.write_text(replaced(page, measured), encoding="utf-8")
        return
    assert in_page(page) == measured, f"{PAGE} differs: rewrite it with SCAIGRID_GOLDEN=write if the change is meant"


def test_every_fault_is_played_in_every_combination(played: Run) -> None:
    assert len(played.measured) == len(CELLS) == len({seen.cell for seen in played.measured})
    assert len(CELLS) == 5 * sum(len(fault.shapes) for fault in FAULTS)


def test_nothing_is_said_to_a_server_whose_certificate_is_not_trusted(played: Run) -> None:
    tries = [
        place
        for seen in played.measured
        for place in seen.asked
        if seen.cell.fault.provider == "selfsigned" and seen.cell.is_faulty(place)
    ]
    assert played.tls_connections == len(tries) > 0, "one connection for each attempt"
    assert played.heard_over_tls == b""


def test_no_fault_leaves_a_traceback_a_secret_or_a_call_in_flight(played: Run) -> None:
    assert "Traceback" not in played.output
    assert "INTERNAL_ERROR" not in played.output
    assert "sk-not-for-strangers" not in played.output
    assert played.in_flight == 0
