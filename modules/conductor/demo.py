"""The whole pipeline on the simulated market, in a fresh folder: what it can find, and what it cannot."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modules.conductor.replay import replay
from modules.conductor.training import train
from modules.core.catalog import TABLES
from modules.core.errors import PipelineError
from modules.core.evidence import whale_sign
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.statistics import Figures, share
from modules.core.tables import Columns, Workspace
from modules.evaluation.backtest import backtest
from modules.evaluation.report import PATH, report
from modules.m1_data_engine.simulated_market import Simulation, simulate
from modules.m4b_sentiment.trainer import missing_libraries

TRAINING_MINUTES, REPLAY_MINUTES = 30_000, 240
SEED = 7
POSTS = "data/news/posts.csv"
OVERRIDES: dict[str, dict[str, Any]] = {
    "data": {"rows": TRAINING_MINUTES, "chunk_rows": 7_500},
    "sentiment": {"file": POSTS, "epochs": 1},
}
MARK = "demo.txt"
PLANTS: tuple[tuple[str, str, str, Callable[[Columns], np.ndarray]], ...] = (
    ("whale_alerts", "whale_impact", "side of alerts", lambda rows: whale_sign(rows["impact_type"])),
    ("sentiment_trajectories", "news_impact", "sign of trajectory", lambda rows: np.sign(rows["trajectory"])),
)
"""A room's live table, the column of ``truth`` that holds what it should find, and the sign that its rows name."""


def demo(folder: Path, config: Path | None, quiet: bool = False) -> int:
    """Make a market with a planted, weak edge, train on it, replay the minutes that follow, and tell what came out; the
    report is of a backtest of the same minutes.

    Raises
    ------
    PipelineError : the folder holds something that is no earlier demo
    """
    if folder.exists() and not folder.is_dir():
        raise PipelineError(f"{folder}: is no folder; give an empty one with --workspace DIR")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise PipelineError(f"{folder}: is not empty and holds no earlier demo; give an empty folder with --workspace DIR")
    if folder.exists():
        with Workspace(folder).held():  # not while an earlier demo is still at work in it
            shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("Made by --demo on the simulated market; the next demo replaces this whole folder.\n")
    absent = missing_libraries()
    whale = {"source": "file", "file": str(Workspace(folder).path("historical_transactions"))}
    settings = load_settings(config, OVERRIDES | {"whale": whale} | ({"sentiment": {"file": ""}} if absent else {}))
    market = simulate(TRAINING_MINUTES + REPLAY_MINUTES, SEED)
    learn, follow = folder / "data" / "simulated" / "training.csv", folder / "data" / "simulated" / "following.csv"
    lay_out(Run.open(folder, settings), market, TRAINING_MINUTES, learn, follow)
    if not absent:
        lay_out_news(Run.open(folder, settings), market, TRAINING_MINUTES)
    elif not quiet:
        print(f"4B sentiment is left out, {', '.join(absent)} not being installed: pip install -r requirements-sentiment.txt")
    train(Run.open(folder, settings, candles=learn), quiet=quiet)
    code = replay(Run.open(folder, settings, candles=follow), quiet=quiet)
    backtest(Run.open(folder, settings, candles=follow), quiet=True)
    report(Run.open(folder, settings), quiet=True)
    if not quiet:
        _summary(Run.open(folder, settings))
    return code


def lay_out(run: Run, market: Simulation, training: int, learn: Path, follow: Path) -> None:
    """Write a simulated market as a user would bring it: two candle files, the tables of depth and of large transactions,
    and the truth beside them."""
    learn.parent.mkdir(parents=True, exist_ok=True)
    for path, part in ((learn, slice(0, training)), (follow, slice(training, None))):
        rows = zip(*(values[part].tolist() for values in market.candles.values()), strict=True)
        text = [",".join(market.candles), *(",".join(map(repr, row)) for row in rows)]
        path.write_text("\n".join(text) + "\n")
    run.workspace.write("depth_history", market.depth)
    transfers = {name: values.astype(int) if values.dtype == bool else values for name, values in market.transfers.items()}
    names = np.array([f"simulated-{i}" for i in range(len(transfers["timestamp"]))], object)
    run.workspace.write("historical_transactions", transfers | {"txid": names})
    run.workspace.write("truth", {**market.truth, "regime": market.truth["regime"].astype(object)})


def lay_out_news(run: Run, market: Simulation, training: int) -> None:
    """Write its headlines: those of the training minutes with their labels as history, all of them as the file of posts
    that the live minute reads up to its own close."""
    news = market.news
    before = news["timestamp"] < market.candles["timestamp"][training]
    history: Columns = {name: values[before] for name, values in news.items()}
    history["labelled_by"] = np.full(int(before.sum()), "planted", object)
    run.workspace.write("news_history", history)
    with (run.workspace.root / POSTS).open("w", encoding="utf-8", newline="") as file:
        names = ("timestamp", "source", "text")
        csv.writer(file).writerows([names, *zip(*(news[name].tolist() for name in names), strict=True)])


