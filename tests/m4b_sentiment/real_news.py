"""The shared labelled news as a workspace's history of posts: ``python -m tests.m4b_sentiment.real_news WORKSPACE``."""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np

from modules.core.tables import Columns, Workspace

NEWS = Path(__file__).parents[3] / "shared" / "data" / "news"
SETS = {
    "fin_phrasebank": ("phrasebank", "human"),
    "twitter_financial_news": ("twitter", "human"),
    "sentfin": ("sentfin", "human"),
    "fiqa_task1": ("fiqa", "human"),
    "gold_news": ("gold", "human"),
    "tweeteval_sentiment_val_test": ("tweeteval", "human, general domain"),
    "stockemotions_stocktwits": ("stocktwits", "author"),
    "cryptonews_plus": ("cryptonews", "model"),
    "btc_news_timeline": ("timeline", "model"),
}


def columns(sets: dict[str, tuple[str, str]] = SETS) -> Columns:
    """The sets as the table ``news_history``; phrasebank's sentences on which all agreed are a subset of their own."""
    rows = []
    for file_name, (source, labelled_by) in sets.items():
        with gzip.open(NEWS / f"{file_name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["label"]:
                    agreed = "/all agree" if row.get("agreement") == "AllAgree" else ""
                    stamp = float(row["timestamp"] or "nan")
                    dated = source in ("cryptonews", "timeline")
                    rows.append((stamp if dated else np.nan, source + agreed, row["text"], float(row["label"]), labelled_by))
    names = ("timestamp", "source", "text", "label", "labelled_by")
    kinds = (float, object, object, float, object)
    return {name: np.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(zip(names, kinds, strict=True))}


if __name__ == "__main__":
    Workspace(Path(sys.argv[1])).write("news_history", columns())
