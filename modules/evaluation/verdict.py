"""What a record of trades proves, in words, by rules that were stated beforehand."""

from dataclasses import dataclass

import numpy as np

from modules.core.statistics import interval
from modules.evaluation import luck

EDGE, LUCK, LOSES, IDLE = "has an edge after costs", "cannot be told apart from luck", "loses", "did not trade"
"""The verdicts, each to be read after the strategy's name."""
SURE = 0.95
"""What the deflated Sharpe ratio must be above."""
LEAST_DAYS, LEAST_TRADES, LEAST_LOSSES = 20, 50, 30
"""Days on which the account changed, trades, and losing trades below which no record is called an edge. Who wins small and
often and has hardly lost yet has not seen what a loss costs."""


@dataclass(frozen=True)
class Verdict:
    """One of the words, and why in one sentence.

    Parameters
    ----------
    mean, low, high : net return a day in bps of the equity, with its 95 % interval (``statistics.interval``); NaN where it is
        not known
    deflated : the deflated Sharpe ratio after so many ``tries``; NaN without a Sharpe ratio
    """

    words: str
    why: str
    mean: float
    low: float
    high: float
    deflated: float
    tries: int


def verdict(
    returns: np.ndarray, pnl: np.ndarray, tries: int, seed: int, a_trade: tuple[float, float] = (np.nan, np.nan)
) -> Verdict:
    """Judge a strategy by what it earned after costs on candles that it was not learned from.

    An edge: the deflated Sharpe ratio is above ``SURE``, the interval of the mean net a day lies above zero, and the
    record is as long as ``LEAST_DAYS``, ``LEAST_TRADES`` and ``LEAST_LOSSES`` ask for. It loses where that interval, or that
    of the mean net a trade, lies below zero: who trades seldom loses little a day. All else is luck, but for a strategy
    that made no trade at all.

    Parameters
    ----------
    returns : (D,) net returns of the account, one a UTC day of the whole span, idle days too
    pnl : (T,) net outcomes of its trades, in any unit
    tries : strategies tried until this one was chosen, this one among them (``tries.tried``)
    a_trade : 95 % interval of the mean net outcome of a trade in bps, where it is known
    """
    returns, pnl = np.asarray(returns, float), np.asarray(pnl, float)
    if not len(pnl):
        why = f"Not one trade on {_count(len(returns), 'UTC day')}: nothing was earned and nothing is proven."
        return Verdict(IDLE, why, np.nan, np.nan, np.nan, np.nan, tries)
    daily = 1e4 * returns
    low, high = interval(luck.ratio, np.stack([daily, np.ones(len(daily))], 1), seed)
    deflated = luck.deflated_sharpe(luck.moments(returns), tries)
    record = (
        (np.count_nonzero(returns), LEAST_DAYS, "days on which the account changed"),
        (len(pnl), LEAST_TRADES, "trades"),
        ((pnl < 0).sum(), LEAST_LOSSES, "losing trades, too few to know what a loss costs"),
    )
    lacks = [f"only {found} {what} ({least} are asked for)" for found, least, what in record if found < least]
    earns = low > 0 and deflated > SURE
    words = EDGE if earns and not lacks else LOSES if high < 0 or a_trade[1] < 0 else LUCK
    sure = f"95 % {low:.2f} to {high:.2f}" if np.isfinite(low) else "too few days for an interval"
    skill = f"{deflated:.3f}" if np.isfinite(deflated) else "unknown"
    reasons = {
        EDGE: f"the whole interval is above zero and the deflated Sharpe ratio above {SURE}",
        LOSES: "the whole interval is below zero"
        if high < 0
        else f"the mean net of a trade is below zero, 95 % {a_trade[0]:.1f} to {a_trade[1]:.1f} bps",
        LUCK: " and ".join(lacks if earns else _doubts(low, deflated)),
    }
    why = (
        f"Mean net {daily.mean():.2f} bps of the equity a day ({sure}) over {_count(len(daily), 'day')} with"
        f" {_count(len(pnl), 'trade')}, deflated Sharpe ratio {skill} after {_count(tries, 'try', 'tries')}: {reasons[words]}."
    )
    return Verdict(words, why, float(daily.mean()), low, high, deflated, tries)


def _doubts(low: float, deflated: float) -> list[str]:
    doubts = ["the interval does not lie above zero"] if not low > 0 else []
    return doubts + ([f"the deflated Sharpe ratio is not above {SURE}"] if not deflated > SURE else [])


def _count(number: int, what: str, many: str = "") -> str:
    return f"{number:,} {what if number == 1 else many or what + 's'}"
