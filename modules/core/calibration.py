"""Calibration: what a model calls 0.8 must happen in 80 of 100 cases."""

import numpy as np


def log_odds(probability: np.ndarray) -> np.ndarray:
    """ln(p / (1 - p)) of (N,) probabilities, kept finite."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def platt(probability: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Platt's sigmoid over the log-odds of (N,) raw probabilities: Platt (1999), "Probabilistic outputs for support
    vector machines"."""
    return sigmoid(intercept + slope * log_odds(probability))


def fit_platt(probability: np.ndarray, happened: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that calibrate (N,) raw probabilities against what (N,) bool happened; 1 and 0 where only one
    outcome ever did. Trainers only: brings scikit-learn."""
    if happened.all() or not happened.any():
        return 1.0, 0.0
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(log_odds(probability)[:, None], happened)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
