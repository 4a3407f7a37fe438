"""How much of a result is luck: Sharpe ratios and what they are worth, block-bootstrap intervals, the odds that a choice
among many was overfitted, Monte Carlo of what might have happened, and whether probabilities keep their word.

Pure functions over arrays. A day is a UTC day; a return is a share of the equity before it; nothing is annualised but by
``ANNUAL``.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtr, ndtri

from modules.core.settings import Costs
from modules.core.statistics import DAY_MS, DRAWS, mean, share
from modules.core.tables import Columns
from modules.core.words import DAY_MINUTES

ANNUAL = float(np.sqrt(365.25))
"""A daily Sharpe or Sortino ratio times this is the annual one, were days independent: crypto trades every day."""
COVERAGES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
EDGES = (*np.arange(1, 10) / 10, 0.95, 0.98, 0.99, 0.995)
"""Shares of the rows at which a calibration curve begins a new bin: tenths, and finer where decisions are made."""
DEGENERATE = 1e-12
SLIPPAGE_DRAWN = (0.001, 0.005)
MOST_DRAWN = 10_000_000
"""Trades over all draws of a Monte Carlo: beyond ``MOST_DRAWN`` / ``DRAWS`` of them there are fewer draws."""


# Returns and ratios


@dataclass(frozen=True)
class Moments:
    """What a Sharpe ratio's significance depends on: the ratio itself, not annualised, the number of returns, their
    skewness, and their kurtosis (3 for a normal distribution)."""

    sharpe: float
    days: int
    skew: float
    kurtosis: float


def returns_by_day(equity: np.ndarray, timestamps: np.ndarray, capital: float) -> np.ndarray:
    """(D,) returns of an account over UTC days, from its equity at each day's last candle; the first over the capital. The
    first and the last day may be parts of a day. An account that is empty, or owes, has lost all and stays as it is.

    Parameters
    ----------
    equity : (N,) USD at the close of candles without a gap
    timestamps : (N,) their stamps, Unix ms, ascending
    """
    day = np.asarray(timestamps) // DAY_MS
    ends = np.append(np.flatnonzero(np.diff(day)), len(day) - 1)
    levels = np.concatenate([[capital], np.asarray(equity, float)[ends]])
    alive = np.logical_and.accumulate(levels > 0)
    before, after = np.where(alive, levels, 1)[:-1], np.where(alive, levels, 0)[1:]
    return np.where(alive[:-1], after / before - 1, 0.0)


def moments(returns: np.ndarray) -> Moments:
    """The moments of (D,) returns: sample standard deviation (Sharpe 1994, no risk-free rate), standardised third and
    fourth moments. Without two different returns there is no ratio: all NaN but the days."""
    returns = np.asarray(returns, float)
    if len(returns) < 2 or np.ptp(returns) <= DEGENERATE * np.abs(returns).max():
        return Moments(np.nan, len(returns), np.nan, np.nan)
    centred = returns - returns.mean()
    standard = centred / centred.std()
    return Moments(
        float(returns.mean() / returns.std(ddof=1)), len(returns), float((standard**3).mean()), float((standard**4).mean())
    )


def sharpe(sums: np.ndarray) -> np.ndarray:
    """(K,) daily Sharpe ratios of (K, 3) sums of returns, their squares, and ones: a statistic for ``interval``."""
    total, squares, days = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / days / np.sqrt((squares - total**2 / days) / (days - 1))


def sortino(sums: np.ndarray) -> np.ndarray:
    """(K,) daily Sortino ratios of (K, 3) sums of returns, the squares of the negative ones, and ones: the mean over the
    root mean square shortfall below zero (Sortino & van der Meer 1991)."""
    total, shortfall, days = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / days / np.sqrt(shortfall / days)


def ratio(sums: np.ndarray) -> np.ndarray:
    """(K,) quotients of the columns of (K, 2) sums: a mean, where the second counts the rows."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return sums[:, 0] / sums[:, 1]


def sharpe_sums(returns: np.ndarray) -> np.ndarray:
    """(D, 3) what ``sharpe`` sums of (D,) returns."""
    return np.stack([returns, returns**2, np.ones(len(returns))], 1)


def sortino_sums(returns: np.ndarray) -> np.ndarray:
    """(D, 3) what ``sortino`` sums of (D,) returns."""
    return np.stack([returns, np.minimum(returns, 0) ** 2, np.ones(len(returns))], 1)


