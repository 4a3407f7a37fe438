"""Time: where the candle stands in the hour, the day, the week and the sessions, all UTC.

Cycles are looked up in tables of one turn, so that a value does not depend on how many rows are computed together.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from modules.core.words import DAY_MINUTES, MINUTE_MS, SESSIONS
from modules.m1_data_engine.features.market import Array, Feature, Market, shared

SESSION_STARTS = (0, 8, 13, 21)
"""UTC hours at which Asia, London, NY and off-hours begin. Fixed here, whatever the settings say for position sizes:
a model has learned the columns as they are."""
WEEK_MINUTES = 7 * DAY_MINUTES
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""
FUNDING_MINUTES = 480

feature = partial(Feature, "time")


@shared
def minute_of_week(market: Market) -> np.ndarray:
    """(N,) int64, 0 = Monday 00:00."""
    minutes = market.candles["timestamp"].astype(np.int64) // MINUTE_MS
    return (minutes + EPOCH_WEEKDAY * DAY_MINUTES) % WEEK_MINUTES


def minute_of_day(market: Market) -> np.ndarray:
    """(N,) int64."""
    return minute_of_week(market) % DAY_MINUTES


def cycle(market: Market, wave: Callable[[np.ndarray], Array], turn: int, step: int = 1) -> Array:
    """Sine or cosine of the minute of the week, one turn in ``turn`` minutes, in steps of ``step`` minutes."""
    table = wave(2 * np.pi * np.arange(0, turn, step) / turn)
    return table[minute_of_week(market) % turn // step]


def in_session(market: Market, number: int) -> Array:
    """1 within the session, else 0."""
    ends = (*SESSION_STARTS[1:], 24)
    hour = minute_of_day(market) // 60
    return ((hour >= SESSION_STARTS[number]) & (hour < ends[number])).astype(np.float64)


def session_progress(market: Market) -> Array:
    """Share of the running session that has passed, 0 .. 1."""
    bounds = 60 * np.array((*SESSION_STARTS, 24))
    minute = minute_of_day(market)
    number = np.searchsorted(bounds, minute, side="right") - 1
    return (minute - bounds[number]) / (bounds[number + 1] - bounds[number])


def weekend(market: Market) -> Array:
    """1 on Saturday and Sunday."""
    return (minute_of_week(market) >= 5 * DAY_MINUTES).astype(np.float64)


def quarter_progress(market: Market) -> Array:
    """Share of the running quarter of an hour that has passed."""
    return (minute_of_week(market) % 15) / 15


def _pair(name: str, turn: int, step: int = 1) -> tuple[Feature, Feature]:
    return (
        feature(f"{name}_sin", 0, partial(cycle, wave=np.sin, turn=turn, step=step)),
        feature(f"{name}_cos", 0, partial(cycle, wave=np.cos, turn=turn, step=step)),
    )


FEATURES = (
    *_pair("hour", DAY_MINUTES, 60),
    *_pair("minute_of_day", DAY_MINUTES),
    *_pair("half_day", DAY_MINUTES // 2),
    *_pair("minute_of_hour", 60),
    *_pair("weekday", WEEK_MINUTES, DAY_MINUTES),
    *_pair("funding_cycle", FUNDING_MINUTES),
    *(feature(f"session_{name}", 0, partial(in_session, number=i)) for i, name in enumerate(SESSIONS)),
    feature("session_progress", 0, session_progress),
    feature("weekend", 0, weekend),
    feature("quarter_progress", 0, quarter_progress),
)
