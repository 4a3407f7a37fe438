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
NOTHING = "always NEUTRAL"
RANDOM = "random entries as often as the fused rule"
SELDOM = "random entries once an hour"


def strategies(said: Columns, settings: Settings) -> dict[str, Orders]:
    """The orders of each strategy, all with the stops, targets and sizes of the fusion.

    Parameters
    ----------
    said : (N,) columns of ``catalog.SAID`` and ``timestamp``

    Returns
    -------
    name -> N orders; ours come first. A room that was off has no row.
    """
    close, atr = said["close"], said["atr"]
    fused, loud = _sides(said["fused"]), settings.regime
    whale = evidence.whale_sign(said["impact_type"]) * (said["whale_alert_score"] > loud.whale_alert)
    mood = np.sign(said["trajectory"]) * (np.abs(said["trajectory"]) > loud.strong_trajectory)
    bullish, bearish = (np.isin(said["regime"], list(names)) for names in (BULLISH_REGIMES, BEARISH_REGIMES))
    leaning = bullish.astype(int) - bearish
    leap = np.diff(close, prepend=close[0]) / np.concatenate([atr[:1], atr[:-1]])
    buy, sell = said["pooled_buy"], said["pooled_sell"]
    neither = 1 - buy - sell
    sides = {
        OURS: fused,
        STRICT: _sides(said["strict"]),
        NOTHING: np.zeros(len(close), int),
        RANDOM if fused.any() else SELDOM: _random(fused, settings.learning.seed),
        "ATR breakout": np.sign(leap) * (np.abs(leap) > BREAKOUT_ATR),
        "plain LightGBM": (buy > np.maximum(sell, neither)).astype(int) - (sell > np.maximum(buy, neither)),
        "specialists alone": _sides(said["specialist"]),
        "early warnings alone": np.where(said["warning"] == "up", 1, np.where(said["warning"] == "down", -1, 0)),
        "regimes alone": leaning * (np.diff(leaning, prepend=leaning[0]) != 0),
        **({"whales alone": whale} if (said["whale_alert_score"] != 0.5).any() else {}),
        **({"sentiment alone": mood} if said["trajectory"].any() else {}),
    }
    reach = settings.fusion
    return {
        name: Orders(side.astype(int), close - side * reach.stop_atr * atr, close + side * reach.target_atr * atr, said["size"])
        for name, side in sides.items()
    }


def _sides(signal: np.ndarray) -> np.ndarray:
    return (signal == BUY).astype(int) - (signal == SELL)


def _random(fused: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.Generator(np.random.PCG64(seed))
    count = int(np.count_nonzero(fused)) or len(fused) // RANDOM_MINUTES
    side = np.zeros(len(fused), int)
    side[random.choice(len(fused), count, replace=False)] = random.choice([-1, 1], count)
    return side