def _summary(run: Run) -> None:
    """The figures that matter, each with its number of rows and the baseline to beat."""
    stats = {name: run.workspace.read(name) for name in ("regime_stats", "fusion_stats", "reports")}
    truth, regime = run.workspace.read("truth"), run.workspace.read("current_regime", last=REPLAY_MINUTES)
    planted = truth["regime"][np.searchsorted(truth["timestamp"], regime["timestamp"])]
    agreement = float((regime["regime"] == planted).mean())
    print("\nWhat it found on the simulated market (weak planted edge), all out of sample and after costs:")
    commonest = max(float((planted == name).mean()) for name in planted)
    against = f"always the commonest of these minutes: {commonest:.2f}"
    print(f"  regime named as planted          {agreement:.2f}  n {len(planted)} replayed minutes, {against}")
    for table, figure, label in (
        ("regime_stats", "regime accuracy", "regime as in hindsight"),
        ("regime_stats", "early warning ROC-AUC", "early warning ROC-AUC"),
        ("regime_stats", "early warning precision", "early warning precision"),
        ("fusion_stats", "fused: signals", "signals on unseen rows"),
        ("fusion_stats", "fused: mean net bps a signal", "mean net bps a signal"),
    ):
        print(f"  {label:32} {_told(stats[table], figure)}")
    _tell_plants(run, truth)
    reports = stats["reports"]
    measured = [
        f"  {figure:36} {_told(reports, figure)}"
        for figure, value in zip(reports["figure"], reports["value"], strict=True)
        if not np.isnan(value)
    ]
    print("In the replay, on paper:")
    print("\n".join(measured or ["  no trade was made, so there is nothing to measure  n 0"]))
    print(
        "A weak edge does not pay a round trip of"
        f" {1e4 * run.settings.costs.round_trip:.0f} bps: NEUTRAL is then the right answer, not a fault."
    )
    print(
        f"The tables lie under {run.workspace.root}: processed/live/final_signals.csv is the one to open first;"
        f" {PATH} shows the replayed minutes in a browser."
    )


def _tell_plants(run: Run, truth: Columns) -> None:
    """Whether 4A and 4B find what was planted: transfer by transfer, post by post, and in the minutes that a plant pushes."""
    detector, everything = f"{run.settings.whale.detector}: ", "pooled: planted, 3 classes"
    print("The planted whales and news:")
    lines = [("whale_stats", detector + name, "", f"whales, {name}") for name in ("ROC-AUC", "precision", "recall")]
    lines.append(("sentiment_stats", "accuracy", everything, "headlines, accuracy"))
    for table, figure, scope, label in lines:
        if run.workspace.exists(table):
            print(f"  {label:32} {_told(run.workspace.read(table), figure, scope)}")
    unseen = truth["timestamp"][int(TRAINING_MINUTES * (1 - run.settings.data.out_of_sample))]
    for table, push, label, sign_of in PLANTS:
        history = TABLES[table].history
        for name, where in ((history, "unseen tail"), (table, "replay")) if run.workspace.exists(history) else ():
            rows = run.workspace.read(name)
            planted = np.sign(truth[push][np.searchsorted(truth["timestamp"], rows["timestamp"])])
            pushed = (planted != 0) & (rows["timestamp"] >= unseen)
            hits, stamps = (sign_of(rows) == planted)[pushed], rows["timestamp"][pushed]
            value, low, high = share(hits, stamps, run.settings.learning.seed)
            commoner = max(float((planted[pushed] == side).mean()) for side in (-1, 1)) if len(hits) else np.nan
            figures = Figures()
            figures.add(where, label, value, len(hits), low, high, commoner, "always the commoner side")
            print(f"  {f'{label}, {where}':32} {_told(figures.columns(), label)}")
    print(f"  (The replay's {REPLAY_MINUTES} minutes hold a handful of plants: its shares say little beside the tail's.)")


def _told(figures: Columns, wanted: str, scope: str = "") -> str:
    found = np.flatnonzero((figures["figure"] == wanted) & ((figures["scope"] == scope) | (not scope)))
    if not len(found):
        return "nothing to measure it on"
    at = int(found[0])
    value, low, high, n, base = (figures[name][at] for name in ("value", "low", "high", "n", "baseline"))
    if np.isnan(value):
        return f"none  n {n}"
    interval = "" if np.isnan(low) else f" ({low:.2f} to {high:.2f})"
    against = "" if np.isnan(base) else f", {figures['baseline_is'][at]}: {base:.2f}"
    return f"{value:.2f}{interval}  n {n}{against}"
