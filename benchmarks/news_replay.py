"""Real candles replayed with real news: what module 4B says minute by minute, and what it costs.

usage: python -m benchmarks.news_replay --candles FILE --news FOLDER --workspace DIR
       [--learn-to 2024-03-15] [--rows 60000] [--from 2024-03-27] [--to 2024-03-29]

The posts seen before the replay begins are the history that 4B learns from, with the timeline's own labels (a model's);
the later ones stand only in the file of posts, which a minute reads up to its own close. The same by hand, once this has
laid out DIR: ``run_pipeline.py --train`` and ``--replay --candles FILE --from … --to …``, each with ``--workspace DIR
--config DIR/news.toml``.
"""

import argparse
import csv
import re
from pathlib import Path

import numpy as np

from benchmarks.real_news import TIMELINE, columns
from modules.conductor.replay import replay, stamp_of
from modules.conductor.training import train
from modules.core.module import Run
from modules.core.settings import load_settings
from modules.core.tables import Columns
from modules.core.telemetry import LOG
from modules.core.words import MINUTE_MS
from modules.m1_data_engine.candle_files import read_candles

POSTS = "data/news/posts.csv"
SPAN = re.compile(r"candle (\d+): .*m4b_sentiment ([\d.]+) ms")


def lay_out(run: Run, candles: Columns, learn_to: int, news: Columns, start: int, end: int) -> None:
    """Candles before ``learn_to`` and posts before ``start`` as history, posts from then to ``end`` as the file of posts."""
    learn = candles["timestamp"] < learn_to
    run.workspace.write("candles_history", {name: values[learn][-run.settings.data.rows :] for name, values in candles.items()})
    before, ahead = news["timestamp"] < start, (news["timestamp"] >= start) & (news["timestamp"] < end)
    run.workspace.write("news_history", {name: values[before] for name, values in news.items()})
    order = np.flatnonzero(ahead)[np.argsort(news["timestamp"][ahead], kind="stable")]
    with (run.workspace.root / POSTS).open("w", encoding="utf-8", newline="") as file:
        rows = zip(news["timestamp"][order].astype(int), news["source"][order], news["text"][order], strict=True)
        csv.writer(file).writerows([("timestamp", "source", "text"), *rows])


def tell(run: Run) -> None:
    """What the replayed minutes hold, by whether a post was in the window and whether one was new."""
    said, counts = (run.workspace.archived(name) for name in ("sentiment_trajectories", "sentiment_counts"))
    spans = dict(SPAN.findall((run.workspace.root / LOG).read_text()))
    spent = np.array([float(spans[str(stamp)]) for stamp in counts["timestamp"]])
    moved, told, new = said["trajectory"] != 0, counts["window"] > 0, counts["kept"] > 0
    print(f"minutes {len(moved)}, posts read {counts['read'].sum()}, kept {counts['kept'].sum()}")
    print(f"minutes with a post in the window {told.sum()}: trajectory not 0 in {moved[told].mean():.4f} of them")
    print(f"minutes without one {(~told).sum()}: trajectory not 0 in {moved[~told].mean():.4f} of them")
    for name, part in (("with new posts", new), ("without", ~new)):
        low, middle, high = np.quantile(spent[part], [0.0, 0.5, 0.99])
        print(f"4B, ms a minute {name}, n {part.sum()}: {low:.1f} at least, {middle:.1f} median, {high:.1f} at 99 %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--news", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--learn-to", type=stamp_of, default="2024-03-15")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--from", dest="start", type=stamp_of, default="2024-03-27")
    parser.add_argument("--to", dest="end", type=stamp_of, default="2024-03-29")
    options = parser.parse_args()
    options.workspace.mkdir(parents=True, exist_ok=True)
    config = options.workspace / "news.toml"
    config.write_text(f'[data]\nrows = {options.rows}\nchunk_rows = {options.rows // 4}\n[sentiment]\nfile = "{POSTS}"\n')
    settings = load_settings(config)
    candles, _ = read_candles(options.candles)
    news = columns(options.news, TIMELINE)
    lay_out(Run.open(options.workspace, settings), candles, options.learn_to, news, options.start, options.end)
    train(Run.open(options.workspace, settings))
    run = Run.open(options.workspace, settings, candles=options.candles)
    replay(run, start=options.start, end=options.end - MINUTE_MS)
    tell(run)


if __name__ == "__main__":
    main()
