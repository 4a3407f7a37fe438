"""Train module 4A: fill what is missing, choose features, fit the detector, score the past as it would have been."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - without it the next line fails
from sklearn.impute import IterativeImputer
from sklearn.linear_model import ElasticNetCV
from sklearn.model_selection import TimeSeriesSplit

from modules.core.catalog import M4A
from modules.core.errors import PipelineError
from modules.core.module import Run, trainer_main
from modules.core.settings import Settings
from modules.core.splits import PurgedWalkForward
from modules.core.statistics import Figures, mean, share
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.core.words import MINUTE_MS
from modules.m4a_whale import comparison, model
from modules.m4a_whale.transactions import exchange_addresses, recorded

MIN_TRANSFERS = 200
"""Transactions below which nothing is fitted: a quantile of fewer says little."""
MIN_PUSHES = 200
"""Transactions to or from exchanges below which no feature is dropped."""
MIN_FEATURES = 3
L1_RATIO = 0.1
CLUSTERS, LARGE_SHARE, LESS = 8, 0.7, 0.5
"""CBLOF's clusters, the share of the rows that the large ones hold, and the one tried where that cannot be had."""
NEIGHBOURS, REFERENCE = 100, 5_000
MIN_FILLED = 10
"""Rows that must have a base column's value for it to be filled in where it is missing; else it is left out."""
CV_FOLDS = 5


def train(run: Run, progress: Progress) -> list[str]:
    """Fit on the training rows' transactions; write the out-of-fold history, and figures of the unseen tail.

    The first walk-forward block has no rows in the history: nothing could have been learned before it.
    """
    settings = run.settings
    transfers = recorded(run.workspace, settings.whale.min_btc)
    run.artifacts.forget(M4A)
    for name in ("whale_history", "whale_stats"):
        run.workspace.path(name).unlink(missing_ok=True)
    if not run.workspace.exists("candles_history"):
        raise PipelineError(f"{run.workspace.path('candles_history')}: is missing; train all modules with --candles FILE first")
    candles = run.workspace.read("candles_history")
    every, learning = candles["timestamp"], settings.learning
    training = int(len(every) * (1 - settings.data.out_of_sample))
    walk = PurgedWalkForward(learning.folds, settings.labels.horizon + 1, learning.embargo)
    bounds = [(every[fit_on[-1]], every[score[0]], every[score[-1]]) for fit_on, score in walk.split(training)]
    last = every[training - 1]
    bounds.append((last, last + MINUTE_MS, every[-1]))
    enough = [int((transfers["timestamp"] < end + MINUTE_MS).sum()) >= MIN_TRANSFERS for end, _, _ in bounds]
    if not enough[-1]:
        return [
            f"4A whale: off, for {run.workspace.path('historical_transactions')} and the live cycles hold fewer than"
            f" {MIN_TRANSFERS} transactions of {settings.whale.min_btc:g} BTC before the out-of-sample tail"
        ]
    progress.step("4A whale: walk-forward", len(bounds))
    parts = []
    for (end, first, until), possible in zip(bounds, enough, strict=True):
        if possible:
            fitted, kept = fit(_upto(transfers, end + MINUTE_MS), _upto(candles, end + MINUTE_MS), settings)
            stamps = every[(every >= first) & (every <= until)]
            score, impact = model.alerts(fitted, transfers, stamps)
            heard = ~np.isnan(score)
            parts.append((stamps[heard], score[heard], impact[heard]))
        progress.advance()
    stamps, score, impact = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    progress.done()

    progress.step("4A whale: measuring and writing")
    run.workspace.write("whale_history", {"timestamp": stamps, "whale_alert_score": score, "impact_type": impact})
    learned = _upto(transfers, int(last) + MINUTE_MS)
    span = int(learned["timestamp"][0]), int(last)
    run.artifacts.save_pickle("whale_model", kept, span, list(fitted.features))
    run.artifacts.save_json("whale_export", model.dump(fitted), span, list(fitted.features))
    figures = _figures(run, fitted, transfers, candles, int(last) + MINUTE_MS)
    run.workspace.write("whale_stats", figures.columns())
    progress.done()
    silent = "; [whale] source is off, so live rows will be too" if settings.whale.source == "off" else ""
    if settings.whale.source == "mempool" and not exchange_addresses(run.workspace):
        silent = f"; {run.workspace.path('exchange_addresses')} names no exchange, so no live alert has a side"
    return [
        f"4A whale: {fitted.detector} on {len(learned['timestamp'])} transactions,"
        f" features {', '.join(fitted.features)};"
        f" performance/whale_stats.csv says what it is worth{silent}"
    ]


