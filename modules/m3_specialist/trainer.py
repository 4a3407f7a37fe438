"""Train module 3: one LightGBM for each regime, and one for all of them together."""

import sys
from dataclasses import dataclass, replace

import numpy as np

from modules.core import boosting, evidence
from modules.core.catalog import M5
from modules.core.errors import PipelineError
from modules.core.history import History, input_names, inputs
from modules.core.labels import SELL
from modules.core.module import Run, trainer_main
from modules.core.settings import Settings
from modules.core.statistics import log_loss, share
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.core.trees import Trees
from modules.core.words import MINUTE_MS, REGIMES
from modules.m3_specialist.model import POOLED, file_key, signals

VERSIONS_KEPT = 3
COMPARED_ROWS = 1_000
"""Validation rows that an older version must not have seen, to be compared with the new one."""


@dataclass(frozen=True)
class Rows:
    """What the specialists learn from: inputs, label and regime of each row of the history."""

    x: np.ndarray
    label: np.ndarray
    regime: np.ndarray
    usable: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Version:
    """One trained model of one regime, its log loss on the validation rows that it was judged on, and which those are."""

    name: str
    text: bytes
    validation: float
    judged: np.ndarray


def train(run: Run, progress: Progress) -> list[str]:
    """Walk forward for what the fusion learns from, then fit the models that serve, and measure them on the tail."""
    settings, history = run.settings, History.load(run.workspace, run.settings)
    rows = _rows(run, history)
    blocks = list(history.walk.split(history.training))[1:]
    progress.step("3 specialists: walk-forward", len(blocks))
    own, pooled, probabilities = (np.full((len(history), 3), np.nan) for _ in range(3))
    gap = history.walk.purge + history.walk.embargo
    validation_rows, before = blocks[-1][1], blocks[0][1][:0]
    for train_rows, test_rows in blocks:
        models = _fit(rows, train_rows[rows.usable[train_rows]], settings)
        pooled[test_rows] = Trees(models[POOLED]).predict(rows.x[test_rows])
        own[test_rows] = _by_regime(models, rows, test_rows)
        # A regime's own model speaks where it would have served: where it did better on the block before.
        better = [key for key in map(file_key, REGIMES) if _own_is_better(own, pooled, rows, before, key)]
        probabilities[test_rows] = np.where(np.isin(rows.regime[test_rows], better)[:, None], own[test_rows], pooled[test_rows])
        before = test_rows[:-gap]
        progress.advance()
    progress.done()

    progress.step("3 specialists: the models that serve")
    training = np.flatnonzero(rows.usable & (np.arange(len(history)) < history.training - gap))
    models = _fit(rows, training, settings)
    tail = np.arange(history.training, len(history))
    span = history.span(training)
    serving: dict[str, Version] = {}
    for key in (POOLED, *map(file_key, REGIMES)):
        part = validation_rows[rows.usable[validation_rows]]
        part = part if key == POOLED else part[rows.regime[part] == key]
        if key in models:
            serving[key] = _best(run, key, models[key], rows, part, history, pooled if key == POOLED else own, span)
            part = serving[key].judged
        by_pooled = log_loss(pooled[part], rows.label[part])
        if key not in models or (key != POOLED and serving[key].validation >= by_pooled):
            serving[key] = replace(serving[POOLED], validation=by_pooled, judged=part)
    # The fusion learned from the old specialists: until it learns anew, nothing may decide.
    run.artifacts.forget(M5)
    for key, version in serving.items():
        run.artifacts.save("specialist_{k}_export", version.text, span, rows.names, key)
        run.artifacts.save_pickle("specialist_{k}", {"name": version.name, "model": version.text}, span, rows.names, key)
    run.artifacts.save_json("specialists_export", {k: v.name for k, v in serving.items()}, span, rows.names)
    own_serves = [key for key in map(file_key, REGIMES) if serving[key].name.startswith(key)]
    probabilities[tail] = _by_regime({key: version.text for key, version in serving.items()}, rows, tail)
    covered = np.flatnonzero(~np.isnan(probabilities[:, SELL]))
    run.workspace.write(
        "specialist_history",
        {
            "timestamp": history.timestamps[covered],
            "p_sell": np.clip(probabilities[covered, 0], 0, 1),
            "p_buy": np.clip(probabilities[covered, 2], 0, 1),
            "fold": history.folds[covered],
        },
    )
    tail_by_pooled = Trees(serving[POOLED].text).predict(rows.x[tail])
    stats = _stats(history, rows, serving, probabilities, tail_by_pooled, settings)
    run.workspace.write("specialist_stats", stats)
    progress.done()
    pooled_serves = [key for key in map(file_key, REGIMES) if key not in own_serves]
    return [
        f"3 specialists: {int(stats['signals'][0])} signals on {len(tail)} unseen rows"
        + (f"; served by the pooled model: {', '.join(pooled_serves)}" if pooled_serves else "")
    ]


