"""The words that every room speaks: regimes, signals, sides and sessions."""

from collections.abc import Iterable, Sequence

MINUTE_MS = 60_000
DAY_MINUTES = 1_440

REGIMES = (
    "TREND_UP",
    "TREND_DOWN",
    "RANGE_HIGH",
    "RANGE_LOW",
    "VOLATILE_UP",
    "VOLATILE_DOWN",
    "STABLE_HIGH",
    "STABLE_LOW",
)
BULLISH_REGIMES = ("TREND_UP", "VOLATILE_UP")
BEARISH_REGIMES = ("TREND_DOWN", "VOLATILE_DOWN")
VOLATILE_REGIMES = ("VOLATILE_UP", "VOLATILE_DOWN")

SELL, NEUTRAL, BUY = "SELL", "NEUTRAL", "BUY"
SIGNALS = (SELL, NEUTRAL, BUY)
"""In the order of the label's integers: SELL 0, NEUTRAL 1, BUY 2."""

IMPACTS = ("sell_pressure", "none", "buy_pressure")

OK, OFF = "ok", "off"
"""A row's status; the third is ``fallback: why``."""

SESSIONS = ("asia", "london", "ny", "off")


def session_names(timestamps: Iterable[int], starts: Sequence[int]) -> list[str]:
    """The trading session of each candle.

    Parameters
    ----------
    timestamps : (N,) open times, Unix ms UTC
    starts : the UTC hours at which Asia, London, NY and off-hours begin, ascending, the first of them 0

    Returns
    -------
    N names out of ``SESSIONS``
    """
    names = []
    for stamp in timestamps:
        hour = (int(stamp) // 3_600_000) % 24
        names.append(SESSIONS[sum(hour >= start for start in starts) - 1])
    return names