def fit(transfers: Columns, candles: Columns, settings: Settings, kind: str = "") -> tuple[model.WhaleModel, dict[str, Any]]:
    """The model of transactions and candles, all of which are training rows, and what the libraries made of them.

    Rows that are alike in every number count once, so that a thousand copies of one are no cluster of their own.

    Raises
    ------
    PipelineError : too few different transactions
    """
    newest = {name: values[-settings.whale.samples :] for name, values in transfers.items()}
    rows = model.base(newest)
    _, first = np.unique(np.nan_to_num(rows, nan=-1e9), axis=0, return_index=True)
    first.sort()
    if len(first) < MIN_TRANSFERS // 4:
        raise PipelineError(f"only {len(first)} of the transactions differ from one another: too few to tell odd ones")
    rows, newest = rows[first], {name: values[first] for name, values in newest.items()}
    imputer, fitted_imputer = fit_imputer(rows, settings.learning.seed)
    everything = np.stack(list(model.candidates(imputer.fill(rows), newest).values()), 1)
    median, scale = np.median(everything, axis=0), everything.std(axis=0)
    scale[scale < 1e-9] = 1.0
    upward = np.maximum((everything - median) / scale, 0.0)
    names = list(model.CANDIDATES)
    kept = select(upward, push(newest, candles, settings.whale.half_life))
    kind = kind or settings.whale.detector
    arrays, detector = FITS[kind](upward[:, kept], settings.learning.seed)
    share_grid = _shares(len(rows))
    raw = model.DETECTORS[kind](upward[:, kept], arrays)
    levels, shares = _quantiles(raw, share_grid)
    fitted = model.WhaleModel(
        imputer, tuple(names[i] for i in kept), median[kept], scale[kept], kind, arrays,
        levels, shares, np.array([0.0, 1.0]), np.array([0.0, 1.0]), settings.whale.half_life,
    )  # fmt: skip
    stamps = candles["timestamp"][candles["timestamp"] > transfers["timestamp"][0]]
    strength, _ = model.standing(fitted, transfers, stamps)
    strength = strength[~np.isnan(strength)]
    if len(strength):
        minute_levels, minute_shares = _quantiles(strength, _shares(len(strength)))
        fitted = replace(fitted, minute_levels=minute_levels, minute_shares=minute_shares)
    return fitted, {"imputer": fitted_imputer, "detector": detector}


def fit_imputer(rows: np.ndarray, seed: int) -> tuple[model.Imputer, IterativeImputer]:
    """Chained equations over the base columns that have values at all; a column without any stays at 0."""
    there = np.flatnonzero((~np.isnan(rows)).sum(axis=0) >= MIN_FILLED)
    fitted = IterativeImputer(random_state=seed, max_iter=10, tol=1e-3).fit(rows[:, there])
    count = rows.shape[1]
    start, low, high = np.zeros(count), np.zeros(count), np.zeros(count)
    start[there] = fitted.initial_imputer_.statistics_
    low[there], high[there] = np.nanmin(rows[:, there], axis=0), np.nanmax(rows[:, there], axis=0)
    steps = []
    for step in fitted.imputation_sequence_:
        coefficients = np.zeros(count)
        coefficients[there[step.neighbor_feat_idx]] = step.estimator.coef_
        steps.append((int(there[step.feat_idx]), coefficients, float(step.estimator.intercept_)))
    return model.Imputer(start, low, high, tuple(steps)), fitted


