"""What each strategy orders, counted by hand."""

import numpy as np
import pytest

from modules.core.settings import load_settings
from modules.evaluation.strategies import OURS, RANDOM, RANDOM_MINUTES, SELDOM, STRICT, strategies
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


def test_random_enters_as_often_as_ours_and_where_ours_is_silent_once_an_hour() -> None:
    said = sayings(1)
    silent = strategies(said, SETTINGS)
    assert RANDOM not in silent
    assert np.count_nonzero(silent[SELDOM].side) == 1_440 // RANDOM_MINUTES
    said["fused"][::100] = "BUY"
    found = strategies(said, SETTINGS)[RANDOM].side
    assert np.count_nonzero(found) == len(range(0, 1_440, 100))
    assert set(found) == {-1, 0, 1}
    assert found.tolist() == strategies(said, SETTINGS)[RANDOM].side.tolist()


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
