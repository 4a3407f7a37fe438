"""The lines of the reference (a plain LightGBM on the same rows and labels) for the pipeline's own outputs.

usage: python -m benchmarks.reference_lines --workspace DIR --candles REPLAY_FILE

DIR was trained with --train on the history that the replay file follows. The threshold is tuned for a precision of 0.85
on the workspace's out-of-sample tail, before the first candle of the replay file; the replay file is only judged on.

The pipeline has no output for the direction in 15 minutes. Its lines are of the specialists' leaning to the side that
300 USD are reached on first, which answers another question: docs/decisions/015-direction.md.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from modules.core import labels
from modules.core.history import History
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.evaluation.batch import live_tables
from modules.m1_data_engine.candle_files import read_candles

TUNED_FOR = 0.85
AT_LEAST = 50


def threshold_at_precision(probability: np.ndarray, happened: np.ndarray, precision: float) -> float:
    """The lowest threshold whose warnings, all together, reach the precision; infinite where none does."""
    order = np.argsort(-probability, kind="stable")
    reached = np.cumsum(happened[order]) / np.arange(1, len(order) + 1) >= precision
    found = np.flatnonzero(reached & (np.arange(len(order)) >= AT_LEAST))
    return float(probability[order][found[-1]]) if len(found) else np.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--candles", type=Path, required=True)
    options = parser.parse_args()
    settings = load_settings()
    run = Run.open(options.workspace, settings)
    history, assigned = History.load(run.workspace, settings), run.workspace.read("regime_assignments")
    tail = np.flatnonzero(history.known & (np.arange(len(history)) >= history.training))
    threshold = threshold_at_precision(assigned["warning_probability"][tail], history.first_side()[1][tail], TUNED_FOR)

    month, _ = read_candles(options.candles)
    before = run.workspace.read("candles_history", last=4_000)
    candles = {name: np.concatenate([before[name], month[name]]) for name in month}
    tables = live_tables(run, candles)
    at = np.searchsorted(candles["timestamp"], tables["final_signals"]["timestamp"])
    high, low, close = (candles[name] for name in ("high", "low", "close"))
    horizon, wanted = settings.labels.horizon, settings.labels
    distance = labels.move_points(close, wanted.move_points, wanted.move_bps)
    first, moved = labels.first_side(high, low, close, distance, horizon)
    judged = (tables["final_signals"]["timestamp"] >= month["timestamp"][0]) & (at < len(close) - horizon)
    at = at[judged]
    move, ahead = moved[at], close[at + horizon] - close[at]

    def say(name: str, value: float) -> None:
        print(f"{name:58s} {value:.4f}")

    probability = tables["early_warnings"]["probability"][judged]
    given = probability >= threshold
    warned = tables["early_warnings"]["warning"][judged] != "none"
    say("move: base rate", move.mean())
    say("move: ROC-AUC of ATR(14) alone", roc_auc_score(move, tables["live_features"]["atr"][judged]))
    say("move: ROC-AUC", roc_auc_score(move, probability))
    say("move: average precision", average_precision_score(move, probability))
    say("move: Brier score", brier_score_loss(move, probability))
    say("move: precision at the threshold tuned for 0.85", move[given].mean() if given.any() else np.nan)
    say("move: recall at that threshold", move[given].sum() / move.sum())
    say("move: precision of the warnings as configured", move[warned].mean() if warned.any() else np.nan)
    say("move: recall of the warnings as configured", move[warned].sum() / move.sum())
    signals = tables["specialist_signals"]
    sells, buys = signals["p_sell"][judged], signals["p_buy"][judged]
    leaning = buys / (buys + sells)
    one_side = first[at] != labels.NEUTRAL
    say("first side, given a move: ROC-AUC", roc_auc_score(first[at][one_side] == labels.BUY, leaning[one_side]))
    up = ahead > 0
    sure = np.abs(leaning - 0.5) >= np.quantile(np.abs(leaning - 0.5), 0.9)
    right = (leaning > 0.5) == up
    say("direction in 15 min: ROC-AUC", roc_auc_score(up, leaning))
    say("direction in 15 min: accuracy", right.mean())
    say("direction in 15 min: accuracy, most confident tenth", right[sure].mean())
    bps = np.sign(leaning - 0.5) * 1e4 * ahead / close[at]
    say("direction in 15 min: bps before costs, most confident tenth", bps[sure].mean())
    traded = tables["final_signals"]["signal"][judged] != "NEUTRAL"
    say("final signals other than NEUTRAL, of all minutes", traded.mean())


if __name__ == "__main__":
    main()