def push(transfers: Columns, candles: Columns, minutes: float) -> np.ndarray:
    """(N,) how far the price went, within ``minutes`` after each transaction, the way that its direction says.

    In units of what the price usually goes in that time (from the four hours before). NaN where it has no direction or
    the candles end before. Only a target to choose features against: an alert is to tell pressure.
    """
    ahead, back = max(1, int(minutes)), 240
    stamps, logs = candles["timestamp"], np.log(candles["close"])
    here = np.searchsorted(stamps, transfers["timestamp"] // MINUTE_MS * MINUTE_MS)
    squares = np.concatenate([[0.0], np.cumsum(np.diff(logs, prepend=logs[:1]) ** 2)])
    way = model.direction(transfers)
    result = np.full(len(here), np.nan)
    usable = (way != 0) & (here >= back) & (here + ahead < len(stamps))
    at = here[usable]
    usual = np.sqrt((squares[at + 1] - squares[at + 1 - back]) / back * ahead) + 1e-9
    result[usable] = np.clip((logs[at + ahead] - logs[at]) / usual, -4.0, 4.0) * way[usable]
    return result


def select(upward: np.ndarray, target: np.ndarray) -> list[int]:
    """The columns to keep: those with a positive weight in an elastic net on ``target``, its penalty by 5-fold
    time-series cross-validation (Zou & Hastie 2005; an L1 penalty alone keeps but one of features that say nearly the
    same, and here it dropped the size). All, where fewer than three have one: the target then says nothing.
    """
    known = ~np.isnan(target)
    everything = list(range(upward.shape[1]))
    if known.sum() < MIN_PUSHES:
        return everything
    folds = TimeSeriesSplit(CV_FOLDS)
    fitted = ElasticNetCV(l1_ratio=L1_RATIO, positive=True, cv=folds, alphas=50).fit(upward[known], target[known])
    kept = [i for i in everything if fitted.coef_[i] > 1e-9]
    return kept if len(kept) >= MIN_FEATURES else everything


def fit_cblof(rows: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], Any]:
    """pyod's CBLOF; with fewer clusters, or a smaller large part, where the rows do not fall into as many."""
    from pyod.models.cblof import CBLOF  # here: it compiles for seconds

    distinct = len(np.unique(rows, axis=0))
    for large_share in (LARGE_SHARE, LESS):
        for clusters in range(min(CLUSTERS, distinct), 1, -1):
            try:
                fitted = CBLOF(n_clusters=clusters, alpha=large_share, random_state=seed).fit(rows)
            except ValueError:  # "could not form valid cluster separation"
                continue
            large = np.isin(np.arange(clusters), fitted.large_cluster_labels_)
            return {"centres": fitted.cluster_centers_, "large": large.astype(float)}, fitted
    raise PipelineError("the transactions are all alike: no clusters to tell odd ones from")


def fit_knn(rows: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], Any]:
    """pyod's kNN by mean distance, on a sample that the live path can carry."""
    from pyod.models.knn import KNN

    random = np.random.Generator(np.random.PCG64(seed))
    chosen = np.sort(random.choice(len(rows), min(REFERENCE, len(rows)), replace=False))
    count = min(NEIGHBOURS, len(chosen) - 1)
    fitted = KNN(n_neighbors=count, method="mean").fit(rows[chosen])
    return {"reference": rows[chosen], "neighbours": np.array([float(count)])}, fitted


def fit_iforest(rows: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], Any]:
    """scikit-learn's isolation forest."""
    fitted = IsolationForest(random_state=seed).fit(rows)
    trees = [tree.tree_ for tree in fitted.estimators_]
    size = max(tree.node_count for tree in trees)
    names = ("feature", "threshold", "left", "right", "path")
    arrays = {name: np.full((len(trees), size), -1.0) for name in names}
    for i, (tree, columns) in enumerate(zip(trees, fitted.estimators_features_, strict=True)):
        inner = tree.children_left >= 0
        arrays["left"][i, : tree.node_count] = tree.children_left
        arrays["right"][i, : tree.node_count] = tree.children_right
        arrays["threshold"][i, : tree.node_count] = tree.threshold
        arrays["feature"][i, : tree.node_count] = np.where(inner, columns[tree.feature], 0)
        depth = np.zeros(tree.node_count)
        for node in np.flatnonzero(inner):  # a parent stands before its children
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        arrays["path"][i, : tree.node_count] = depth + _usual_path(tree.n_node_samples)
    return {**arrays, "usual": _usual_path(np.array([fitted.max_samples_]))}, fitted


FITS = {"cblof": fit_cblof, "iforest": fit_iforest, "knn": fit_knn}


def _usual_path(rows: np.ndarray) -> np.ndarray:
    """Mean depth at which a random tree has told apart this many rows (Liu, Ting & Zhou 2008, equation 1)."""
    many = np.maximum(rows, 3).astype(float)
    usual = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, usual))


def _shares(count: int) -> np.ndarray:
    """Shares at which quantiles are kept: even ones, and finer and finer towards the oddest of ``count`` rows."""
    return np.unique(np.concatenate([np.linspace(0, 0.99, 100), 1 - np.geomspace(0.01, 1 / (count + 1), 100)]))


