"""From the probabilities of a specialist to a signal. Pure functions over N rows."""

import numpy as np

from modules.core.labels import BUY, NEUTRAL, SELL
from modules.core.words import REGIMES, SIGNALS

POOLED = "pooled"
"""The model of all regimes together: it serves where a regime has too few rows, or where its own does no better."""


def signals(probabilities: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The signal of each row, NEUTRAL where neither side is sure enough.

    Parameters
    ----------
    probabilities : (N, 3) of SELL, NEUTRAL, BUY

    Returns
    -------
    signal : (N,) words out of ``SIGNALS``
    confidence : (N,) probability of the likelier side, whether it is called or not
    """
    side = np.where(probabilities[:, BUY] >= probabilities[:, SELL], BUY, SELL)
    confidence = probabilities[np.arange(len(side)), side]
    called = np.where(confidence >= min_confidence, side, NEUTRAL)
    return np.array(SIGNALS, object)[called], confidence


def file_key(regime: str) -> str:
    """A regime as it stands in file names: ``range_low``."""
    return regime.lower()


REGIME_KEYS = tuple(file_key(regime) for regime in REGIMES)