def _rows(run: Run, history: History) -> Rows:
    names = input_names(history.features)
    said = evidence.history(run.workspace, history.timestamps, lag=1)
    label, _ = history.first_side()
    assigned = run.workspace.read("regime_assignments")
    if len(history.places(assigned, "regime_assignments")) != len(history):
        raise PipelineError("regime_assignments does not cover the features: train module 2 again")
    # Regimes of the first block are in sample: nothing may learn from them (law 4).
    usable = history.known & (assigned["fold"] > 0)
    return Rows(
        np.hstack([inputs(history.features, names), evidence.encode(said)]),
        label,
        np.array([file_key(regime) for regime in assigned["regime"]], object),
        usable,
        names + evidence.names(),
    )


def _fit(rows: Rows, train_rows: np.ndarray, settings: Settings) -> dict[str, bytes]:
    """The text of the pooled model, and of each regime with enough rows: the pooled model, boosted on the regime's rows."""
    learning = settings.learning
    gap = settings.labels.horizon + 1 + learning.embargo
    pooled = boosting.fit(rows.x[train_rows], rows.label[train_rows], rows.names, learning, 3, gap)
    first_watched = train_rows[int(len(train_rows) * boosting.INNER_SHARE)]
    models = {POOLED: pooled.text}
    for key in map(file_key, REGIMES):
        part = train_rows[rows.regime[train_rows] == key]
        cut = int(np.searchsorted(part, first_watched))
        if len(part) >= learning.min_regime_rows and gap < cut < len(part):
            models[key] = boosting.fit(rows.x[part], rows.label[part], rows.names, learning, 3, gap, cut, pooled).text
    return models


def _by_regime(models: dict[str, bytes], rows: Rows, where: np.ndarray) -> np.ndarray:
    """(len(where), 3) probabilities, each row by its regime's model, by the pooled one where there is none."""
    result = np.empty((len(where), 3))
    for key in np.unique(rows.regime[where].astype(str)):
        part = rows.regime[where] == key
        result[part] = Trees(models.get(key, models[POOLED])).predict(rows.x[where[part]])
    return result


def _own_is_better(own: np.ndarray, pooled: np.ndarray, rows: Rows, judged: np.ndarray, key: str) -> bool:
    """Whether a regime's own models beat the pooled ones on the judged rows of that regime; (N, 3) out-of-fold both."""
    part = judged[rows.usable[judged] & (rows.regime[judged] == key)]
    return log_loss(own[part], rows.label[part]) < log_loss(pooled[part], rows.label[part])


