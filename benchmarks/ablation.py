"""Do whales and news help? Modules 2, 3 and 5 with and without each, on real candles, purged walk-forward.

usage: python -m benchmarks.ablation --candles FILE --news FOLDER --flows FILE [--from 2023-03-25] [--to 2024-01-01]
       [--out CSV] [--workspace DIR]

Module 1 runs once, so that the features are the same; modules 2, 3 and 5 are then trained four times on the same folds,
and compared on the same minutes, none of which the model that speaks there has learned from.

- Sentiment: 4B learns from headlines that people labelled and that have no date, and scores the news timeline: neither
  the timeline's labels nor any price can leak.
- Whales: a PROXY. No large transactions are at hand for these months, only what flowed to and from exchanges each day.
  Its net inflow, against the 365 days before it, stands for the whole of the next day. See ``whale_proxy``.

The default months are those in which the timeline has times of day: its posts of 2024 have dates alone.
"""

import argparse
import csv
import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import numpy as np

from benchmarks.real_news import HUMAN, TIMELINE, columns
from modules.conductor.replay import stamp_of
from modules.core import evidence
from modules.core.catalog import NEXT
from modules.core.history import History, inputs
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.statistics import DAY_MS, Figures, day_bootstrap
from modules.core.tables import Columns
from modules.core.telemetry import Progress
from modules.m1_data_engine import trainer as m1
from modules.m1_data_engine.candle_files import read_candles
from modules.m2_regime import model as m2_model
from modules.m2_regime import trainer as m2
from modules.m3_specialist import trainer as m3
from modules.m4b_sentiment import trainer as m4b
from modules.m5_meta_fusion import model as m5_model
from modules.m5_meta_fusion import predictor as m5_live
from modules.m5_meta_fusion import trainer as m5

VARIANTS = {
    "whale": ("whale_history",),
    "sentiment": ("sentiment_history",),
    "both": ("whale_history", "sentiment_history"),
}
RECALL = 0.15
HOPED = 0.20
"""The improvement that was hoped for."""
WHALE_DAYS, LEAST_WHALE_DAYS = 365, 30
FEWER = -1
"""Of a loss, less is better."""

Measured = dict[str, tuple[int, np.ndarray, np.ndarray, np.ndarray]]
"""Figure -> +1 where more is better, else -1; (N,) stamps; (N,) what is summed, over (N,) what it is divided by."""


def whale_proxy(path: Path, timestamps: np.ndarray) -> Columns:
    """The table ``whale_history`` from daily flows: how far the day's net inflow was from the mean of the ``WHALE_DAYS``
    before it, as the share of those days that were nearer to it; inflow reads as sell_pressure, outflow as buy_pressure.
    A day's row speaks on the day after it."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [(int(row["timestamp"]), float(row["netflow_btc"])) for row in csv.DictReader(file)]
    days, net = (np.array(column) for column in zip(*rows, strict=True))
    score, impact = np.full(len(net), 0.5), np.full(len(net), "none", object)
    for i in range(LEAST_WHALE_DAYS, len(net)):
        past = net[max(0, i - WHALE_DAYS) : i]
        away = net[i] - past.mean()
        score[i] = (np.abs(past - past.mean()) < abs(away)).mean()
        impact[i] = "sell_pressure" if away > 0 else "buy_pressure"
    said = timestamps // DAY_MS * DAY_MS - DAY_MS
    at = np.searchsorted(days, said)
    known = np.isin(said, days)
    return {"timestamp": timestamps[known], "whale_alert_score": score[at[known]], "impact_type": impact[at[known]]}


def sentiment(run: Run, folder: Path, progress: Progress) -> Columns:
    """The table ``sentiment_history`` of the timeline's posts, scored by a model of undated posts that people labelled."""
    learned, told = columns(folder, HUMAN), columns(folder, TIMELINE)
    span = run.workspace.read("candles_history")["timestamp"]
    here = (told["timestamp"] > span[0] - DAY_MS) & (told["timestamp"] < span[-1])
    told = {name: values[here] for name, values in told.items()}
    told["label"][:] = np.nan
    run.workspace.write("news_history", {name: np.concatenate([learned[name], told[name]]) for name in learned})
    print("\n".join(m4b.train(run, progress)))
    return run.workspace.read("sentiment_history")


