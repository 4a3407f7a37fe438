"""How many features should be kept? Walk-forward inside the training rows; the out-of-sample tail is never touched.

usage: python -m benchmarks.feature_count --candles FILE [--counts 8,15,30,60]
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.metrics import roc_auc_score

from modules.core import boosting
from modules.core.calibration import fit_platt, platt
from modules.core.history import History, input_names, inputs
from modules.core.labels import BUY, SELL
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.statistics import log_loss
from modules.core.telemetry import Progress
from modules.core.trees import Trees
from modules.m1_data_engine import trainer
from modules.m2_regime import model
from modules.m2_regime.trainer import fit_warner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--counts", default="8,15,30,60")
    parser.add_argument("--max-correlation", type=float, default=0.9)
    options = parser.parse_args()
    print("kept  move ROC-AUC  ATR alone  move log loss  3-class log loss  first side ROC-AUC  rows")
    for count in map(int, options.counts.split(",")):
        settings = load_settings(overrides={"data": {"select": count, "max_correlation": options.max_correlation}})
        with tempfile.TemporaryDirectory() as folder:
            run = Run.open(Path(folder), settings, candles=options.candles)
            trainer.train(run, Progress(quiet=True))
            print(f"{count:4d}  {measure(History.load(run.workspace, settings))}", flush=True)


def measure(history: History) -> str:
    """Out-of-fold figures of the early warning and of one three-class model over all regimes, from the second block on:
    the first has no earlier answers to calibrate the warning by."""
    settings = history.settings
    names = input_names(history.features)
    rows = inputs(history.features, names)
    told, knows = np.hstack([rows, model.clock(history.timestamps)]), [*names, *model.CLOCK]
    label, moved = history.first_side()
    gap = settings.labels.horizon + 1 + settings.learning.embargo
    volatilities, reach = model.volatilities(history.features), model.reach(history.features, settings)
    excursion = history.excursion()
    raw, warning = np.full(len(history), np.nan), np.full(len(history), np.nan)
    sides = np.full((len(history), 3), np.nan)
    for train_rows, test_rows in history.walk.split(history.training):
        warner, _ = fit_warner(volatilities, told, excursion, train_rows, knows, settings)
        judged = ~np.isnan(raw[: train_rows[-1] + 1])
        raw[test_rows] = warner.probability(volatilities[test_rows], told[test_rows], reach[test_rows])
        if judged.any():
            earlier = train_rows[judged]
            warning[test_rows] = platt(raw[test_rows], *fit_platt(raw[earlier], moved[earlier]))
        fitted = boosting.fit(rows[train_rows], label[train_rows], names, settings.learning, 3, gap)
        sides[test_rows] = Trees(fitted.text).predict(rows[test_rows])
    seen = ~np.isnan(warning)
    happened, atr = moved[seen], history.features["atr"][seen]
    one_side = seen & (label != 1)
    share = sides[one_side, BUY] / (sides[one_side, BUY] + sides[one_side, SELL])
    return (
        f"{roc_auc_score(happened, warning[seen]):12.4f}  {roc_auc_score(happened, atr):9.4f}"
        f"  {log_loss(np.stack([1 - warning[seen], warning[seen]], 1), happened.astype(int)):13.4f}"
        f"  {log_loss(sides[seen], label[seen]):16.4f}"
        f"  {roc_auc_score(label[one_side] == BUY, share):18.4f}  {int(seen.sum())}"
    )


if __name__ == "__main__":
    main()
