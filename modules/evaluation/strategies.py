"""What each row of the strategy table orders at each candle: ours by both rules, each room alone, and what must be beaten."""

import numpy as np

from modules.core import evidence
from modules.core.settings import Settings
from modules.core.tables import Columns
from modules.core.words import BEARISH_REGIMES, BULLISH_REGIMES, BUY, SELL
from modules.evaluation.engine import Orders

BREAKOUT_ATR = 2.0
"""ATR of the candle before by which a close must leave the close before it to count as a breakout."""
RANDOM_MINUTES = 60
"""One random entry in so many candles, where ours never trades and so has no frequency to copy."""

OURS, STRICT = "fused rule", "strict rule"
NOTHING, BREAKOUT = "always NEUTRAL", "ATR breakout"
RANDOM = "random entries"
"""How the names of both kinds of ``at_random`` begin."""
SELDOM = f"{RANDOM} once an hour"
YARDSTICKS = (NOTHING, RANDOM, BREAKOUT)
"""How the names begin of those that are there to be beaten. Nobody chooses one for what it earned, so it is no try."""


def judged(settings: Settings) -> str:
    """Which of our two strategies is the one that trades live, by ``[fusion] rule``: the one that the verdict is about."""
    return STRICT if settings.fusion.rule == "strict" else OURS


def strategies(said: Columns, settings: Settings) -> dict[str, Orders]:
    """The orders of each strategy but ``at_random``, all with the stops, targets and sizes of the fusion.

    Parameters
    ----------
    said : (N,) columns of ``catalog.SAID`` and ``timestamp``

    Returns
    -------
    name -> N orders; ours come first, and of them the one that is ``judged``. A room that was off has no row.
    """
    close, atr = said["close"], said["atr"]
    loud = settings.regime
    whale = evidence.whale_sign(said["impact_type"]) * (said["whale_alert_score"] > loud.whale_alert)
    mood = np.sign(said["trajectory"]) * (np.abs(said["trajectory"]) > loud.strong_trajectory)
    bullish, bearish = (np.isin(said["regime"], list(names)) for names in (BULLISH_REGIMES, BEARISH_REGIMES))
    leaning = bullish.astype(int) - bearish
    leap = np.diff(close, prepend=close[0]) / np.concatenate([atr[:1], atr[:-1]])
    buy, sell = said["pooled_buy"], said["pooled_sell"]
    neither = 1 - buy - sell
    sides = {
        OURS: _sides(said["fused"]),
        STRICT: _sides(said["strict"]),
        NOTHING: np.zeros(len(close), int),
        BREAKOUT: np.sign(leap) * (np.abs(leap) > BREAKOUT_ATR),
        "plain LightGBM": (buy > np.maximum(sell, neither)).astype(int) - (sell > np.maximum(buy, neither)),
        "specialists alone": _sides(said["specialist"]),
        "early warnings alone": np.where(said["warning"] == "up", 1, np.where(said["warning"] == "down", -1, 0)),
        "regimes alone": leaning * (np.diff(leaning, prepend=leaning[0]) != 0),
        **({"whales alone": whale} if (said["whale_alert_score"] != 0.5).any() else {}),
        **({"sentiment alone": mood} if said["trajectory"].any() else {}),
    }
    ours = judged(settings)
    return {name: _orders(side.astype(int), said, settings) for name, side in ({ours: sides[ours]} | sides).items()}


def at_random(said: Columns, settings: Settings, ours: np.ndarray) -> tuple[str, Orders]:
    """Orders at random minutes, as many as ours had trades and with their sides in any order; none falls into the trade of
    another, so that each becomes a trade. Only where ours traded so often that there is no room for that are some ignored.

    Parameters
    ----------
    said : (N,) columns of ``catalog.SAID`` and ``timestamp``
    ours : (T,) +1 or -1, the side of each closed trade of ours; where there is none, one entry in ``RANDOM_MINUTES``

    Returns
    -------
    what it is called, and N orders
    """
    random, side = np.random.Generator(np.random.PCG64(settings.learning.seed)), np.zeros(len(said["close"]), int)
    if not len(ours):
        count = len(side) // RANDOM_MINUTES
        side[random.choice(len(side), count, replace=False)] = random.choice([-1, 1], count)
        return SELDOM, _orders(side, said, settings)
    longest = settings.labels.horizon + 1 + settings.costs.latency
    able = np.flatnonzero((said["size"] > 0) & (said["atr"] > 0))
    able = able[: max(len(ours), len(able) - longest)]  # one that does not end is no trade
    side[able[_apart(random, len(able), len(ours), longest)]] = random.permutation(ours)
    return f"{RANDOM} as often as the {judged(settings)}", _orders(side, said, settings)


def _apart(random: np.random.Generator, rows: int, count: int, gap: int) -> np.ndarray:
    """(count,) of so many rows, ascending, each ``gap`` or more behind the one before, or as far as there is room for; all
    such choices are equally likely."""
    gap = min(gap, (rows - 1) // max(1, count - 1))
    free = rows - (count - 1) * (gap - 1)
    return np.sort(random.choice(free, count, replace=False)) + (gap - 1) * np.arange(count)


def _orders(side: np.ndarray, said: Columns, settings: Settings) -> Orders:
    close, atr, reach = said["close"], said["atr"], settings.fusion
    return Orders(side, close - side * reach.stop_atr * atr, close + side * reach.target_atr * atr, said["size"])


def _sides(signal: np.ndarray) -> np.ndarray:
    return (signal == BUY).astype(int) - (signal == SELL)
