"""Windows over an array: row t of every result is a function of its window alone, to the last bit.

Running sums (TA-Lib's SMA, STDDEV, CORREL ..., pandas' rolling) carry the rounding of all that went before, so the same
candles give other bits in a short live buffer than in a long history. Here a window is joined from blocks of 1, 2, 4,
8 ... rows, in an order that depends on its length only. That takes log2(window) passes over the array and O(N) memory.

Means and second moments are joined by the pairwise update of Chan, Golub & LeVeque (1979), "Updating formulae and a
pairwise algorithm for computing sample variances": no cancellation, and exactly zero deviation for constants.

All functions take and give (N,) float64. The first window - 1 rows of a result are NaN; NaN in a window gives NaN.
"""

from collections.abc import Callable

import numpy as np

from modules.core.talib_light import talib
from modules.m1_data_engine.features.market import Array

_Blocks = tuple[Array, ...]
_Join = Callable[[_Blocks, _Blocks, int, int], _Blocks]


def lag(values: Array, rows: int) -> Array:
    """The value ``rows`` rows earlier."""
    shifted = np.full(len(values), np.nan)
    if rows < len(values):
        shifted[rows:] = values[: len(values) - rows]
    return shifted


def ratio(above: Array, below: Array, empty: float = 0.0) -> Array:
    """above / below, and ``empty`` where ``below`` is 0 (there is nothing to compare with)."""
    result = np.full(len(above), empty)
    return np.divide(above, below, out=result, where=below != 0)


def total(values: Array, window: int) -> Array:
    """Sum."""
    return _fold((values,), lambda new, old, _n, _m: (new[0] + old[0],), window)[0]


def mean(values: Array, window: int) -> Array:
    """Arithmetic mean; of a constant it is that constant exactly."""
    return _fold((values,), _join_means, window)[0]


def deviation(values: Array, window: int) -> Array:
    """Standard deviation (population)."""
    squares = _fold((values, np.zeros(len(values))), _join_moments, window)[1]
    return np.sqrt(squares / window)


def zscore(values: Array, window: int) -> Array:
    """Distance of the newest value from the window's mean, in standard deviations; 0 for a constant."""
    centre, squares = _fold((values, np.zeros(len(values))), _join_moments, window)
    return ratio(values - centre, np.sqrt(squares / window))


def regression(y: Array, x: Array, window: int) -> tuple[Array, Array]:
    """Least squares of y on x.

    Returns
    -------
    slope, 0 where x is constant; and Pearson's correlation, 0 where either is constant
    """
    zeros = np.zeros(len(y))
    _, _, yy, xx, xy = _fold((y, x, zeros, zeros, zeros), _join_products, window)
    return ratio(xy, xx), np.clip(ratio(xy, np.sqrt(xx) * np.sqrt(yy)), -1.0, 1.0)


def correlation(y: Array, x: Array, window: int) -> Array:
    """Pearson's correlation, 0 where either is constant."""
    return regression(y, x, window)[1]


def trend(values: Array, window: int) -> tuple[Array, Array]:
    """Least squares of the values on time.

    Returns
    -------
    slope per row; and the correlation with time, 0 for a constant
    """
    zeros = np.zeros(len(values))
    _, squares, product = _fold((values, zeros, zeros), _join_trends, window)
    time = window * (window * window - 1) / 12  # the second moment of 1 .. window about its mean
    return product / time, np.clip(ratio(product, np.sqrt(squares * time)), -1.0, 1.0)


def mean_deviation(values: Array, window: int) -> Array:
    """Mean absolute distance from the window's mean."""
    size, centre = len(values), mean(values, window)
    distances = np.zeros(size)
    for rows in range(min(window, size)):
        distances[rows:] += np.abs(values[: size - rows] - centre[rows:])
    return distances / window


def weighted_mean(values: Array, weights: Array) -> Array:
    """Mean of the newest len(weights) values; ``weights`` run from the oldest to the newest and need not sum to 1."""
    size, window = len(values), len(weights)
    result = np.full(size, np.nan)
    if size < window:
        return result
    shares = weights / weights.sum()
    sums = np.zeros(size - window + 1)
    product = np.empty_like(sums)
    for position, share in enumerate(shares):
        sums += np.multiply(values[position : position + len(sums)], share, out=product)
    result[window - 1 :] = sums
    return result


def highest(values: Array, window: int) -> Array:
    """Maximum (TA-Lib MAX, which compares only and so is exact). NaN only before the first value."""
    return talib.MAX(values, window)


def lowest(values: Array, window: int) -> Array:
    """Minimum (TA-Lib MIN, which compares only and so is exact). NaN only before the first value."""
    return talib.MIN(values, window)


def _fold(rows: _Blocks, join: _Join, window: int) -> _Blocks:
    """Join every ``window`` neighbouring rows, by doubling.

    A block of n rows is held at the index of its oldest row. ``join(new, old, n, m)`` joins blocks of n newer rows
    with the blocks of m rows right before them.
    """
    size = len(rows[0])
    if size < window:
        return tuple(np.full(size, np.nan) for _ in rows)
    block, length = rows, 1
    whole, held = rows, 0
    while True:
        if window & length:
            whole = _neighbours(whole, block, join, held, length) if held else block
            held += length
        if held == window:
            return tuple(np.concatenate((np.full(window - 1, np.nan), part)) for part in whole)
        block, length = _neighbours(block, block, join, length, length), 2 * length


def _neighbours(new: _Blocks, old: _Blocks, join: _Join, n: int, m: int) -> _Blocks:
    return join(tuple(part[m:] for part in new), tuple(part[:-n] for part in old), n, m)


def _join_means(new: _Blocks, old: _Blocks, n: int, m: int) -> _Blocks:
    return (old[0] + (new[0] - old[0]) * (n / (n + m)),)


def _join_moments(new: _Blocks, old: _Blocks, n: int, m: int) -> _Blocks:
    step = new[0] - old[0]
    return old[0] + step * (n / (n + m)), new[1] + old[1] + step * step * (n * m / (n + m))


def _join_products(new: _Blocks, old: _Blocks, n: int, m: int) -> _Blocks:
    (y, x, yy, xx, xy), (old_y, old_x, old_yy, old_xx, old_xy) = new, old
    step_y, step_x, share, weight = y - old_y, x - old_x, n / (n + m), n * m / (n + m)
    return (
        old_y + step_y * share,
        old_x + step_x * share,
        yy + old_yy + step_y * step_y * weight,
        xx + old_xx + step_x * step_x * weight,
        xy + old_xy + step_y * step_x * weight,
    )


def _join_trends(new: _Blocks, old: _Blocks, n: int, m: int) -> _Blocks:
    """As ``_join_products`` with x = time, whose means lie (n + m) / 2 apart: no row number enters."""
    step = new[0] - old[0]
    return (
        old[0] + step * (n / (n + m)),
        new[1] + old[1] + step * step * (n * m / (n + m)),
        new[2] + old[2] + step * (n * m / 2),
    )