def _best(
    run: Run,
    key: str,
    text: bytes,
    rows: Rows,
    part: np.ndarray,
    history: History,
    scored: np.ndarray,
    span: tuple[int, int],
) -> Version:
    """The version that serves: the new one, or a kept one that does better on validation rows that neither has seen.

    Parameters
    ----------
    text : the new model
    part : validation rows
    scored : (N, 3) out-of-fold probabilities of the new model's kind
    """
    artifacts = run.artifacts
    older = sorted(
        (name for name in artifacts.names() if name.startswith(f"version_{key}_v")), key=lambda n: int(n.rsplit("_v", 1)[1])
    )
    texts = {name.removeprefix("version_"): artifacts.load(name) for name in older}
    number = int(older[-1].rsplit("_v", 1)[1]) + 1 if older else 1
    name = next((old for old, kept in texts.items() if kept == text), f"{key}_v{number}")
    best, gained = Version(name, text, log_loss(scored[part], rows.label[part]), part), 0.0
    for old, kept in texts.items():
        entry = artifacts.entry("version_{k}", old)
        # The labels of the last rows that it was fitted on are made of the minutes after them.
        unseen = part[history.timestamps[part] > entry["fitted_to"] + history.walk.purge * MINUTE_MS]
        if entry["features"] == rows.names and len(unseen) >= COMPARED_ROWS:
            loss = log_loss(Trees(kept).predict(rows.x[unseen]), rows.label[unseen])
            gain = log_loss(scored[unseen], rows.label[unseen]) - loss
            if gain > gained:
                best, gained = Version(old, kept, loss, unseen), gain
    if name not in texts:
        artifacts.save("version_{k}", text, span, rows.names, name)
        artifacts.drop([old for old in older[: 1 - VERSIONS_KEPT] if old != f"version_{best.name}"])
    return best


def _stats(
    history: History,
    rows: Rows,
    serving: dict[str, Version],
    probabilities: np.ndarray,
    by_pooled: np.ndarray,
    settings: Settings,
) -> Columns:
    """Each regime's model on the tail that nothing was fitted on; every signal taken as a trade of its own, after costs.

    Parameters
    ----------
    probabilities : (N, 3) of the whole history, of the tail by the models that serve
    by_pooled : (T, 3) of the tail by the pooled model
    """
    tail = np.arange(history.training, len(history))
    usable, stamps, label = history.known[tail], history.timestamps[tail], rows.label[tail]
    cost, seed = settings.costs.round_trip, settings.learning.seed
    served = probabilities[tail]
    signal, _ = signals(served, settings.specialist.min_confidence)
    long_net, short_net = history.outcome(+1)[tail] - cost, history.outcome(-1)[tail] - cost
    net = np.where(signal == "BUY", long_net, short_net)
    learned = rows.label[: history.training][rows.usable[: history.training]]
    frequency = np.bincount(learned, minlength=3) / len(learned)

    def measured(regime: str, version: Version, part: np.ndarray) -> dict[str, object]:
        called = part & (signal != "NEUTRAL")
        rate, low, high = share(net[called] > 0, stamps[called], seed)
        losses = -net[called & (net < 0)].sum()
        return {
            "regime": regime,
            "model": version.name,
            "validation_log_loss": version.validation,
            "out_of_sample_log_loss": log_loss(served[part], label[part]),
            "pooled_log_loss": log_loss(by_pooled[part], label[part]),
            "base_rate_log_loss": log_loss(np.tile(frequency, (int(part.sum()), 1)), label[part]),
            "signals": int(called.sum()),
            "win_rate": rate,
            "win_rate_low": low,
            "win_rate_high": high,
            "win_rate_always_buy": float((long_net[part] > 0).mean()) if part.any() else np.nan,
            "profit_factor": net[called & (net > 0)].sum() / losses if losses > 0 else np.nan,
            "mean_net_bps": 1e4 * net[called].mean() if called.any() else np.nan,
            "n": int(part.sum()),
        }

    table = [measured("all", Version("as served", b"", np.nan, tail), usable)]
    for regime in REGIMES:
        key = file_key(regime)
        table.append(measured(regime, serving[key], usable & (rows.regime[tail] == key)))
    names = {name: object if isinstance(value, str) else None for name, value in table[0].items()}
    return {name: np.array([row[name] for row in table], kind) for name, kind in names.items()}


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
