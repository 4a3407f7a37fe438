"""Label leakage: candidates that alone tell the future better than anything made of the past could.

Looking ahead by code is found by ``lookahead``; this finds what no change of the candles shows, a table that already
holds the future, by how much each candidate tells. The ceilings stand in docs/decisions with what they were chosen on.
"""

from collections.abc import Sequence

import numpy as np

from modules.core import labels
from modules.core.settings import Labels
from modules.core.telemetry import Progress
from modules.evaluation.findings import FAIL, NOTE, PASS, Finding
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import Feature, Market

LEAKAGE, SHIFT = "label leakage", "forward shift"
ROWS = 60_000
"""The newest candles that are looked at."""
CEILINGS = {"a move comes": 0.97, "its first side": 0.80, "the return's sign": 0.80}
"""ROC-AUC that no honest candidate reaches alone. Volatility lasts, so moves are foreseen well by the range of the last
minutes alone; direction is not."""
LEADS = (1, 5, 15, 60)
"""Minutes of future return that a candidate is compared with."""
CEILING = 0.6
"""Rank correlation with a future return that no honest candidate reaches."""
ERRORS = 3.0
"""Standard errors above its ceiling from which a figure counts: hundreds of candidates are looked at."""
LEAST = 20
"""Separate stretches of one horizon with, and without, what is asked, below which an area tells nothing."""


def check_leakage(wanted: Labels, market: Market, features: Sequence[Feature], progress: Progress) -> list[Finding]:
    """Each candidate alone against what comes: areas under the ROC curve on the newer half of the rows, which way is up
    having been chosen on the older half; rank correlations with the return of the next minutes."""
    market = Market(
        {name: values[-ROWS:] for name, values in market.candles.items()},
        {table: {name: values[-ROWS:] for name, values in columns.items()} for table, columns in market.extras.items()},
    )
    rows, close = len(market), market["close"]
    distance = labels.move_points(close, wanted.move_points, wanted.move_bps)
    side, moved = labels.first_side(market["high"], market["low"], close, distance, wanted.horizon)
    ahead = {lead: np.append(np.log(close[lead:] / close[:-lead]), np.full(lead, np.nan)) for lead in (*LEADS, wanted.horizon)}
    known = labels.known(rows, max(*LEADS, wanted.horizon))
    questions = {
        "a move comes": (known, moved),
        "its first side": (known & (side != labels.NEUTRAL), side == labels.BUY),
        "the return's sign": (known & (ahead[wanted.horizon] != 0), ahead[wanted.horizon] > 0),
    }
    progress.step(f"{LEAKAGE}: {len(features)} candidates", len(features))
    found: list[Finding] = []
    for feature in features:
        values = registry.compute(market, [feature])[:, 0]
        there = ~np.isnan(values)
        for (question, ceiling), (asked, answer) in zip(CEILINGS.items(), questions.values(), strict=True):
            at = np.flatnonzero(there & asked)
            found.append(_area(feature.name, question, ceiling, values[at], answer[at], at // wanted.horizon))
        at = np.flatnonzero(there & known)
        found.append(_shift(feature.name, values[at], {lead: ahead[lead][at] for lead in LEADS}))
        progress.advance()
    progress.done()
    return found


def area(score: np.ndarray, answer: np.ndarray) -> float:
    """The area under the ROC curve of (N,) scores for (N,) bool answers, both of which occur (Mann & Whitney 1947)."""
    from scipy.stats import rankdata

    yes = int(answer.sum())
    return float((rankdata(score)[answer].sum() - yes * (yes + 1) / 2) / (yes * (len(answer) - yes)))


def area_error(value: float, yes: int, no: int) -> float:
    """The standard error of an area from so many independent rows of each kind: Hanley & McNeil (1982), equation 1."""
    first, second = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (yes - 1) * (first - value**2) + (no - 1) * (second - value**2)
    return float(np.sqrt(spread / (yes * no)))


def _area(name: str, question: str, ceiling: float, score: np.ndarray, answer: np.ndarray, stretch: np.ndarray) -> Finding:
    """
    Parameters
    ----------
    stretch : (N,) which horizon each row lies in: rows of one share their future and count once for the error
    """
    older = len(score) // 2
    which = f"ROC-AUC: {question}, ceiling {ceiling:g}"
    count = len(score) - older
    yes, no = (len(np.unique(stretch[older:][answer[older:] == kind])) for kind in (True, False))
    if min(yes, no) < LEAST or answer[:older].all() or not answer[:older].any():
        return Finding(LEAKAGE, name, NOTE, np.nan, which, f"too few to tell: {yes} stretches with it, {no} without", count)
    value = area(score[older:], answer[older:])
    value = value if area(score[:older], answer[:older]) >= 0.5 else 1 - value
    # An area of 1 is beyond doubt, however few rows the error is of.
    limit = min(ceiling + ERRORS * area_error(ceiling, yes, no), 0.9995)
    return Finding(LEAKAGE, name, FAIL if value > limit else PASS, value, which, f"counts above {limit:.3f} on these rows", count)


def _shift(name: str, values: np.ndarray, ahead: dict[int, np.ndarray]) -> Finding:
    from scipy.stats import rankdata

    which, count = f"rank correlation with a future return, ceiling {CEILING:g}", len(values)
    if count < LEAST * max(ahead) or values.min() == values.max():
        return Finding(SHIFT, name, NOTE, np.nan, which, "too few rows, or constant", count)
    ranks = rankdata(values)
    found = {lead: abs(float(np.corrcoef(ranks, rankdata(returns))[0, 1])) for lead, returns in ahead.items()}
    beyond = {lead: value - CEILING - ERRORS * np.sqrt(lead / count) for lead, value in found.items()}
    told = ", ".join(f"{value:.3f} with the next {lead}" for lead, value in found.items())
    return Finding(SHIFT, name, FAIL if max(beyond.values()) > 0 else PASS, max(found.values()), which, f"{told} minutes", count)