def measured(run: Run, progress: Progress, hindsight: list[np.ndarray]) -> tuple[Measured, Figures]:
    """Train modules 2, 3 and 5 on what stands in the workspace, and what they say of rows that they have not learned
    from: all walk-forward blocks and the tail, for module 5 the tail alone. Also the fusion's weights of the evidence.

    Parameters
    ----------
    hindsight : of the first call's chain, for all: the regimes themselves do not depend on the evidence
    """
    for room in (m2, m3, m5):
        room.train(run, progress)
    history = History.load(run.workspace, run.settings)
    stamps, horizon = history.timestamps, run.settings.labels.horizon
    label, moved = history.first_side()
    told = run.workspace.read("regime_assignments")
    if not hindsight:
        scaling, axes = run.artifacts.load_json("regime_export"), inputs(history.features, list(m2_model.AXES))
        standard = (axes - scaling["centre"]) / scaling["scale"]
        hindsight.append(run.artifacts.load_pickle("hmm_model").predict_proba(standard).argmax(axis=1))
    found: Measured = {}

    def add(figure: str, better: int, rows: np.ndarray, summed: np.ndarray, over: np.ndarray | None = None) -> None:
        found[figure] = better, rows, summed.astype(float), np.ones(len(rows)) if over is None else over.astype(float)

    unseen = np.flatnonzero(history.known & (told["fold"] > 0))
    chance, came = told["warning_probability"][unseen], moved[unseen]
    add("2: move, log-loss", FEWER, stamps[unseen], _loss(chance, came))
    given = chance >= np.sort(chance[came])[::-1][int(RECALL * came.sum())]
    add(f"2: early warning, precision at recall {RECALL:g}", 1, stamps[unseen], given & came, given)
    coming = np.stack([told[column.name] for column in NEXT], 1).argmax(axis=1)
    right = coming[unseen] == hindsight[0][np.minimum(unseen + horizon, len(stamps) - 1)]
    add(f"2: regime {horizon} minutes ahead, accuracy", 1, stamps[unseen], right)

    specialist = run.workspace.read("specialist_history")
    at = history.places(specialist, "specialist_history")
    sides = np.stack([specialist["p_sell"], 1 - specialist["p_sell"] - specialist["p_buy"], specialist["p_buy"]], 1)
    usable = history.known[at]
    happened = sides[np.arange(len(at)), label[at]][usable]
    add("3: first side, log-loss", FEWER, stamps[at][usable], _loss(happened, np.ones(len(happened), bool)))

    signals, fold, outcome = m5.gather(run, history)
    tail = np.flatnonzero((fold == fold.max()) & ~np.isnan(outcome["BUY"]))
    fusion = m5_live.fusion(run)
    standard = fusion.standard(m5_model.input_rows({name: values[tail] for name, values in signals.items()}, run.settings.costs))
    for name, side in fusion.sides.items():
        won = outcome[name][tail] > run.settings.costs.round_trip
        add(f"5: {name} ends in profit, log-loss", FEWER, signals["timestamp"][tail], _loss(side.probability(standard), won))
    weights = Figures()
    for name, side in fusion.sides.items():
        for column, weight in zip(m5_model.input_names(), side.weights, strict=True):
            if column in evidence.names():
                weights.add(
                    "both, fitted", f"5: weight of {column} for {name}", float(weight), len(fold), baseline_is="no weight"
                )
    return found, weights


def compare(figures: Figures, variant: str, without: Measured, with_it: Measured, scope: str, stamps: np.ndarray) -> None:
    """Each figure with the evidence, and what it gained over the same minutes without, paired: a positive gain is better.

    Parameters
    ----------
    stamps : the minutes that are compared
    """
    for figure, (better, at, plain, plain_over) in without.items():
        _, same, summed, over = with_it[figure]
        assert np.array_equal(at, same)
        rows = np.isin(at, stamps)
        parts = np.stack([plain, plain_over, summed, over], 1)[rows]
        statistics: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, str]] = {
            figure: (lambda s: s[:, 2] / s[:, 3], float(plain[rows].sum() / plain_over[rows].sum()), "neither"),
            f"{figure}, gained": (lambda s: better * (s[:, 2] / s[:, 3] - s[:, 0] / s[:, 1]), 0.0, "no gain"),  # noqa: B023
            f"{figure}, gained, share": (
                lambda s: better * (s[:, 2] / s[:, 3] * s[:, 1] / s[:, 0] - 1),  # noqa: B023
                HOPED,
                "hoped for",
            ),
        }
        for name, (statistic, baseline, baseline_is) in statistics.items():
            value = float(statistic(parts.sum(axis=0)[None])[0])
            low, high = day_bootstrap(statistic, parts, at[rows], 7)
            figures.add(f"{variant}, {scope}", name, value, int(rows.sum()), low, high, baseline, baseline_is)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("candles", "news", "flows"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--from", dest="start", type=stamp_of, default="2023-03-25")
    parser.add_argument("--to", dest="end", type=stamp_of, default="2024-01-01")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workspace", type=Path, default=None, help="where it works; default: a folder that is removed again")
    options = parser.parse_args()
    folder = options.workspace or Path(tempfile.mkdtemp())
    run = Run.open(folder, load_settings(None, {"sentiment": {"folds": 1, "epochs": 2}}))
    candles, _ = read_candles(options.candles)
    here = (candles["timestamp"] >= options.start) & (candles["timestamp"] < options.end)
    run.workspace.write("candles_history", {name: values[here] for name, values in candles.items()})
    stamps = candles["timestamp"][here]
    figures, hindsight = Figures(), []
    with Progress() as progress:
        for name in ("whale_history", "sentiment_history"):
            run.workspace.path(name).unlink(missing_ok=True)
        m1.train(run, progress)
        told = {"sentiment_history": sentiment(run, options.news, progress), "whale_history": whale_proxy(options.flows, stamps)}
        found = {}
        for variant, tables in {"neither": (), **VARIANTS}.items():
            print(f"{variant}:")
            for name, rows in told.items():
                run.workspace.path(name).unlink(missing_ok=True)
                if name in tables:
                    run.workspace.write(name, rows)
            rmtree(folder / "models", ignore_errors=True)  # kept versions of the specialists would compete across variants
            found[variant], weights = measured(Run.open(folder, run.settings), progress, hindsight)
    news = told["sentiment_history"]
    heard = news["timestamp"][(news["trajectory"] != 0) | (news["volatility"] != 0)]
    for variant in VARIANTS:
        for scope, part in (("all minutes", stamps), ("minutes with a post in the hour", heard)):
            compare(figures, variant, found["neither"], found[variant], scope, part)
    figures.rows += weights.rows
    table = figures.columns()
    lines = [",".join(table), *(",".join(_cell(value) for value in row) for row in zip(*table.values(), strict=True))]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    if options.workspace is None:
        rmtree(folder)


def _loss(chance: np.ndarray, happened: np.ndarray) -> np.ndarray:
    """(N,) negative log of the chance given to what happened."""
    return -np.log(np.clip(np.where(happened, chance, 1 - chance), 1e-12, 1))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return f'"{value}"' if "," in str(value) else str(value)


if __name__ == "__main__":
    main()
