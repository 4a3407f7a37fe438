"""From the probabilities of a specialist to a signal. Pure functions over N rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modules.core import evidence
from modules.core.history import inputs
from modules.core.labels import BUY, NEUTRAL, SELL
from modules.core.settings import Settings
from modules.core.tables import Columns
from modules.core.trees import Trees
from modules.core.words import OK, SIGNALS

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


@dataclass(frozen=True)
class Specialist:
    """The model that serves a regime: its trees, its name, and the names of its inputs from the features table."""

    trees: Trees
    name: str
    inputs: list[str]


def answer(
    specialist_of: Callable[[str], Specialist], features: Columns, regime: np.ndarray, said: Columns, settings: Settings
) -> Columns:
    """The rows of ``specialist_signals`` for N candles, each by the model of its regime.

    Parameters
    ----------
    features : (N,) columns of the features table
    regime : (N,) names
    said : (N,) evidence of the minute before each candle
    """
    rows = len(regime)
    probabilities, used = np.empty((rows, len(SIGNALS))), np.empty(rows, object)
    for name in dict.fromkeys(regime):
        here = regime == name
        specialist = specialist_of(name)
        own = {key: values[here] for key, values in features.items()}
        told = {key: values[here] for key, values in said.items()}
        probabilities[here] = specialist.trees.predict(np.hstack([inputs(own, specialist.inputs), evidence.encode(told)]))
        used[here] = specialist.name
    signal, confidence = signals(probabilities, settings.specialist.min_confidence)
    return {
        "timestamp": features["timestamp"],
        "signal": signal,
        "confidence": confidence,
        "p_sell": probabilities[:, SELL],
        "p_buy": probabilities[:, BUY],
        "model_used": used,
        "status": np.full(rows, OK, object),
    }


def file_key(regime: str) -> str:
    """A regime as it stands in file names: ``range_low``."""
    return regime.lower()
