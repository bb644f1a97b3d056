"""Every cell of the fault matrix ends in the promised way."""

import pytest
from tests.agents import fault_matrix
from tests.agents.fault_matrix import FAULTS, MOMENTS, Cell, cells, impossible, observed, promised

from mainstay.sandbox.provider import faults

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "cell", [pytest.param(cell, id=f"{cell.fault}, {cell.moment}, fallback {cell.fallback}") for cell in cells()]
)
async def test_it_ends_as_promised(bench, cell: Cell) -> None:
    assert await observed(cell, bench) == promised(cell)


def test_no_fault_of_the_sandbox_is_left_out() -> None:
    assert tuple(FAULTS) == faults.FAULTS
    possible = {(cell.fault, cell.moment) for cell in cells()}
    assert all((fault, moment) in possible or impossible(fault, moment) for fault in FAULTS for moment in MOMENTS)


def test_the_page_says_what_is_tested() -> None:
    assert fault_matrix.PAGE.read_text("utf-8") == fault_matrix.page()
