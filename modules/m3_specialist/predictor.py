"""Run module 3 on one closed candle: the regime's specialist says BUY, SELL or NEUTRAL."""

import sys

from modules.core import evidence
from modules.core.module import Run, one_row, predictor_main, row_at
from modules.core.tables import Columns
from modules.core.trees import Trees
from modules.core.words import MINUTE_MS, NEUTRAL
from modules.m3_specialist import model

TABLES = ("specialist_signals",)


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The signal of ``timestamp`` by the model of its regime."""
    features = row_at(run.workspace.read("live_features", last=3), timestamp, "live_features")
    regime = row_at(run.workspace.read("current_regime", last=3), timestamp, "current_regime")
    said = evidence.at(run.workspace, timestamp - MINUTE_MS)

    def specialist_of(name: str) -> model.Specialist:
        return specialist(run, name)

    return {"specialist_signals": model.answer(specialist_of, features, regime["regime"], said, run.settings)}


def specialist(run: Run, regime: str) -> model.Specialist:
    """The model that serves a regime, kept for as long as the manifest names the same file."""
    key = model.file_key(regime)
    names = run.artifacts.entry("specialist_{k}_export", key)["features"]
    trees = run.artifacts.once("specialist_{k}_export", key, Trees)
    own = names[: len(names) - len(evidence.names())]
    return model.Specialist(trees, run.artifacts.load_json("specialists_export")[key], own)


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """NEUTRAL without confidence."""
    row = one_row(timestamp, signal=NEUTRAL, confidence=0.0, p_sell=0.0, p_buy=0.0, model_used="none", status=why)
    return {"specialist_signals": row}


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
