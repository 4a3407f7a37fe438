"""Train module 4B: labelled posts -> post encoder and temporal head; all dated posts -> sentiment history."""

import hashlib
import importlib.util
import pickle
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modules.core.catalog import M4B
from modules.core.errors import PipelineError
from modules.core.module import Run, trainer_main
from modules.core.settings import Sentiment
from modules.core.statistics import Figures
from modules.core.tables import Columns, write_atomically
from modules.core.telemetry import Progress
from modules.m4b_sentiment import measure, model, text
from modules.m4b_sentiment.encoder import PostEncoder, domain

if TYPE_CHECKING:
    from modules.m4b_sentiment import training

LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers")
SPLITS = 5
MIN_LABELLED = 200
QUANTISED_POSTS = 3_000
"""Posts on which the 8-bit model is compared with the float one."""
DECIMALS = 6
"""Of the scores, as the table ``post_scores`` keeps them, so that the history is made of what a live minute reads."""
CALIBRATION_PLOT = "performance/sentiment_calibration.svg"


@dataclass(frozen=True)
class Corpus:
    """All posts of the history whose clean text is not empty: (P,) stamps (NaN unknown), labels 0, 1, 2 (-1 none)."""

    texts: list[str]
    stamps: np.ndarray
    sources: np.ndarray
    labels: np.ndarray
    labelled_by: np.ndarray
    groups: np.ndarray

    def labelled(self, rows: np.ndarray) -> "training.Labelled":
        """Some of the posts as the trainer takes them."""
        from modules.m4b_sentiment import training

        sources = [str(source) for source in self.sources[rows]]
        return training.Labelled([self.texts[i] for i in rows], sources, self.labels[rows], self.groups[rows])


