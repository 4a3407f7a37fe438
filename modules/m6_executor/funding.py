"""Funding: what the long side of a perpetual future pays the short side every eight hours, to hold it near the spot price."""

import numpy as np

from modules.core.settings import Costs
from modules.core.tables import Columns
from modules.core.words import MINUTE_MS

EVERY_MS = 8 * 60 * MINUTE_MS


def funding_due(stamps: np.ndarray, before: int | None, costs: Costs, table: Columns | None = None) -> np.ndarray:
    """The share of a position's value that a long owes at each candle's open, for those who held it then.

    Parameters
    ----------
    stamps : (N,) Unix ms, the candles' open times, ascending
    before : the candle before the first, so that what fell due in a hole is not forgotten; None where there is none
    table : ``timestamp`` (Unix ms, in the minute in which it fell due) and ``funding_rate``, each (K,); its rates take
        the place of ``costs.funding_rate`` where it has them

    Returns
    -------
    (N,) the rates of the hours 00, 08 and 16 UTC after the candle before and up to its own open, together
    """
    due = np.zeros(len(stamps))
    if costs.funding == "off" or not len(stamps):
        return due
    after = int(stamps[0]) - 1 if before is None else before
    hours = np.arange(after // EVERY_MS + 1, int(stamps[-1]) // EVERY_MS + 1) * EVERY_MS
    rates = np.full(len(hours), costs.funding_rate)
    if table is not None:
        # Exchanges stamp a payment some milliseconds after the hour.
        _, mine, theirs = np.intersect1d(hours, table["timestamp"] // MINUTE_MS * MINUTE_MS, return_indices=True)
        rates[mine] = table["funding_rate"][theirs]
    np.add.at(due, np.searchsorted(stamps, hours), rates)
    return due
