"""Train module 5: how likely each side's trade ends in profit, from the out-of-fold outputs of the rooms before it."""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from modules.core import calibration, evidence
from modules.core.catalog import M5
from modules.core.errors import PipelineError
from modules.core.history import History
from modules.core.module import Run, trainer_main
from modules.core.settings import Settings
from modules.core.splits import OUT_OF_SAMPLE
from modules.core.statistics import Figures, log_loss, mean, share
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.core.words import BUY, NEUTRAL, SELL
from modules.m5_meta_fusion import model

PENALTIES = (1e3, 1e4, 1e5, 1e6)
"""Strengths of both penalties that are tried, in rows of evidence against every weight, beside "no weights at all".
Neighbouring minutes share their future, so the rows are worth far fewer than they are many."""


def train(run: Run, progress: Progress) -> list[str]:
    """Fit on out-of-fold rows, calibrate on the newest of their blocks, measure both rules on the unseen tail."""
    settings = run.settings
    progress.step("5 fusion")
    history = History.load(run.workspace, settings)
    signals, fold, outcome = gather(run, history)
    usable = ~np.isnan(outcome[BUY])
    newest = settings.learning.folds - 1
    gap = settings.labels.horizon + 1 + settings.learning.embargo
    fitting = np.flatnonzero(usable & (fold < newest))[:-gap]
    calibrating = np.flatnonzero(usable & (fold == newest))[:-gap]
    if len(fitting) < 1_000 or len(calibrating) < 500:
        raise PipelineError(f"{len(fitting)} out-of-fold rows are too few for the fusion: give more candles")
    rows = model.input_rows(signals, settings.costs)
    centre, scale = rows[fitting].mean(axis=0), rows[fitting].std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    standard = (rows - centre) / scale
    sides = {}
    for name in model.SIDES:
        gain = outcome[name] * signals["close"] / signals["atr"]
        won = outcome[name] > settings.costs.round_trip
        sides[name] = _fit_side(standard, gain, won, fitting, calibrating)
    fusion = model.FusionModel(centre, scale, sides)
    progress.done()

    progress.step("5 fusion: measuring and writing")
    run.artifacts.forget(M5)
    span = (int(signals["timestamp"][fitting[0]]), int(signals["timestamp"][calibrating[-1]]))
    names = model.input_names()
    run.artifacts.save_pickle("meta_fusion_model", fusion, span, names)
    run.artifacts.save_json("meta_fusion_export", _export(fusion), span, names)
    tail = np.flatnonzero(usable & (fold == OUT_OF_SAMPLE))
    figures = _figures(fusion, {k: v[tail] for k, v in signals.items()}, {k: v[tail] for k, v in outcome.items()}, settings)
    for name, side in sides.items():
        for weight_of, weight in zip(names, side.weights, strict=True):
            figures.add("fitted", f"weight of {weight_of} for {name}", float(weight), len(fitting))
    run.workspace.write("fusion_stats", figures.columns())
    progress.done()
    traded = {figure: value for scope, figure, value, *_ in figures.rows if figure.endswith("signals")}
    return [
        "5 fusion: signals on the unseen tail: "
        + ", ".join(f"{int(value)} by {figure.removesuffix(': signals')}" for figure, value in traded.items())
    ]


def gather(run: Run, history: History) -> tuple[Columns, np.ndarray, dict[str, np.ndarray]]:
    """What the fusion sees on each row that the specialists have an out-of-fold output for.

    Returns
    -------
    signals : the columns that ``model.decide`` takes
    fold : (N,) walk-forward block
    outcome : side -> (N,) gross return of its trade
    """
    specialist = run.workspace.read("specialist_history")
    assigned = run.workspace.read("regime_assignments")
    at = history.places(specialist, "specialist_history")
    features = {key: values[at] for key, values in history.features.items()}
    if len(history.places(assigned, "regime_assignments")) != len(history):
        raise PipelineError("regime_assignments does not cover the features: train module 2 again")
    before = {key: values[at] for key, values in assigned.items()}
    sure = run.settings.specialist.min_confidence
    buys, sells = specialist["p_buy"] >= sure, specialist["p_sell"] >= sure
    specialist["signal"] = np.where(buys, BUY, np.where(sells, SELL, NEUTRAL)).astype(object)
    before["probability"] = before["warning_probability"]
    said = evidence.history(run.workspace, specialist["timestamp"], lag=0)
    signals = model.gather(features, before, before, before, specialist, said)
    outcome = {name: history.outcome(sign)[at] for name, sign in model.SIDES.items()}
    return signals, specialist["fold"], outcome


