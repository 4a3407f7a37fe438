"""Train module 3: one LightGBM for each regime, and one for all of them together."""

import sys
from dataclasses import dataclass, replace

import numpy as np

from modules.core import boosting, evidence
from modules.core.history import History, input_names, inputs
from modules.core.labels import SELL
from modules.core.module import Run, trainer_main
from modules.core.settings import Settings
from modules.core.statistics import log_loss, share
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.core.trees import Trees
from modules.core.words import REGIMES
from modules.m3_specialist.model import POOLED, file_key, signals

VERSIONS_KEPT = 3


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
    """One trained model of one regime, and how it did on validation rows that it has not seen."""

    name: str
    text: bytes
    validation: float


def train(run: Run, progress: Progress) -> list[str]:
    """Walk forward for what the fusion learns from, then fit the models that serve, and measure them on the tail."""
    settings, history = run.settings, History.load(run.workspace, run.settings)
    rows = _rows(run, history)
    blocks = list(history.walk.split(history.training))[1:]
    progress.step("3 specialists: walk-forward", len(blocks))
    probabilities = np.full((len(history), 3), np.nan)
    own = np.full((len(history), 3), np.nan)
    pooled = np.full((len(history), 3), np.nan)
    validation_rows = blocks[-1][1]
    for train_rows, test_rows in blocks:
        models = _fit(rows, train_rows[rows.usable[train_rows]], settings)
        pooled[test_rows] = Trees(models[POOLED]).predict(rows.x[test_rows])
        own[test_rows] = _by_regime(models, rows, test_rows)
        probabilities[test_rows] = own[test_rows]
        progress.advance()
    progress.done()

    progress.step("3 specialists: the models that serve")
    training = np.flatnonzero(rows.usable & (np.arange(len(history)) < history.training))
    models = _fit(rows, training, settings)
    tail = np.arange(history.training, len(history))
    span = history.span(training)
    serving: dict[str, Version] = {}
    kept: dict[str, list[Version]] = {}
    for key in (POOLED, *map(file_key, REGIMES)):
        part = validation_rows[rows.regime[validation_rows] == key] if key != POOLED else validation_rows
        part = part[rows.usable[part]]
        scored = pooled if key == POOLED else own
        fresh = log_loss(scored[part], rows.label[part])
        if key == POOLED or key in models:
            serving[key], kept[key] = _best(run, key, models[key], fresh, rows, part, history, scored)
        by_pooled = log_loss(pooled[part], rows.label[part])
        if key != POOLED and (key not in models or fresh >= by_pooled):
            serving[key] = replace(serving[POOLED], validation=by_pooled)
    for key, version in serving.items():
        run.artifacts.save("specialist_{k}_export", version.text, span, rows.names, key)
        run.artifacts.save_pickle("specialist_{k}", {"name": version.name, "model": version.text}, span, rows.names, key)
    run.artifacts.save_json("specialists_export", {k: v.name for k, v in serving.items()}, span, rows.names)
    chosen = {key: version.text for key, version in serving.items()}
    probabilities[tail] = _by_regime(chosen, rows, tail)
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
    stats = _stats(history, rows, serving, kept, probabilities, Trees(serving[POOLED].text).predict(rows.x[tail]), settings)
    run.workspace.write("specialist_stats", stats)
    progress.done()
    pooled_serves = [key for key in map(file_key, REGIMES) if serving[key].name.startswith(POOLED)]
    return [
        f"3 specialists: {int(stats['signals'][0])} signals on {len(tail)} unseen rows"
        + (f"; served by the pooled model: {', '.join(pooled_serves)}" if pooled_serves else "")
    ]


def _rows(run: Run, history: History) -> Rows:
    names = input_names(history.features)
    said = evidence.history(run.workspace, history.timestamps, lag=1)
    label, _ = history.first_side()
    assigned = run.workspace.read("regime_assignments")
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


def _best(
    run: Run, key: str, text: bytes, fresh: float, rows: Rows, part: np.ndarray, history: History, scored: np.ndarray
) -> tuple[Version, list[Version]]:
    """The version that serves, and those kept on disk: the new one, or an older one that does better on rows that
    neither has seen."""
    artifacts = run.artifacts
    names = [n for n in artifacts.names() if n.startswith(f"version_{key}_v")]
    older = sorted(names, key=lambda n: int(n.rsplit("_v", 1)[1]))
    versions: list[Version] = []
    same = None
    for name in older:
        entry, old = artifacts.entry(name), artifacts.load(name)
        short = name.removeprefix("version_")
        if old == text:
            same = short
            continue
        unseen = part[history.timestamps[part] > entry["fitted_to"]]
        if entry["features"] == rows.names and len(unseen) >= 1_000:
            versions.append(Version(short, old, log_loss(Trees(old).predict(rows.x[unseen]), rows.label[unseen])))
            if versions[-1].validation < log_loss(scored[unseen], rows.label[unseen]):
                return versions[-1], versions
    number = int(older[-1].rsplit("_v", 1)[1]) + 1 if older else 1
    version = Version(same or f"{key}_v{number}", text, fresh)
    if same is None:
        span = history.span(np.flatnonzero(rows.usable[: history.training]))
        artifacts.save("version_{k}", text, span, rows.names, version.name)
        artifacts.drop([*older, f"version_{version.name}"][:-VERSIONS_KEPT])
    return version, [*versions, version]


def _stats(history, rows, serving, kept, probabilities, by_pooled, settings) -> Columns:  # type: ignore[no-untyped-def]
    tail = np.arange(history.training, len(history))
    usable = history.known[tail]
    cost, seed = settings.costs.round_trip, settings.learning.seed
    signal, _ = signals(probabilities[tail], settings.specialist.min_confidence)
    long_net, short_net = history.outcome(+1)[tail] - cost, history.outcome(-1)[tail] - cost
    net = np.where(signal == "BUY", long_net, short_net)
    training = np.flatnonzero(rows.usable[: history.training])
    table: dict[str, list] = {}

    def add(regime: str, model_name: str, served: int, validation: float, part: np.ndarray) -> None:
        called = part & (signal != "NEUTRAL")
        rate, low, high = share(net[called] > 0, history.timestamps[tail][called], seed)
        frequency = np.bincount(rows.label[training], minlength=3) / len(training)
        label = rows.label[tail][part]
        losses = -net[called & (net < 0)].sum()
        row = {
            "regime": regime,
            "model": model_name,
            "served": served,
            "validation_log_loss": validation,
            "out_of_sample_log_loss": log_loss(probabilities[tail][part], label),
            "pooled_log_loss": log_loss(by_pooled[part], label),
            "base_rate_log_loss": log_loss(np.tile(frequency, (len(label), 1)), label),
            "signals": int(called.sum()),
            "win_rate": rate,
            "win_rate_low": low,
            "win_rate_high": high,
            "win_rate_always_buy": float((long_net[part] > 0).mean()) if part.any() else np.nan,
            "profit_factor": net[called & (net > 0)].sum() / losses if losses > 0 else np.nan,
            "mean_net_bps": 1e4 * net[called].mean() if called.any() else np.nan,
            "n": int(part.sum()),
        }
        for key, value in row.items():
            table.setdefault(key, []).append(value)

    add("all", "as served", 1, np.nan, usable)
    for regime in REGIMES:
        key = file_key(regime)
        add(regime, serving[key].name, 1, serving[key].validation, usable & (rows.regime[tail] == key))
    return {name: np.array(values, object if isinstance(values[0], str) else None) for name, values in table.items()}


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
