"""Labels against loops that are slow and plain."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.labels import BUY, NEUTRAL, SELL, barrier_outcome, excursion, first_side, known, move_points

LEVELS = st.integers(90, 110).map(float)


@st.composite
def candles(draw):
    """A few candles on whole dollars, so that barriers are met exactly, and gaps between them."""
    rows = draw(st.lists(st.lists(LEVELS, min_size=4, max_size=4), min_size=1, max_size=14))
    opens, close = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    high, low = np.max(rows, 1), np.min(rows, 1)
    return {"open": opens, "high": high, "low": low, "close": close}


def slow_first_side(bars, distance, horizon):
    label, moved = [], []
    rows = len(bars["close"])
    for i in range(rows):
        side, came = NEUTRAL, False
        if i + horizon < rows:
            for j in range(i + 1, i + horizon + 1):
                up = bars["high"][j] >= bars["close"][i] + distance
                down = bars["low"][j] <= bars["close"][i] - distance
                if up or down:
                    side, came = (NEUTRAL if up and down else BUY if up else SELL), True
                    break
        label.append(side)
        moved.append(came)
    return label, moved


@given(candles(), st.integers(1, 6), st.integers(1, 15))
def test_first_side(bars, distance, horizon):
    rows = len(bars["close"])
    label, moved = first_side(bars["high"], bars["low"], bars["close"], np.full(rows, float(distance)), horizon)
    assert (label.tolist(), moved.tolist()) == slow_first_side(bars, distance, horizon)


def test_both_sides_in_one_candle_are_neutral_but_a_move():
    high, low, close = np.array([100.0, 105, 100]), np.array([100.0, 95, 100]), np.full(3, 100.0)
    label, moved = first_side(high, low, close, np.full(3, 5.0), 1)
    assert (label[0], moved[0]) == (NEUTRAL, True)


@given(candles(), st.integers(1, 15), st.integers(1, 15))
def test_an_excursion_of_the_distance_is_a_move(bars, distance, horizon):
    high, low, close = bars["high"], bars["low"], bars["close"]
    far = excursion(high, low, close, horizon)
    assert np.array_equal(np.isfinite(far), np.arange(len(close)) < len(close) - horizon)
    _, moved = first_side(high, low, close, np.full(len(close), float(distance)), horizon)
    assert np.array_equal(far >= distance, moved)


def slow_outcome(bars, atr, side, stop_atr, target_atr, horizon):
    results = []
    for i in range(len(atr)):
        if i + horizon + 1 >= len(atr):
            results.append(math.nan)
            continue
        stop, target = bars["close"][i] - side * stop_atr * atr[i], bars["close"][i] + side * target_atr * atr[i]
        price = bars["open"][i + horizon + 1]
        for j in range(i + 1, i + horizon + 1):
            start, worst, best = bars["open"][j], bars["low"][j], bars["high"][j]
            if side < 0:
                worst, best = best, worst
            if side * worst <= side * stop:
                price = start if side * start < side * stop else stop
                break
            if side * best >= side * target:
                price = start if side * start > side * target else target
                break
        results.append(side * (price / bars["open"][i + 1] - 1))
    return results


@pytest.mark.parametrize("side", [1, -1])
@given(bars=candles(), atr=st.integers(1, 5), stop=st.integers(1, 3), target=st.integers(1, 3), horizon=st.integers(1, 14))
def test_barrier_outcome(side, bars, atr, stop, target, horizon):
    spans = np.full(len(bars["close"]), float(atr))
    got = barrier_outcome(bars, spans, side, stop, target, horizon)
    np.testing.assert_allclose(got, slow_outcome(bars, spans, side, stop, target, horizon), rtol=1e-14)


def test_the_stop_comes_first_and_a_gap_fills_at_the_open():
    def trade(side, *rows):
        bars = dict(zip(("open", "high", "low", "close"), np.array([(100, 100, 100, 100), *rows], float).T, strict=True))
        return barrier_outcome(bars, np.ones(len(rows) + 1), side, 2, 3, len(rows) - 1)[0]

    end = (100, 100, 100, 100)
    assert trade(1, (100, 103, 98, 100), end) == pytest.approx(-0.02)
    assert trade(-1, (100, 102, 97, 100), end) == pytest.approx(-0.02)
    assert trade(1, (100, 100, 100, 100), (95, 96, 94, 95), end) == pytest.approx(-0.05)
    assert trade(1, (100, 100, 100, 100), (107, 108, 106, 107), end) == pytest.approx(0.07)
    assert trade(1, (100, 101, 99, 100), (101, 101, 101, 101)) == pytest.approx(0.01)  # time exit at the open


@given(candles(), st.integers(1, 20))
def test_known_rows_are_those_with_an_outcome(bars, horizon):
    rows = len(bars["close"])
    outcome = barrier_outcome(bars, np.ones(rows), 1, 2, 3, horizon)
    assert (known(rows, horizon) == np.isfinite(outcome)).all()


def test_move_points():
    close = np.array([50_000.0, 60_000.0])
    assert move_points(close, 300, 0).tolist() == [300, 300]
    assert move_points(close, 300, 50).tolist() == [250, 300]
