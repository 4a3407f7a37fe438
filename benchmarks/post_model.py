"""How good is module 4B's post model, some folds of it alone? For encoders that take an hour a fold.

usage: python -m benchmarks.post_model --workspace DIR [--encoder scratch] [--epochs 3] [--folds 2 ...]

DIR holds a history of posts (``python -m benchmarks.real_news`` makes one of real news). The folds are those of the
trainer, 0 to 4, grouped by near-duplicates. Prints the accuracy set by set on the posts that were not learned from, beside
TF-IDF and the lexicon, what 8 bits cost, and what the exported model weighs and takes.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from modules.core.settings import load_settings
from modules.core.statistics import Figures
from modules.core.tables import Workspace
from modules.m4b_sentiment import measure, trainer, training
from modules.m4b_sentiment.encoder import PostEncoder, domain

SHOWN = ("accuracy", "accuracy, beside the lexicon", "accuracy gained over TF-IDF, paired", "accuracy, source unknown")
NUMBERS = ("value", "n", "low", "high", "baseline")
COMPARED = 3_000
"""Posts of the last fold on which the 8-bit model is compared with the float one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--encoder", default=training.SCRATCH)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folds", type=int, nargs="+", default=[2], choices=range(trainer.SPLITS))
    options = parser.parse_args()
    seed = load_settings().learning.seed
    corpus = trainer.corpus_of(Workspace(options.workspace).read("news_history"))
    rows = np.flatnonzero(corpus.labels >= 0)
    posts = corpus.labelled(rows)
    fold, domains = trainer.fold_of(posts.groups), np.array([domain(source) for source in posts.sources], object)
    scores, blind, tfidf = (np.full((len(rows), 3), np.nan) for _ in range(3))
    for k in options.folds:
        began = time.perf_counter()
        learn, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        fitted = training.fit_posts(posts.at(learn), options.encoder, options.epochs, seed, 1)
        part = posts.at(test)
        scores[test], blind[test] = fitted.scores(part), fitted.scores(part, source_known=False)
        tfidf[test] = measure.tfidf_scores(posts.texts, domains, posts.labels, learn, test)
        print(f"fold {k}: {len(learn)} learned from, {len(test)} asked, {time.perf_counter() - began:.0f} s")
    seen = np.flatnonzero(~np.isnan(scores[:, 0]))
    measured = measure.Measured(
        posts.labels[seen],
        np.array(posts.sources, object)[seen],
        corpus.labelled_by[rows][seen],
        scores[seen],
        blind[seen],
        tfidf[seen],
        measure.vader_compound([posts.texts[i] for i in seen]),
    )
    figures = Figures()
    measure.add_figures(figures, measured)
    for row in zip(
        *(figures.columns()[name] for name in ("scope", "figure", "value", "n", "low", "high", "baseline")), strict=True
    ):
        scope, figure, value, n, low, high, baseline = row
        if figure in SHOWN:
            print(f"{scope:42s} {figure:37s} {value:.3f} ({low:.3f} to {high:.3f})  n {n:6d}  beside {baseline:.3f}")
    some = part.at(np.arange(len(part))[:: max(1, len(part) // COMPARED)])
    for name, onnx in zip(("float", "8-bit"), fitted.onnx(), strict=True):
        encoder = PostEncoder(onnx, fitted.tokenizer.to_str().encode(), fitted.content())
        began = time.process_time()
        hits = encoder.scores(some.texts, some.sources).argmax(axis=1) == some.labels
        spent = 1e3 * (time.process_time() - began) / len(some)
        print(f"{name}: {len(onnx) / 1e6:.0f} MB, {spent:.1f} ms a post, accuracy {hits.mean():.4f} on {len(some)} posts")


if __name__ == "__main__":
    main()
