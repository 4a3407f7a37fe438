"""Real labelled news as a workspace's history of posts.

usage: python -m benchmarks.real_news --news FOLDER --workspace DIR

FOLDER holds the sets of ``SETS`` as ``NAME.csv.gz`` with the columns timestamp, text and label (-1, 0, 1).
"""

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from modules.core.statistics import DAY_MS
from modules.core.tables import Columns, Workspace

HUMAN = {
    "fin_phrasebank": ("phrasebank", "human"),
    "twitter_financial_news": ("twitter", "human"),
    "sentfin": ("sentfin", "human"),
    "fiqa_task1": ("fiqa", "human"),
    "gold_news": ("gold", "human"),
}
TIMELINE = {"btc_news_timeline": ("timeline", "model")}
SETS = (
    HUMAN
    | {
        "tweeteval_sentiment_val_test": ("tweeteval", "human, general domain"),
        "stockemotions_stocktwits": ("stocktwits", "author"),
        "cryptonews_plus": ("cryptonews", "model"),
    }
    | TIMELINE
)
"""File -> source and kind of labeller. Those labelled by people come without the time at which they were said."""


def columns(folder: Path, sets: dict[str, tuple[str, str]] = SETS) -> Columns:
    """The sets as the table ``news_history``; phrasebank's sentences on which all agreed are a subset of their own.

    A stamp at midnight is a date without a time (all of the timeline's posts of 2024 are such, and tell what happened
    later that day): it counts from the end of that day on.
    """
    rows = []
    for file_name, (source, labelled_by) in sets.items():
        with gzip.open(folder / f"{file_name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["label"]:
                    agreed = "/all agree" if row.get("agreement") == "AllAgree" else ""
                    stamp = float(row["timestamp"] or "nan") if labelled_by == "model" else np.nan
                    stamp += DAY_MS if stamp % DAY_MS == 0 else 0
                    rows.append((stamp, source + agreed, row["text"], float(row["label"]), labelled_by))
    names = ("timestamp", "source", "text", "label", "labelled_by")
    kinds = (float, object, object, float, object)
    return {name: np.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(zip(names, kinds, strict=True))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--news", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    options = parser.parse_args()
    Workspace(options.workspace).write("news_history", columns(options.news))