def _quantiles(values: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rising levels and the share of the values below each; of equal levels the one with the highest share."""
    levels = np.quantile(values, shares)
    kept = np.append(levels[1:] > levels[:-1], True)
    return levels[kept], shares[kept]


def _upto(columns: Columns, end: int) -> Columns:
    there = columns["timestamp"] < end
    return {name: values[there] for name, values in columns.items()}


def _figures(run: Run, fitted: model.WhaleModel, transfers: Columns, candles: Columns, tail: int) -> Figures:
    settings, figures = run.settings, Figures()
    seed, least = settings.learning.seed, 1 - settings.whale.alert_share
    learned = _upto(transfers, tail)
    unseen = {name: values[transfers["timestamp"] >= tail] for name, values in transfers.items()}
    count = len(learned["timestamp"])
    figures.add("training rows", "transactions learned from", min(count, settings.whale.samples), count)
    figures.add("training rows", "values filled in, share", float(np.isnan(model.base(learned)).mean()), count)
    every = "candidates; all are kept where the target says nothing"
    features = len(fitted.features), count
    figures.add("training rows", "features kept", *features, baseline=len(model.CANDIDATES), baseline_is=every)
    if len(unseen["timestamp"]):
        alert, stamps = fitted.share_below(unseen) >= least, unseen["timestamp"]
        value, low, high = share(alert, stamps, seed)
        expected = settings.whale.alert_share, "as in training"
        figures.add("out of sample", "share of transactions that are alerts", value, len(alert), low, high, *expected)
        pushed = push(unseen, candles, settings.whale.half_life)
        known = ~np.isnan(pushed)
        value, low, high = mean(pushed[known & alert], stamps[known & alert], seed)
        usual = float(pushed[known].mean()) if known.any() else np.nan, "after any large transaction"
        count = int((known & alert).sum())
        figures.add("out of sample", "price after an alert, its way, in usual moves", value, count, low, high, *usual)
    if "planted" in transfers and len(unseen["timestamp"]):
        there = ~np.isnan(unseen["planted"])
        tested = {name: values[there] for name, values in unseen.items()}
        label = tested["planted"] > 0
        if label.any() and not label.all():
            before = _upto(candles, tail)
            models = {kind: fit(learned, before, settings, kind)[0] for kind in FITS}
            scores, alerts = _scored(models, learned, tested, least)
            comparison.figures_of(figures, "planted whales, out of sample", scores, alerts, tested, label, seed)
    if run.workspace.exists("labelled_transactions"):
        _labelled(figures, run.workspace.read("labelled_transactions"), candles, settings)
    return figures


def _labelled(figures: Figures, rows: Columns, candles: Columns, settings: Settings) -> None:
    """Five folds in time order; each is scored by models of the other four."""
    order = np.argsort(rows["timestamp"], kind="stable")
    rows = {name: values[order] for name, values in rows.items()}
    fold = np.arange(len(order)) * CV_FOLDS // max(1, len(order))
    scores: dict[str, list[np.ndarray]] = {}
    alerts: dict[str, list[np.ndarray]] = {}
    for k in range(CV_FOLDS):
        train, test = ({name: values[side] for name, values in rows.items()} for side in (fold != k, fold == k))
        models = {kind: fit(train, candles, settings, kind)[0] for kind in FITS}
        for found, into in zip(_scored(models, train, test, 1 - settings.whale.alert_share), (scores, alerts), strict=True):
            for name, values in found.items():
                into.setdefault(name, []).append(values)
    scope = "labelled_transactions (labels as good as their source), five folds"
    joined, called = ({name: np.concatenate(parts) for name, parts in found.items()} for found in (scores, alerts))
    comparison.figures_of(figures, scope, joined, called, rows, rows["label"] > 0, settings.learning.seed)


def _scored(
    models: dict[str, model.WhaleModel], learned: Columns, tested: Columns, least: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores and alerts of each detector and of the two simple ones, which take their threshold from training too."""
    scores = {kind: fitted.share_below(tested) for kind, fitted in models.items()}
    alerts = {kind: score >= least for kind, score in scores.items()}
    simple = {
        "value alone": lambda rows: rows["value_btc"],
        "largest output alone": lambda rows: rows["value_btc"] * np.nan_to_num(rows["largest_output_share"], nan=1.0),
    }
    for name, of in simple.items():
        scores[name] = of(tested)
        alerts[name] = scores[name] >= np.quantile(of(learned), least)
    return scores, alerts


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