def train(run: Run, progress: Progress) -> list[str]:
    """Fit on labelled posts, measure out of sample, write the sentiment of each minute of the candle history."""
    if not run.workspace.exists("news_history"):
        return [f"4B sentiment: off, there is no {run.workspace.path('news_history').relative_to(run.workspace.root)}"]
    if absent := missing_libraries():
        raise PipelineError(f"module 4B needs {', '.join(absent)} to train: pip install -r requirements-sentiment.txt")
    from modules.m4b_sentiment import training

    settings, learning = run.settings.sentiment, run.settings.learning
    corpus = corpus_of(run.workspace.read("news_history"))
    rows = np.flatnonzero(corpus.labels >= 0)
    if len(rows) < MIN_LABELLED or len(np.unique(corpus.labels[rows])) < 2:
        raise PipelineError(
            f"{run.workspace.path('news_history')}: {len(rows)} labelled posts; at least {MIN_LABELLED} of two labels are needed"
        )
    posts = corpus.labelled(rows)
    fold = fold_of(posts.groups)
    folds = min(settings.folds, SPLITS)
    domains = np.array([domain(source) for source in posts.sources], object)
    progress.step(f"4B sentiment: {len(rows)} labelled posts, {folds} of {SPLITS} folds", (folds + 1) * settings.epochs + 2)
    scores, blind, tfidf = (np.full((len(rows), 3), np.nan) for _ in range(3))
    frozen = settings.tuning == "frozen"
    figures = Figures()
    for k in range(folds):
        learn, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        fitted = training.fit_posts(
            posts.at(learn), settings.encoder, settings.epochs, learning.seed, learning.threads, frozen, progress.advance
        )
        part = posts.at(test)
        scores[test], blind[test] = fitted.scores(part), fitted.scores(part, source_known=False)
        tfidf[test] = measure.tfidf_scores(posts.texts, domains, posts.labels, learn, test)
        if k == 0:
            _add_quantised(figures, fitted, part)
        ours, base = (float((given[test].argmax(axis=1) == posts.labels[test]).mean()) for given in (scores, tfidf))
        progress.advance(0, f"fold {k + 1} of {folds}: accuracy {ours:.3f} on {len(test)} unseen posts, TF-IDF {base:.3f}")
    seen = np.flatnonzero(~np.isnan(scores[:, 0]))
    final = training.fit_posts(
        posts, settings.encoder, settings.epochs, learning.seed, learning.threads, frozen, progress.advance
    )
    head, mood = training.fit_head(scores[seen], posts.labels[seen], settings.window, learning.seed, learning.threads)
    progress.advance()
    plain, small = final.onnx()
    tokenizer = final.tokenizer.to_str().encode()
    content = final.content() | {"encoder": settings.encoder, "head": head.content()}
    stamps = corpus.stamps[~np.isnan(corpus.stamps)]
    span = (int(stamps.min()), int(stamps.max())) if len(stamps) else (0, 0)
    run.artifacts.forget(M4B)
    whole = {"onnx": plain, "tokenizer": tokenizer, "content": content}
    run.artifacts.save("sentiment_model", pickle.dumps(whole, protocol=5), span, ["text", "source"])
    run.artifacts.save("sentiment_encoder", small, span, ["text", "source"])
    run.artifacts.save("sentiment_tokenizer", tokenizer, span, ["text"])
    run.artifacts.save_json("sentiment_export", content, span, ["p_negative", "p_neutral", "p_positive", "age", "gap"])
    progress.done()

    progress.step("4B sentiment: measuring and writing")
    measured = measure.Measured(
        posts.labels[seen],
        np.array(posts.sources, object)[seen],
        corpus.labelled_by[rows][seen],
        scores[seen],
        blind[seen],
        tfidf[seen],
        measure.vader_compound([posts.texts[i] for i in seen]),
    )
    measure.add_figures(figures, measured)
    composed = "composed windows of unseen posts"
    for name in ("plain mean", "time-decayed mean", "newest post"):
        figures.add(
            composed, "mood named by attention, accuracy", mood["attention"], 4_800, baseline=mood[name], baseline_is=name
        )
    own = np.full((len(corpus.texts), 3), np.nan)
    own[rows[seen]] = scores[seen]
    said = _history(run, corpus, own, PostEncoder(small, tokenizer, content), head, figures)
    run.workspace.write("sentiment_stats", figures.columns())
    run.workspace.write("sentiment_confusion", measure.confusion(measured))
    table = measure.calibration(measured)
    run.workspace.write("sentiment_calibration", table)
    write_atomically(run.workspace.root / CALIBRATION_PLOT, measure.calibration_plot(table).encode())
    progress.done()
    hits = float((scores[seen].argmax(axis=1) == posts.labels[seen]).mean())
    base = float((tfidf[seen].argmax(axis=1) == posts.labels[seen]).mean())
    return [
        f"4B sentiment: accuracy {hits:.3f} on {len(seen)} unseen posts (TF-IDF {base:.3f});"
        " performance/sentiment_stats.csv has it set by set",
        *said,
    ]