def _fit_side(standard: np.ndarray, gain: np.ndarray, won: np.ndarray, fitting: np.ndarray, newest: np.ndarray) -> model.Side:
    """Fit on the older blocks; the newest one chooses the penalties and calibrates."""
    gain_weights, gain_intercept = np.zeros(standard.shape[1]), float(gain[fitting].mean())
    best = float(((gain[newest] - gain_intercept) ** 2).mean())
    for penalty in PENALTIES:
        ridge = Ridge(alpha=penalty).fit(standard[fitting], gain[fitting])
        error = float(((gain[newest] - ridge.predict(standard[newest])) ** 2).mean())
        if error < best:
            best, gain_weights, gain_intercept = error, ridge.coef_, float(ridge.intercept_)

    share = np.clip(won[fitting].mean(), 1e-4, 1 - 1e-4)
    weights, intercept = np.zeros(standard.shape[1]), float(calibration.log_odds(np.array([share]))[0])
    best = _log_loss(np.full(len(newest), share), won[newest])
    if won[fitting].any() and not won[fitting].all():
        for penalty in PENALTIES:
            logistic = LogisticRegression(C=1 / penalty, max_iter=500).fit(standard[fitting], won[fitting])
            loss = _log_loss(logistic.predict_proba(standard[newest])[:, 1], won[newest])
            if loss < best:
                best, weights, intercept = loss, logistic.coef_[0], float(logistic.intercept_[0])
    raw = calibration.sigmoid(standard[newest] @ weights + intercept)
    slope, shift = calibration.fit_platt(raw, won[newest]) if weights.any() else (1.0, 0.0)
    return model.Side(weights, intercept, slope, shift, gain_weights, gain_intercept)


def _log_loss(probability: np.ndarray, happened: np.ndarray) -> float:
    return log_loss(np.stack([1 - probability, probability], 1), happened.astype(int))


def _export(fusion: model.FusionModel) -> dict[str, object]:
    return {
        "centre": fusion.centre.tolist(),
        "scale": fusion.scale.tolist(),
        "sides": {
            name: {
                "weights": side.weights.tolist(),
                "intercept": side.intercept,
                "slope": side.slope,
                "shift": side.shift,
                "gain_weights": side.gain_weights.tolist(),
                "gain_intercept": side.gain_intercept,
            }
            for name, side in fusion.sides.items()
        },
    }


def _figures(fusion: model.FusionModel, signals: Columns, outcome: dict[str, np.ndarray], settings: Settings) -> Figures:
    """Both rules on the unseen tail, each signal taken as a trade of its own, after costs."""
    figures, scope, seed = Figures(), "out of sample", settings.learning.seed
    stamps, cost = signals["timestamp"], settings.costs.round_trip
    for rule in ("fused", "strict"):
        decisions = model.decide(fusion, signals, settings, rule)
        net = np.where(decisions.side == BUY, outcome[BUY], outcome[SELL]) - cost
        called = decisions.signal != NEUTRAL
        paying = decisions.expected_bps > 0
        figures.add(scope, f"{rule}: signals", int(called.sum()), len(called))
        value, low, high = share(net[called] > 0, stamps[called], seed)
        every = float((net > 0).mean())
        figures.add(scope, f"{rule}: win rate after costs", value, int(called.sum()), low, high, every, "a trade each minute")
        value, low, high = mean(1e4 * net[called], stamps[called], seed)
        every = 1e4 * float(net.mean())
        figures.add(scope, f"{rule}: mean net bps a signal", value, int(called.sum()), low, high, every, "a trade each minute")
        gains, losses = net[called & (net > 0)].sum(), -net[called & (net < 0)].sum()
        figures.add(scope, f"{rule}: profit factor", gains / losses if losses > 0 else np.nan, int(called.sum()))
        if rule == "fused":
            value, low, high = mean(1e4 * net[paying], stamps[paying], seed)
            promised = float(decisions.expected_bps[paying].mean()) if paying.any() else np.nan
            figures.add(
                scope,
                "minutes that pass the expected-value rule: mean net bps",
                value,
                int(paying.sum()),
                low,
                high,
                promised,
                "what the rule expected",
            )
            for name, veto in decisions.vetoes.items():
                figures.add(scope, f"share of minutes vetoed: {name}", float(veto.mean()), len(veto))
    standard = fusion.standard(model.input_rows(signals, settings.costs))
    for name, side in fusion.sides.items():
        won = outcome[name] > cost
        brier = (side.probability(standard) - won) ** 2
        base = float(won.mean() * (1 - won.mean()))
        value, low, high = mean(brier, stamps, seed)
        figures.add(
            scope, f"{name}: Brier score of winning after costs", value, len(won), low, high, base, "the tail's base rate"
        )
    return figures


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
