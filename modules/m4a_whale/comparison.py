"""Detectors side by side, and each against what it must beat: the value alone, and the largest output alone."""

from collections.abc import Callable

import numpy as np

from modules.core.statistics import Figures, wilson
from modules.core.tables import Columns
from modules.core.words import DAY_MINUTES, MINUTE_MS

DRAWS = 300
MIN_DAYS = 8
"""Days below which the bootstrap draws hours instead."""


def figures_of(
    figures: Figures,
    scope: str,
    scores: dict[str, np.ndarray],
    alerts: dict[str, np.ndarray],
    transfers: Columns,
    label: np.ndarray,
    seed: int,
) -> None:
    """Add ROC-AUC, precision and recall of each score, all on the same unseen rows.

    Parameters
    ----------
    scores : by name, (N,); must hold ``value alone``, the baseline. The first is told apart from each other, paired
    alerts : by name, (N,) bool, the rows that the score calls an alert
    transfers : the N rows
    label : (N,) bool
    """
    weights = _drawn(transfers["timestamp"], seed)
    count, simple = len(label), "value alone"
    figures.add(scope, "base rate of whales", float(label.mean()), count)
    areas = {name: np.array([area(label, score, w) for w in weights]) for name, score in scores.items()}
    reference = area(label, scores[simple])
    for name, score in scores.items():
        value = area(label, score)
        figures.add(scope, f"{name}: ROC-AUC", value, count, *_interval(areas[name]), *_unless(name, simple, reference))
    first = next(iter(scores))
    for name in list(scores)[1:]:
        value = area(label, scores[first]) - area(label, scores[name])
        apart = areas[first] - areas[name]
        figures.add(scope, f"{first}: ROC-AUC above {name}", value, count, *_interval(apart), 0.0, "no better")
    shares: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
        ("precision", lambda alert: alert),
        ("recall", lambda alert: label),
    )
    for figure, of in shares:
        for name, alert in alerts.items():
            rows, hits = of(alert), alert & label
            value = hits.sum() / rows.sum() if rows.any() else np.nan
            drawn = (weights @ hits) / np.maximum(weights @ rows, 1e-9)
            low, high = _interval(drawn)
            if rows.any():  # where all rows agree, a bootstrap would claim to know the share for certain
                least = wilson(float(hits.sum()), int(rows.sum()))
                low, high = min(low, least[0]), max(high, least[1])
            other = alerts[simple] & label
            best = other.sum() / max(of(alerts[simple]).sum(), 1)
            figures.add(scope, f"{name}: {figure}", value, int(rows.sum()), low, high, *_unless(name, simple, best))


def area(label: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> float:
    """ROC-AUC of (N,) scores, rows weighted; NaN without both classes."""
    weights = np.ones(len(label)) if weights is None else weights
    _, place = np.unique(score, return_inverse=True)
    positive = np.bincount(place, weights * label)
    negative = np.bincount(place, weights * ~label)
    if not positive.sum() or not negative.sum():
        return np.nan
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / positive.sum() / negative.sum())


def _drawn(stamps: np.ndarray, seed: int) -> np.ndarray:
    """(DRAWS, N) how often each row stands in each bootstrap sample: whole days, or hours where there are few days."""
    day = DAY_MINUTES * MINUTE_MS
    unit = day if len(np.unique(stamps // day)) >= MIN_DAYS else 60 * MINUTE_MS
    blocks, place = np.unique(stamps // unit, return_inverse=True)
    random = np.random.Generator(np.random.PCG64(seed))
    return random.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=DRAWS)[:, place].astype(float)


def _interval(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if len(values) < DRAWS // 2:
        return np.nan, np.nan
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _unless(name: str, simple: str, value: float) -> tuple[float, str]:
    return (np.nan, "") if name == simple else (float(value), simple)
