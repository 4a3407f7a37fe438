"""Run module 5 on one closed candle: the final decision with its reason."""

import json
import sys

import numpy as np

from modules.core import evidence
from modules.core.catalog import EVIDENCE
from modules.core.errors import ArtifactError, InputNotReady
from modules.core.module import Run, one_row, predictor_main, row_at
from modules.core.tables import Columns
from modules.core.words import NEUTRAL, OK
from modules.m5_meta_fusion import model

TABLES = ("final_signals",)
NEEDED = ("live_features", "current_regime", "next_regime_probs", "early_warnings", "specialist_signals")


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The decision of ``timestamp`` from the rows that all rooms before this one wrote for it.

    Raises
    ------
    InputNotReady : a needed row is missing or a fallback; under the strict rule, whale and sentiment too
    """
    rows = {table: row_at(run.workspace.read(table, last=3), timestamp, table) for table in NEEDED}
    if run.settings.fusion.rule == "strict":
        for room in EVIDENCE:
            if row_at(run.workspace.read(room.table, last=3), timestamp, room.table)["status"][0] != OK:
                raise InputNotReady(f"the strict rule needs {room.table}, which is off")
    features, regime, coming, warning, specialist = (rows[table] for table in NEEDED)
    said = evidence.at(run.workspace, timestamp)
    signals = model.gather(features, coming, regime, warning, specialist, said)
    return {"final_signals": model.answer(fusion(run), signals, run.settings)}


def fusion(run: Run) -> model.FusionModel:
    """What the trainer exported, kept for as long as the manifest names the same file.

    Raises
    ------
    ArtifactError : it was trained on other inputs than the catalog names now
    """
    if run.artifacts.entry("meta_fusion_export")["features"] != model.input_names():
        raise ArtifactError("the fusion was trained on other inputs than the catalog names: train again")
    return run.artifacts.once("meta_fusion_export", None, _load)


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """NEUTRAL: nothing is traded on what is not known."""
    nothing = {"confidence": 0.0, "min_confidence": 1.0, "expected_bps": np.nan, "SL": np.nan, "TP": np.nan, "size": 0.0}
    reason = f"NEUTRAL: {why.removeprefix('fallback: ')}"
    return {"final_signals": one_row(timestamp, signal=NEUTRAL, **nothing, reason=reason, status=why)}


def _load(data: bytes) -> model.FusionModel:
    """The fusion from its exported form."""
    export = json.loads(data)
    sides = {}
    for name, side in export["sides"].items():
        weights, gain_weights = np.array(side.pop("weights")), np.array(side.pop("gain_weights"))
        sides[name] = model.Side(weights=weights, gain_weights=gain_weights, **side)
    return model.FusionModel(np.array(export["centre"]), np.array(export["scale"]), sides)


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
