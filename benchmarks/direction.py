"""The sign of the next 15 minutes: what can be known of it, and what is it worth? Walk-forward over the newest months.

usage: python -m benchmarks.direction --candles FILE [FILE ...] [--blocks 6] [--minutes 43200] [--window 200000]

Prints, for each way to guess, the most confident share of each block: hit rate and basis points before and after costs.
Several files follow one another: ``--candles HISTORY APRIL --blocks 1`` judges on April what the history teaches.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm
import numpy as np
from sklearn.metrics import mutual_info_score, roc_auc_score

from modules.core import labels
from modules.core.settings import load_settings
from modules.core.statistics import mean, share
from modules.m1_data_engine import model
from modules.m1_data_engine.candle_files import read_candles
from modules.m1_data_engine.features import registry
from modules.m1_data_engine.features.market import Market

EVERY = 3
"""Of the training rows every how many: neighbours share nearly all of their future."""
COVERAGE = (1, 0.5, 0.1, 0.05, 0.01, 0.001)
OWN, LEANING, ROUND, ALL = "own direction, 15 features", "leaning of a specialist", "leaning turned round", "own direction, all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, nargs="+", required=True)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--minutes", type=int, default=43_200)
    parser.add_argument("--window", type=int, default=200_000)
    options = parser.parse_args()
    settings = load_settings()
    horizon, seed = settings.labels.horizon, settings.learning.seed
    gap = horizon + 1 + settings.learning.embargo
    files = [read_candles(path)[0] for path in options.candles]
    candles = {name: np.concatenate([file[name] for file in files]) for name in files[0]}
    high, low, close, stamps = (candles[name] for name in ("high", "low", "close", "timestamp"))
    distance = labels.move_points(close, settings.labels.move_points, settings.labels.move_bps)
    first, moved = labels.first_side(high, low, close, distance, horizon)
    ahead = np.append(close[horizon:] / close[:-horizon] - 1, np.full(horizon, np.nan))
    market, candidates = Market(candles), registry.candidates()
    rows = np.stack([registry.compute(market, [feature])[:, 0].astype(np.float32) for feature in candidates], 1)
    last = len(close) - horizon - 1
    starts = last - options.minutes * np.arange(options.blocks, 0, -1)
    judged = np.arange(starts[0], last)
    block = (judged - starts[0]) // options.minutes
    score = {name: np.zeros(len(judged)) for name in (OWN, LEANING, ALL)}
    for number, start in enumerate(starts):
        train = np.arange(max(registry.LONGEST_WARMUP, start - options.window), start - gap)
        test, here, part = judged[block == number], block == number, train[::EVERY]
        kept = chosen(rows, part, train[first[train] != labels.NEUTRAL], moved, first, settings.data.max_correlation)
        up = (ahead[part] > 0).astype(int)
        score[OWN][here] = fitted(rows[part][:, kept], up, 2).predict(rows[test][:, kept]) - 0.5
        score[ALL][here] = fitted(rows[part], up, 2).predict(rows[test]) - 0.5
        sides = fitted(rows[part][:, kept], first[part], 3).predict(rows[test][:, kept])
        score[LEANING][here] = sides[:, labels.BUY] / (sides[:, labels.BUY] + sides[:, labels.SELL]) - 0.5
    score[ROUND] = -score[LEANING]
    came, stamp, bps = ahead[judged] > 0, stamps[judged], 1e4 * ahead[judged]
    one_side, cost = first[judged] != labels.NEUTRAL, 1e4 * settings.costs.round_trip
    sided = roc_auc_score(first[judged][one_side] == labels.BUY, score[LEANING][one_side])
    print(f"first side, given a move: ROC-AUC of the leaning over all blocks {sided:.4f}, n {one_side.sum()}")
    print(f"costs of a round trip: {cost:.0f} bps")
    for name, values in score.items():
        print(f"{name}: ROC-AUC {roc_auc_score(came, values):.4f}")
        for coverage in COVERAGE:
            sure = np.zeros(len(values), bool)
            for number in range(options.blocks):
                here = block == number
                sure[here] = np.abs(values[here]) >= np.quantile(np.abs(values[here]), 1 - coverage)
            hit, hit_low, hit_high = share(((values > 0) == came)[sure], stamp[sure], seed)
            gained, worst, best = mean((np.sign(values) * bps)[sure], stamp[sure], seed)
            print(
                f"  surest {100 * coverage:5.1f} %  n {sure.sum():6d}  right {hit:.3f} ({hit_low:.3f} to {hit_high:.3f})"
                f"  bps {gained:+.2f} ({worst:+.2f} to {best:+.2f})  after costs {gained - cost:+.2f}"
            )


def chosen(
    rows: np.ndarray, part: np.ndarray, sided: np.ndarray, moved: np.ndarray, first: np.ndarray, max_correlation: float
) -> list[int]:
    """The 15 features that module 1 would keep of the training rows."""
    asked = ((part, moved), (sided, first))
    ranking = [
        np.array([mutual_info_score(model.bins(rows[where, i]), label[where]) for i in range(rows.shape[1])])
        for where, label in asked
    ]
    return model.select(ranking, rows[part[:: max(1, len(part) // 16_000)]].astype(float), 15, max_correlation)


def fitted(rows: np.ndarray, label: np.ndarray, classes: int) -> lightgbm.Booster:
    """300 small trees for a sign, half as many for the three sides."""
    wanted = {
        "objective": "binary" if classes == 2 else "multiclass",
        **({} if classes == 2 else {"num_class": classes}),
        "learning_rate": 0.03,
        "num_leaves": 7,
        "min_data_in_leaf": 300,
        "feature_fraction": 0.5 if rows.shape[1] < 50 else 0.2,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 10.0,
        "max_bin": 127,
        "seed": 7,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    return lightgbm.train(wanted, lightgbm.Dataset(rows, label), 300 if classes == 2 else 150)


if __name__ == "__main__":
    main()
