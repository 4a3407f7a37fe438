"""Labels: what came after each candle. The only functions here that look ahead, and nothing on the live path calls them."""

import numpy as np

from modules.core.words import SIGNALS

SELL, NEUTRAL, BUY = range(len(SIGNALS))


def move_points(close: np.ndarray, points: float, bps: float) -> np.ndarray:
    """(N,) the distance in USD that counts as a move: ``bps`` of the close where above 0, else ``points``."""
    return close * bps / 1e4 if bps else np.full(len(close), points)


def first_side(
    high: np.ndarray, low: np.ndarray, close: np.ndarray, distance: np.ndarray, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which side of the close is reached first within the horizon.

    Parameters
    ----------
    high, low, close, distance : (N,) USD; distance from the close that counts as a move
    horizon : candles looked ahead

    Returns
    -------
    label : (N,) BUY where the upper side comes first, SELL the lower, NEUTRAL neither or both in one candle
    moved : (N,) bool, either side was reached; rows whose horizon reaches beyond the data are False in both
    """
    rows, never = len(close), horizon + 1
    up, down = np.full(rows, never), np.full(rows, never)
    for ahead in range(horizon, 0, -1):
        up[:-ahead] = np.where(high[ahead:] >= (close + distance)[:-ahead], ahead, up[:-ahead])
        down[:-ahead] = np.where(low[ahead:] <= (close - distance)[:-ahead], ahead, down[:-ahead])
    label = np.where(up < down, BUY, np.where(down < up, SELL, NEUTRAL))
    moved = (up < never) | (down < never)
    unknown = max(0, rows - horizon)
    label[unknown:], moved[unknown:] = NEUTRAL, False
    return label, moved


def excursion(high: np.ndarray, low: np.ndarray, close: np.ndarray, horizon: int) -> np.ndarray:
    """(N,) how far the high or low goes from the close within the horizon, USD; NaN where it reaches beyond the data.

    ``first_side`` says moved where this is at least the distance, but for the last bit.
    """
    rows = len(close)
    result = np.zeros(rows)
    for ahead in range(1, horizon + 1):
        up, down = high[ahead:] - close[:-ahead], close[:-ahead] - low[ahead:]
        result[:-ahead] = np.maximum(result[:-ahead], np.maximum(up, down))
    result[max(0, rows - horizon) :] = np.nan
    return result


def known(rows: int, horizon: int) -> np.ndarray:
    """(N,) bool: the row's horizon, and the candle after it at which a time exit fills, lie within the data."""
    return np.arange(rows) < rows - horizon - 1


def barrier_outcome(
    candles: dict[str, np.ndarray], atr: np.ndarray, side: int, stop_atr: float, target_atr: float, horizon: int
) -> np.ndarray:
    """The gross return of a trade decided at each candle's close: the triple barrier of López de Prado (2018), chapter 3,
    filled as the executor fills it.

    Entry at the next open; stop and target around the close, the stop first where one candle holds both, a gap fills
    at the open; a time exit at the open after the horizon.

    Parameters
    ----------
    candles : open, high, low, close, each (N,) USD
    atr : (N,) USD
    side : +1 long, -1 short

    Returns
    -------
    (N,) exit over entry minus 1, times the side, before costs; NaN where the data ends too soon
    """
    opens, high, low, close = (candles[key] for key in ("open", "high", "low", "close"))
    rows = len(close)
    result = np.full(rows, np.nan)
    count = rows - horizon - 1
    if count <= 0:
        return result
    entry = opens[1 : count + 1]
    stop = close[:count] - side * stop_atr * atr[:count]
    target = close[:count] + side * target_atr * atr[:count]
    exit_price = opens[horizon + 1 : horizon + 1 + count].copy()
    open_still = np.ones(count, bool)
    for ahead in range(1, horizon + 1):
        o, h, l = (x[ahead : ahead + count] for x in (opens, high, low))
        hit_stop = open_still & ((l <= stop) if side > 0 else (h >= stop))
        hit_target = open_still & ~hit_stop & ((h >= target) if side > 0 else (l <= target))
        worse, better = (np.minimum, np.maximum) if side > 0 else (np.maximum, np.minimum)
        exit_price = np.where(hit_stop, worse(stop, o), np.where(hit_target, better(target, o), exit_price))
        open_still &= ~(hit_stop | hit_target)
    result[:count] = side * (exit_price / entry - 1)
    return result