# The Sharpe ratio against luck


def probabilistic_sharpe(found: Moments, benchmark: float = 0.0) -> float:
    """The probability that the true daily Sharpe ratio is above ``benchmark``: Bailey & López de Prado (2012), "The Sharpe
    ratio efficient frontier", equation 11. NaN without a ratio."""
    return float(ndtr((found.sharpe - benchmark) * np.sqrt(max(found.days - 1, 0) / _unsteadiness(found))))


def track_record(found: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """The days that such returns must last for ``probabilistic_sharpe`` to reach ``confidence``: the minimum track record
    length, equation 13 of the same paper. Infinite where the ratio is not above the benchmark; NaN without a ratio."""
    if found.sharpe <= benchmark:
        return np.inf
    return float(1 + _unsteadiness(found) * (ndtri(confidence) / (found.sharpe - benchmark)) ** 2)


def _unsteadiness(found: Moments) -> float:
    """The variance of an estimated Sharpe ratio times the number of returns less one: Mertens (2002). Below zero only by
    rounding."""
    value = 1 - found.skew * found.sharpe + (found.kurtosis - 1) / 4 * found.sharpe**2
    return max(value, DEGENERATE) if np.isfinite(value) else np.nan


def best_by_luck(tries: int, variance: float) -> float:
    """The expected largest of the Sharpe ratios of ``tries`` independent strategies without skill: Bailey & López de Prado
    (2014), "The deflated Sharpe ratio", equation 1. Zero for a single one."""
    if tries < 2:
        return 0.0
    highest, next_scale = ndtri(1 - 1 / tries), ndtri(1 - 1 / (tries * np.e))
    return float(np.sqrt(variance) * ((1 - np.euler_gamma) * highest + np.euler_gamma * next_scale))


def deflated_sharpe(found: Moments, tries: int, variance: float | None = None) -> float:
    """The probability that the true Sharpe ratio is above what the best of ``tries`` would have shown by luck alone: the
    probabilistic Sharpe ratio against ``best_by_luck`` (Bailey & López de Prado 2014, equation 2).

    Parameters
    ----------
    variance : of the daily Sharpe ratios of all tries, as in the paper. None: that of a ratio without skill over these
        days, 1 / (days - 1), beyond which choosing among tries, however they came out, cannot lift this one
    """
    if variance is None:
        variance = 1 / (found.days - 1) if found.days > 1 else np.nan
    return probabilistic_sharpe(found, best_by_luck(tries, variance))


# Overfitting


@dataclass(frozen=True)
class Overfitting:
    """What became of the strategies that were best in half of the time, in the other half.

    Parameters
    ----------
    pbo : share of the splits in which the best of one half is in the lower half of the other; 0.5 by pure chance
    logits : (C,) ln(w / (1 - w)) of its relative rank w there, one a split
    slope : of its Sharpe ratio there on its Sharpe ratio here, over the splits; NaN where that never differs
    loss : share of the splits in which it loses there
    """

    pbo: float
    logits: np.ndarray
    slope: float
    loss: float


def overfitting(returns: np.ndarray, blocks: int = 16) -> Overfitting:
    """The probability of backtest overfitting by combinatorially symmetric cross-validation: Bailey, Borwein, López de
    Prado & Zhu (2017), "The probability of backtest overfitting". Strategies are compared by their Sharpe ratios.

    Parameters
    ----------
    returns : (T, N) returns of N >= 2 strategies over the same T periods; the oldest T % blocks are left out
    blocks : an even number, at most T / 2

    Raises
    ------
    ValueError : another number of blocks, or fewer strategies
    """
    returns = np.asarray(returns, float)
    periods, strategies = returns.shape
    if blocks < 2 or blocks % 2 or periods < 2 * blocks or strategies < 2:
        raise ValueError(f"{blocks} blocks of {periods} periods of {strategies} strategies")
    # What is the same in all halves cancels out of the ranks, and small numbers lose no digits.
    parts = returns[periods % blocks :].reshape(blocks, -1, strategies)
    sums, squares, length = parts.sum(1), (parts**2).sum(1), parts.shape[1] * blocks // 2
    halves = np.zeros((0, blocks))
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    halves = np.zeros((len(chosen), blocks))
    np.put_along_axis(halves, chosen, 1, 1)
    here, there = (_half_sharpe(half @ sums, half @ squares, length) for half in (halves, 1 - halves))
    best = here.argmax(1)[:, None]
    won, kept = np.take_along_axis(here, best, 1)[:, 0], np.take_along_axis(there, best, 1)
    rank = (there < kept).sum(1) + ((there == kept).sum(1) + 1) / 2
    relative = rank / (strategies + 1)
    logits = np.log(relative / (1 - relative))
    spread = won.std()
    slope = float(np.cov(won, kept[:, 0], ddof=0)[0, 1] / spread**2) if spread > 0 else np.nan
    return Overfitting(float((logits <= 0).mean()), logits, slope, float((kept < 0).mean()))


def _half_sharpe(total: np.ndarray, squares: np.ndarray, length: int) -> np.ndarray:
    """Sharpe ratios of (C, N) sums over ``length`` returns; zero for a strategy that did nothing."""
    variance = np.maximum(squares - total**2 / length, 0) / (length - 1)
    idle = variance <= DEGENERATE * squares / length
    return np.where(idle, np.sign(total) / DEGENERATE * (squares > 0), total / length / np.sqrt(np.where(idle, 1, variance)))


# What might have happened


def drawdown(levels: np.ndarray) -> float:
    """The deepest fall of (N,) levels, as a share of the peak before it."""
    return float((1 - levels / np.maximum.accumulate(levels)).max(initial=0))


def _draws(trades: int) -> range:
    return range(max(1, min(DRAWS, MOST_DRAWN // max(1, trades))))


def drawdowns_in_any_order(returns: np.ndarray, seed: int) -> np.ndarray:
    """(K,) drawdowns, from trade to trade, had the same trades come in another order; K is ``DRAWS``, or fewer of many trades.

    A trade's return is a share of the equity before it, so the final equity is the product of all in any order: the order
    moves the drawdown alone. Trades are shuffled one by one, so runs of losses that come from one market are torn apart.

    Parameters
    ----------
    returns : (T,) each above -1
    """
    growth, random = 1 + np.asarray(returns, float), np.random.Generator(np.random.PCG64(seed))
    return np.array([drawdown(np.cumprod(np.append(1, random.permutation(growth)))) for _ in _draws(len(growth))])


@dataclass(frozen=True)
class Outcomes:
    """T closed trades as they were before fees and slippage, each (T,).

    Parameters
    ----------
    side : +1 long, -1 short
    moved : exit price over entry price
    size : notional at entry as a share of the equity
    resting : bool, whether it left by a limit order, which pays the resting fee
    funding : paid for it, as a share of the notional at the price of entry
    """

    side: np.ndarray
    moved: np.ndarray
    size: np.ndarray
    resting: np.ndarray
    funding: np.ndarray

    def net(self, costs: Costs, entry: np.ndarray | float, exit: np.ndarray | float) -> np.ndarray:
        """(T,) net outcomes, shares of the notional as it was filled: ``pnl_bps`` / 1e4 of the engine.

        Parameters
        ----------
        costs : whose fees are paid
        entry, exit : slippage as a share of the price, each a number or one a trade
        """
        into = 1 + self.side * entry
        filled = self.moved * (1 - self.side * exit) / into
        leaving = np.where(self.resting, costs.resting_fee, costs.fee)
        return self.side * (filled - 1) - costs.fee - leaving * filled - self.funding / into

    def break_even(self, costs: Costs) -> np.ndarray:
        """(T, 2) what each trade earned at the slippage of ``costs`` before the fee, and what it paid the fee on: the
        ``ratio`` of their sums is the fee, a share of the notional a side, at which the mean net is zero. Below zero
        where they lose before any fee. A maker fee that was set stays as it is."""
        maker = self.resting & (costs.maker_fee >= 0)
        into = 1 + self.side * costs.slippage
        filled = self.moved * (1 - self.side * costs.slippage) / into
        earned = self.side * (filled - 1) - self.funding / into - maker * costs.resting_fee * filled
        return np.stack([earned, 1 + np.where(maker, 0, filled)], 1)


def returns_by_slippage(trades: Outcomes, costs: Costs, seed: int) -> np.ndarray:
    """(K,) final returns of the account had each fill slipped by its own draw, uniform over ``SLIPPAGE_DRAWN``; K is
    ``DRAWS``, or fewer of many trades. The trades stay the same: slippage moves no stop and no target."""
    random = np.random.Generator(np.random.PCG64(seed))

    def final() -> float:
        entry, exit = random.uniform(*SLIPPAGE_DRAWN, size=(2, len(trades.side)))
        return float(np.prod(np.maximum(1 + trades.size * trades.net(costs, entry, exit), 0)) - 1)

    return np.array([final() for _ in _draws(len(trades.side))])


def turnover_sums(rows: np.ndarray, notional: np.ndarray, equity: np.ndarray) -> np.ndarray:
    """(N, 2) of each candle what was traded, both sides of a trade, and its equity as a share of a day: the ``ratio`` of
    their sums is the traded notional over the mean equity, a day.

    Parameters
    ----------
    rows, notional : (F,) the candle of each fill, and its USD
    equity : (N,) USD at each candle's close
    """
    return np.stack([np.bincount(rows, weights=notional, minlength=len(equity)), equity / DAY_MINUTES], 1)


# Probabilities


@dataclass(frozen=True)
class Calibration:
    """How far a probability can be taken at its word.

    Parameters
    ----------
    said, happened, low, high, n : (K,) of the bins between ``EDGES``: the mean probability, the share that happened
        with its 95 % interval, the rows
    brier : mean squared error of the probability = reliability - resolution + uncertainty + within
    reliability, resolution, uncertainty : Murphy (1973), over the bins
    within : what probabilities of one bin differ from one another: Stephenson, Coelho & Jolliffe (2008)
    error : expected calibration error, mean distance of said and happened over the rows (Naeini et al. 2015)
    """

    said: np.ndarray
    happened: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    error: float


def calibration(probability: np.ndarray, happened: np.ndarray, timestamps: np.ndarray, seed: int) -> Calibration:
    """Calibration curve, Brier score with its decomposition, and expected calibration error.

    Parameters
    ----------
    probability, happened : (N,) numbers in 0..1 and bool, N >= 1
    timestamps : (N,) Unix ms, for the intervals (``statistics.share``: over days, never narrower than Wilson's)
    """
    probability, happened = np.asarray(probability, float), np.asarray(happened, bool)
    edges = np.unique(np.quantile(probability, EDGES))
    _, place, n = np.unique(np.searchsorted(edges, probability, side="right"), return_inverse=True, return_counts=True)
    said = np.bincount(place, weights=probability) / n
    shares = [share(happened[place == k], np.asarray(timestamps)[place == k], seed) for k in range(len(n))]
    rate, low, high = np.array(shares).T
    base, gap, off = happened.mean(), said - rate, probability - said[place]
    weight = n / len(probability)
    return Calibration(
        said,
        rate,
        low,
        high,
        n,
        brier=float(((probability - happened) ** 2).mean()),
        reliability=float(weight @ gap**2),
        resolution=float(weight @ (rate - base) ** 2),
        uncertainty=float(base * (1 - base)),
        within=float((off**2 - 2 * off * happened).mean()),
        error=float(weight @ np.abs(gap)),
    )


def selectivity(score: np.ndarray, net: np.ndarray, timestamps: np.ndarray, seed: int) -> Columns:
    """What the best-scored rows were worth, from all of them down to one in a hundred.

    The thresholds are those of these very rows, so this shows what the score is worth and not what a threshold that had to
    be chosen beforehand would have given.

    Parameters
    ----------
    score : (N,) the higher the surer
    net : (N,) outcome of the row's trade after costs

    Returns
    -------
    columns of a row for each of ``COVERAGES``: ``coverage`` (as it came out: equal scores stay together), ``threshold``,
    ``n``, ``win_rate`` and ``mean_net``, each with ``_low`` and ``_high``, a 95 % interval over days
    """
    score, net, timestamps = np.asarray(score, float), np.asarray(net, float), np.asarray(timestamps)
    falling, rows = np.sort(score)[::-1], []
    for coverage in COVERAGES if len(score) else ():
        threshold = falling[int(np.ceil(coverage * len(score))) - 1]
        taken = score >= threshold
        won = share(net[taken] > 0, timestamps[taken], seed)
        rows.append((taken.mean(), threshold, taken.sum(), *won, *mean(net[taken], timestamps[taken], seed)))
    names = (
        "coverage",
        "threshold",
        "n",
        "win_rate",
        "win_rate_low",
        "win_rate_high",
        "mean_net",
        "mean_net_low",
        "mean_net_high",
    )
    columns = dict(zip(names, np.array(rows, float).reshape(-1, len(names)).T, strict=True))
    return columns | {"n": columns["n"].astype(int)}
