"""Run module 5 on one closed candle: the final decision with its reason."""

import json
import sys

import numpy as np

from modules.core import evidence
from modules.core.catalog import EVIDENCE, NEXT
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
            if row_at(run.workspace.read(room.table, last=3), timestamp, room.table)["status"] != OK:
                raise InputNotReady(f"the strict rule needs {room.table}, which is off")
    features, warning, specialist = rows["live_features"], rows["early_warnings"], rows["specialist_signals"]
    signals: Columns = {key: np.array([features[key]]) for key in ("timestamp", "close", "atr", "atr_ratio", "depth_btc")}
    signals |= {column.name: np.array([rows["next_regime_probs"][column.name]]) for column in NEXT}
    signals["regime"] = np.array([rows["current_regime"]["regime"]], object)
    signals["warning"] = np.array([warning["warning"]], object)
    signals["warning_probability"] = np.array([warning["probability"]])
    signals["specialist"] = np.array([specialist["signal"]], object)
    signals |= {key: np.array([specialist[key]]) for key in ("p_sell", "p_buy")}
    said = evidence.at(run.workspace, timestamp)
    signals |= {key: np.array([value], object if isinstance(value, str) else None) for key, value in said.items()}

    if run.artifacts.entry("meta_fusion_export")["features"] != model.input_names():
        raise ArtifactError("the fusion was trained on other inputs than the catalog names: train again")
    fusion = run.artifacts.once("meta_fusion_export", None, load)
    decisions = model.decide(fusion, signals, run.settings, run.settings.fusion.rule)
    signal = decisions.signal[0]
    trades = signal != NEUTRAL
    return {
        "final_signals": one_row(
            timestamp,
            signal=signal,
            confidence=decisions.confidence[0],
            min_confidence=decisions.min_confidence[0],
            expected_bps=decisions.expected_bps[0],
            SL=decisions.stop[0] if trades else np.nan,
            TP=decisions.target[0] if trades else np.nan,
            size=decisions.size[0] if trades else 0.0,
            reason=model.reason(decisions, 0),
            status=OK,
        )
    }


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """NEUTRAL: nothing is traded on what is not known."""
    nothing = {"confidence": 0.0, "min_confidence": 1.0, "expected_bps": np.nan, "SL": np.nan, "TP": np.nan, "size": 0.0}
    reason = f"NEUTRAL: {why.removeprefix('fallback: ')}"
    return {"final_signals": one_row(timestamp, signal=NEUTRAL, **nothing, reason=reason, status=why)}


def load(data: bytes) -> model.FusionModel:
    """The fusion from its exported form."""
    export = json.loads(data)
    sides = {}
    for name, side in export["sides"].items():
        arrays = {key: np.array(value) if isinstance(value, list) else value for key, value in side.items()}
        sides[name] = model.Side(**arrays)
    return model.FusionModel(np.array(export["centre"]), np.array(export["scale"]), sides)


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
