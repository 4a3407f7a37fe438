"""When funding falls due, and what of it the candles are charged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.settings import Costs
from modules.core.words import MINUTE_MS
from modules.m6_executor.funding import EVERY_MS, funding_due

START = 200 * EVERY_MS
ON = Costs(fee=0.0, slippage=0.0, funding="both", funding_rate=0.0001)


def test_it_falls_due_at_0_8_and_16_utc():
    stamps = START + np.arange(24 * 60) * MINUTE_MS
    due = funding_due(stamps, None, ON)
    assert np.flatnonzero(due).tolist() == [0, 480, 960]
    assert set(due[due != 0]) == {0.0001}
    assert not funding_due(stamps, None, Costs(fee=0.0, slippage=0.0, funding_rate=0.0001)).any()


def test_what_fell_due_in_a_hole_is_charged_behind_it():
    stamps = np.array([START - MINUTE_MS, START + 2 * EVERY_MS + MINUTE_MS])
    assert funding_due(stamps, None, ON) == pytest.approx([0, 0.0003])
    assert funding_due(stamps[1:], int(stamps[0]), ON) == pytest.approx([0.0003])
    assert funding_due(stamps[1:], None, ON) == [0]


def test_a_table_takes_the_place_of_the_constant_where_it_has_a_rate():
    table = {"timestamp": np.array([START + 15, START + EVERY_MS + MINUTE_MS]), "funding_rate": np.array([-0.002, 0.5])}
    due = funding_due(np.array([START, START + EVERY_MS]), None, ON, table)
    assert due.tolist() == [-0.002, 0.0001]


@given(st.lists(st.integers(1, 700), min_size=1, max_size=30), st.integers(0, 30))
def test_minute_by_minute_is_as_all_at_once(steps: list[int], cut: int) -> None:
    """However the candles are divided, each payment is charged once, at the same candle."""
    stamps = START + np.cumsum(steps) * MINUTE_MS
    whole, cut = funding_due(stamps, START, ON), min(cut, len(stamps))
    before = int(stamps[cut - 1]) if cut else START
    parts = [funding_due(stamps[:cut], START, ON), funding_due(stamps[cut:], before, ON)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert whole.sum() == pytest.approx(0.0001 * (stamps[-1] // EVERY_MS - START // EVERY_MS))
