"""What each strategy orders, counted by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.settings import Settings, load_settings
from modules.core.tables import Columns
from modules.evaluation.engine import Orders, simulate
from modules.evaluation.strategies import OURS, RANDOM, RANDOM_MINUTES, SELDOM, STRICT, _apart, at_random, judged, strategies
from tests.evaluation.sayings import sayings

SETTINGS = load_settings()


def test_ours_are_ordered_as_decided() -> None:
    said = sayings(1)
    said["fused"][[3, 9]], said["strict"][9] = ["BUY", "SELL"], "SELL"
    found = strategies(said, SETTINGS)
    assert list(found)[:2] == [OURS, STRICT]
    assert found[OURS].side[[3, 9]].tolist() == [1, -1]
    assert np.count_nonzero(found[OURS].side) == 2
    assert np.flatnonzero(found[STRICT].side).tolist() == [9]
    for row, sign in ((3, 1), (9, -1)):
        assert found[OURS].stop[row] == pytest.approx(said["close"][row] - sign * SETTINGS.fusion.stop_atr * said["atr"][row])
        assert found[OURS].target[row] == pytest.approx(said["close"][row] + sign * SETTINGS.fusion.target_atr * said["atr"][row])


def test_random_trades_as_often_as_ours_and_on_the_same_sides() -> None:
    said, horizon = sayings(20, volatility=1e-3), SETTINGS.labels.horizon
    # Ours says the same for half an hour at a time: most of its signals fall into an open position and are ignored.
    said["fused"][np.arange(len(said["close"])) % 97 < 30] = "BUY"
    said["fused"][np.arange(len(said["close"])) % 970 < 30] = "SELL"
    said["size"][:1_440] = 0.0  # nothing can be ordered then
    for latency in (0, 3):
        wanted = load_settings(overrides={"costs": {"latency": latency}})

        def trades(orders: Orders, wanted: Settings = wanted) -> Columns:
            return simulate(said, orders, wanted.costs, horizon, 10_000.0).trades

        ours = trades(strategies(said, wanted)[OURS])["side"]
        name, orders = at_random(said, wanted, ours)
        found = trades(orders)["side"]
        assert name == f"{RANDOM} as often as the fused rule"
        assert 3 * len(ours) < np.count_nonzero(said["fused"] != "NEUTRAL")
        assert Counter(found) == Counter(ours)
        assert np.count_nonzero(orders.side) == len(ours) > 300
        assert orders.side.tolist() == at_random(said, wanted, ours)[1].side.tolist()


def test_random_fills_the_time_where_there_is_no_room_for_as_many() -> None:
    said = sayings(5, volatility=1e-3)
    said["fused"][:] = "BUY"

    def sides(orders: Orders) -> np.ndarray:
        return simulate(said, orders, SETTINGS.costs, SETTINGS.labels.horizon, 10_000.0).trades["side"]

    ours = sides(strategies(said, SETTINGS)[OURS])
    found = sides(at_random(said, SETTINGS, ours)[1])
    assert len(ours) > 1.5 * len(said["close"]) / (SETTINGS.labels.horizon + 1)
    assert len(ours) > len(found) > len(said["close"]) / (SETTINGS.labels.horizon + 1)


@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 100), st.integers(0, 5))
def test_entries_apart_are_all_there_and_apart_where_there_is_room(count: int, gap: int, more: int, seed: int) -> None:
    rows = count + more
    found = _apart(np.random.default_rng(seed), rows, count, gap)
    assert len(found) == count
    assert (found[0] >= 0, found[-1] < rows) == (True, True)
    assert (np.diff(found) >= min(gap, (rows - 1) // max(1, count - 1))).all()


def test_random_enters_once_an_hour_where_ours_is_silent() -> None:
    said = sayings(1)
    name, orders = at_random(said, SETTINGS, np.zeros(0, int))
    assert name == SELDOM
    assert np.count_nonzero(orders.side) == 1_440 // RANDOM_MINUTES
    assert set(orders.side) == {-1, 0, 1}


def test_the_rule_that_is_set_comes_first_and_random_is_as_busy_as_that() -> None:
    strict, said = load_settings(overrides={"fusion": {"rule": "strict"}}), sayings(1)
    assert list(strategies(said, strict))[:2] == [STRICT, OURS]
    assert (judged(strict), judged(SETTINGS)) == (STRICT, OURS)
    assert at_random(said, strict, np.array([1]))[0] == f"{RANDOM} as often as the strict rule"


def test_each_room_alone() -> None:
    said = sayings(1)
    said["atr"][:] = 10.0
    said["close"][:] = 50_000.0
    said["close"][100:] += 21.0
    said["close"][200:] -= 19.0
    said["regime"][:] = "STABLE_LOW"
    said["regime"][50:60], said["regime"][60:70] = "TREND_UP", "VOLATILE_DOWN"
    said["warning"][[7, 8, 9]] = ["up", "move", "down"]
    said["specialist"][11] = "SELL"
    said["pooled_buy"][[12, 13]], said["pooled_sell"][13] = 0.4, 0.35
    said["pooled_sell"][12] = 0.1
    said["pooled_sell"][14], said["pooled_buy"][14] = 0.6, 0.1
    sides = {name: orders.side for name, orders in strategies(said, SETTINGS).items()}
    assert np.flatnonzero(sides["ATR breakout"]).tolist() == [100]
    assert sides["ATR breakout"][100] == 1
    assert [(row, sides["regimes alone"][row]) for row in np.flatnonzero(sides["regimes alone"])] == [(50, 1), (60, -1)]
    assert [(row, sides["early warnings alone"][row]) for row in np.flatnonzero(sides["early warnings alone"])] == [
        (7, 1),
        (9, -1),
    ]
    assert [(row, sides["specialists alone"][row]) for row in np.flatnonzero(sides["specialists alone"])] == [(11, -1)]
    # 12: neither side is the likelier (0.4 of a BUY, 0.5 of neither); 13: a BUY is the likeliest; 14: a SELL.
    assert sides["plain LightGBM"][[12, 13, 14]].tolist() == [0, 1, -1]


def test_rooms_that_are_off_have_no_row() -> None:
    said = sayings(1)
    assert not {"whales alone", "sentiment alone"} & set(strategies(said, SETTINGS))
    said["whale_alert_score"][5], said["impact_type"][5] = 0.9, "sell_pressure"
    said["trajectory"][[6, 7]] = [0.9, 0.1]
    found = strategies(said, SETTINGS)
    assert np.flatnonzero(found["whales alone"].side).tolist() == [5]
    assert found["whales alone"].side[5] == -1
    assert np.flatnonzero(found["sentiment alone"].side).tolist() == [6]
