"""Run module 4A on one closed candle: read what is new on the chain, and tell the strongest alert that stands."""

import sys

import numpy as np

from modules.core.catalog import EVIDENCE
from modules.core.errors import InputNotReady
from modules.core.module import Run, one_row, predictor_main
from modules.core.tables import Columns
from modules.core.words import OFF, OK
from modules.m4a_whale import model, transactions
from modules.m4a_whale.sources import configured

TABLES = ("whale_alerts",)


def predict(run: Run, timestamp: int) -> dict[str, Columns]:
    """The row of ``timestamp``; off where no source is configured, or nothing has been learned from one yet.

    A live cycle asks the source, even before the first training: that is how the history gathers. A replay (a candle
    file was given) reads what is on record and asks nobody.
    """
    trained = "whale_export" in run.artifacts.names()
    if run.candles is not None:
        transfers = _replayed(run, timestamp) if trained else None
    elif (source := configured(run)) is not None:
        transactions.poll(run, source, timestamp)
        transfers = transactions.live(run.workspace)
    else:
        transfers = None
    if transfers is None or not trained:
        return fallback(run, timestamp, OFF)
    learned = run.artifacts.once("whale_export", None, model.load)
    score, impact = model.alerts(learned, transfers, np.array([timestamp]))
    if np.isnan(score[0]):
        raise InputNotReady(f"no large transaction was seen for {model.SILENT_MINUTES // 60} hours")
    return {TABLES[0]: one_row(timestamp, whale_alert_score=score[0], impact_type=str(impact[0]), status=OK)}


def fallback(run: Run, timestamp: int, why: str) -> dict[str, Columns]:
    """What "no evidence" reads like."""
    neutral = next(evidence.neutral for evidence in EVIDENCE if evidence.table == TABLES[0])
    return {TABLES[0]: one_row(timestamp, **neutral, status=why)}


def _replayed(run: Run, timestamp: int) -> Columns:
    """The newest transactions on record that were seen before this candle opened."""
    if "whale_transactions" not in run.state:
        run.state["whale_transactions"] = transactions.recorded(run.workspace, run.settings.whale.min_btc)
    rows: Columns = run.state["whale_transactions"]
    end = int(np.searchsorted(rows["timestamp"], timestamp))
    return {name: values[max(0, end - transactions.SCORED) : end] for name, values in rows.items()}


if __name__ == "__main__":
    raise SystemExit(predictor_main(sys.modules[__name__]))
