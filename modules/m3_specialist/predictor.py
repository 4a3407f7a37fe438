"""Run module 3 on one closed candle: the regime's specialist says BUY, SELL or NEUTRAL."""

import sys

import numpy as np

from modules.core import evidence
from modules.core.history import inputs
from modules.core.module import Run, one_row, predictor_main, row_at
from modules.core.tables import Columns
from modules.core.trees import Trees
from modules.core.words import MINUTE_MS, NEUTRAL, OK
from modules.m3_specialist.model import file_key, signals

TABLES = ("specialist_signals",)


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The signal of ``timestamp`` by the model of its regime."""
    features = row_at(run.workspace.read("live_features", last=3), timestamp, "live_features")
    regime = row_at(run.workspace.read("current_regime", last=3), timestamp, "current_regime")
    key = file_key(regime["regime"])
    trees = run.artifacts.once("specialist_{k}_export", key, Trees)
    names = run.artifacts.entry("specialist_{k}_export", key)["features"]
    now = {name: np.array([value]) for name, value in features.items()}
    said = evidence.at(run.workspace, timestamp - MINUTE_MS)
    rows = np.hstack([inputs(now, names[: len(names) - len(evidence.names())]), evidence.encode(said)])
    probabilities = trees.predict(rows)
    signal, confidence = signals(probabilities, run.settings.specialist.min_confidence)
    return {
        "specialist_signals": one_row(
            timestamp,
            signal=signal[0],
            confidence=confidence[0],
            p_sell=probabilities[0, 0],
            p_buy=probabilities[0, 2],
            model_used=run.artifacts.load_json("specialists_export")[key],
            status=OK,
        )
    }


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """NEUTRAL without confidence."""
    row = one_row(timestamp, signal=NEUTRAL, confidence=0.0, p_sell=0.0, p_buy=0.0, model_used="none", status=why)
    return {"specialist_signals": row}


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