def missing_libraries() -> list[str]:
    """What training takes beyond requirements.txt and is not installed."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name) is None]


def fold_of(groups: np.ndarray) -> np.ndarray:
    """(N,) fold 0 .. SPLITS - 1 of each group of near-duplicates, by its hash: the same text always falls in the same."""
    return np.array([int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % SPLITS for group in groups], int)


def corpus_of(table: Columns) -> Corpus:
    """The table ``news_history``, cleaned."""
    texts = [text.clean(raw) for raw in table["text"]]
    rows = np.array([i for i, clean in enumerate(texts) if text.key(clean)], int)
    labels = table["label"][rows]
    return Corpus(
        [texts[i] for i in rows],
        table["timestamp"][rows],
        table["source"][rows],
        np.where(np.isnan(labels), -1, np.round(np.nan_to_num(labels)) + 1).astype(int),
        table["labelled_by"][rows],
        np.array([text.group(texts[i]) for i in rows], object),
    )


def _add_quantised(figures: Figures, fitted: "training.Trained", part: "training.Labelled") -> None:
    """What 8 bits cost: the exported models side by side on posts that neither learned from."""
    some = part.at(np.arange(len(part))[:: max(1, len(part) // QUANTISED_POSTS)])
    found = []
    for onnx in fitted.onnx():
        scores = PostEncoder(onnx, fitted.tokenizer.to_str().encode(), fitted.content()).scores(some.texts, some.sources)
        found.append(float((scores.argmax(axis=1) == some.labels).mean()))
    figures.add(
        "unseen posts of fold 0", "accuracy of the 8-bit model", found[1], len(some), baseline=found[0], baseline_is="float"
    )


def _history(run: Run, corpus: Corpus, own: np.ndarray, encoder: PostEncoder, head: model.Head, figures: Figures) -> list[str]:
    """Write the sentiment of each candle of the history; where that cannot be, no older one stays behind.

    Labelled posts count with their out-of-fold scores, or not at all where their fold was not run: a score of a model that
    learned from the very label would look better than any live one. The folds are by text and not by time, so a name that
    became bad news later may colour an earlier post; no price ever enters.
    """
    run.workspace.path("sentiment_history").unlink(missing_ok=True)
    settings = run.settings.sentiment
    dated = np.flatnonzero(~np.isnan(corpus.stamps))
    dated = dated[np.argsort(corpus.stamps[dated], kind="stable")]
    dated = dated[~np.isnan(own[dated, 0]) | (corpus.labels[dated] < 0)]
    dated = np.array([i for i in dated if not text.fault(corpus.texts[i])], int)
    keys = [model.key_of(corpus.texts[i]) for i in dated]
    dated = dated[model.first_said(corpus.stamps[dated].astype(np.int64).tolist(), keys)]
    if not len(dated):
        return ["4B sentiment: no post that can be scored out of fold has a date, so there is no sentiment history"]
    missing = dated[np.isnan(own[dated, 0])]
    own[missing] = encoder.scores([corpus.texts[i] for i in missing], [str(source) for source in corpus.sources[missing]])
    stamps = np.array(model.strictly_later(corpus.stamps[dated].astype(np.int64).tolist()), np.int64)
    posts = model.Posts(stamps, np.round(own[dated], DECIMALS), corpus.sources[dated])
    _add_next(figures, posts, corpus.labels[dated], head, settings)
    if not run.workspace.exists("candles_history"):
        return ["4B sentiment: no candle history, so no sentiment history; train module 1 first"]
    minutes = run.workspace.read("candles_history")["timestamp"]
    found = model.trajectories(head, posts, minutes, settings.window, settings.half_life)
    columns = {"timestamp": minutes, "trajectory": found.trajectory, "volatility": found.volatility}
    run.workspace.write("sentiment_history", columns)
    told = int((found.posts > 0).sum())
    figures.add("candle history", "minutes with a post in the window", told / len(minutes), len(minutes))
    return [f"4B sentiment: {len(dated)} dated posts, {told} of {len(minutes)} minutes have one in the window"]


def _add_next(figures: Figures, posts: model.Posts, labels: np.ndarray, head: model.Head, settings: Sentiment) -> None:
    """Whether the trajectory just before a labelled post tells its label, beside the plain mean of the same posts."""
    from scipy.stats import spearmanr

    closes = posts.stamps
    found = model.trajectories(head, posts, closes - model.MINUTE_MS, settings.window, settings.half_life)
    chosen = model.windows(posts, closes, settings.window)
    usable = np.flatnonzero((found.posts > 0) & (labels >= 0))
    if len(usable) < 30 or len(np.unique(labels[usable])) < 2:
        return
    mean = np.array([posts.signed[chosen[i]].mean() for i in usable])
    ours, theirs = (float(spearmanr(values, labels[usable]).statistic) for values in (found.trajectory[usable], mean))
    name = "rank correlation of the trajectory with the label of the post that comes next"
    figures.add("dated posts", name, ours, len(usable), baseline=theirs, baseline_is="plain mean of the same posts")


if __name__ == "__main__":
    raise SystemExit(trainer_main(sys.modules[__name__]))
