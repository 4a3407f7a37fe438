"""How good the post model is, set by set, against TF-IDF with logistic regression and against a lexicon. Trainers only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.core.catalog import TABLES
from modules.core.statistics import Figures, wilson
from modules.core.tables import Columns, from_rows
from modules.m4b_sentiment.encoder import domain
from modules.m4b_sentiment.model import LABELS

BINS = 10
TFIDF, VADER = "TF-IDF and logistic regression, same folds", "VADER lexicon"


@dataclass(frozen=True)
class Measured:
    """N posts that were scored by models that did not learn from them or from their near-duplicates.

    scores, blind, tfidf : (N, 3) probabilities of the model, of the model without the source's name, of TF-IDF
    vader : (N,) -1..1 by the lexicon, NaN everywhere where it is not installed
    """

    labels: np.ndarray
    sources: np.ndarray
    labelled_by: np.ndarray
    scores: np.ndarray
    blind: np.ndarray
    tfidf: np.ndarray
    vader: np.ndarray


def tfidf_scores(
    texts: Sequence[str], sources: np.ndarray, labels: np.ndarray, learn: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """(len(test), 3) probabilities by words and pairs of words and a logistic regression, fitted for each source alone on
    its rows of ``learn``: the yardstick that a text model has to beat."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    found = np.full((len(test), 3), 1 / 3)
    for source in np.unique(sources[test]):
        own, here = learn[sources[learn] == source], np.flatnonzero(sources[test] == source)
        seen = np.unique(labels[own])
        if len(seen) < 2:
            continue
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2 if len(own) > 100 else 1, sublinear_tf=True)
        rows = words.fit_transform([texts[i] for i in own])
        fitted = LogisticRegression(C=10.0, max_iter=400).fit(rows, labels[own])
        found[here] = 0
        found[np.ix_(here, seen)] = fitted.predict_proba(words.transform([texts[test[i]] for i in here]))
    return found


def vader_compound(texts: Sequence[str]) -> np.ndarray:
    """(N,) -1..1 by the lexicon of Hutto & Gilbert (2014); NaN where it is not installed."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        return np.full(len(texts), np.nan)
    lexicon = SentimentIntensityAnalyzer()
    return np.array([lexicon.polarity_scores(text)["compound"] for text in texts])


def scopes(measured: Measured) -> dict[str, np.ndarray]:
    """Rows by scope: each source, each marked subset, all of one kind of labeller, and all that people labelled."""
    domains, place = np.unique([domain(source) for source in measured.sources], return_inverse=True)
    found = {str(name): place == i for i, name in enumerate(domains)}
    found |= {str(name): measured.sources == name for name in np.unique(measured.sources) if "/" in str(name)}
    three = np.array([len(np.unique(measured.labels[place == i])) == 3 for i in range(len(domains))], bool)[place]
    kinds = [str(kind) for kind in np.unique(measured.labelled_by) if kind]
    pooled = {f"pooled: {kind}, 3 classes": (measured.labelled_by == kind) & three for kind in kinds}
    people = np.array([str(kind).startswith("human") for kind in measured.labelled_by], bool) & three
    if len({kind for kind in kinds if kind.startswith("human")}) > 1:
        pooled["pooled: all human, 3 classes"] = people
    return {name: rows for name, rows in (found | pooled).items() if rows.any()}


def add_figures(figures: Figures, measured: Measured) -> None:
    """Accuracy, gain over TF-IDF, macro-F1 and calibration error of each scope, out of sample."""
    all_ours, all_blind = _within(measured.scores, measured), _within(measured.blind, measured)
    lexicon_hits = _lexicon_labels(measured) == measured.labels
    for scope, rows in scopes(measured).items():
        labels, n = measured.labels[rows], int(rows.sum())
        ours, blind, theirs = all_ours[rows], all_blind[rows], measured.tfidf[rows]
        hits, base = ours.argmax(axis=1) == labels, theirs.argmax(axis=1) == labels
        value, (low, high) = float(hits.mean()), wilson(int(hits.sum()), n)
        figures.add(scope, "accuracy", value, n, low, high, float(base.mean()), TFIDF)
        if not np.isnan(measured.vader).any():
            lexicon = float(lexicon_hits[rows].mean())
            figures.add(scope, "accuracy, beside the lexicon", value, n, low, high, lexicon, VADER)
        gain, low, high = _interval(hits.astype(float) - base)
        figures.add(scope, "accuracy gained over TF-IDF, paired", gain, n, low, high, 0.0, "no gain")
        alone = blind.argmax(axis=1) == labels
        value, (low, high) = float(alone.mean()), wilson(int(alone.sum()), n)
        figures.add(scope, "accuracy, source unknown", value, n, low, high, float(base.mean()), TFIDF)
        f1 = macro_f1(labels, ours.argmax(axis=1))
        figures.add(scope, "macro-F1", f1, n, baseline=macro_f1(labels, theirs.argmax(axis=1)), baseline_is=TFIDF)
        error = calibration_error(ours, labels)
        figures.add(scope, "calibration error", error, n, baseline=calibration_error(theirs, labels), baseline_is=TFIDF)


def confusion(measured: Measured) -> Columns:
    """The table ``sentiment_confusion``."""
    rows, ours = [], _within(measured.scores, measured).argmax(axis=1)
    for scope, here in scopes(measured).items():
        for label in range(3):
            for predicted in range(3):
                n = int(((measured.labels[here] == label) & (ours[here] == predicted)).sum())
                rows.append((scope, LABELS[label], LABELS[predicted], n))
    return from_rows(TABLES["sentiment_confusion"].columns, rows)


def calibration(measured: Measured) -> Columns:
    """The table ``sentiment_calibration``: confidence and accuracy by bins of confidence."""
    rows, ours = [], _within(measured.scores, measured)
    for scope, here in scopes(measured).items():
        rows += [(scope, *part) for part in _bins(ours[here], measured.labels[here])]
    return from_rows(TABLES["sentiment_calibration"].columns, rows)


def calibration_plot(table: Columns) -> str:
    """The pooled scopes of ``calibration`` as an SVG picture: accuracy over confidence, beside the diagonal."""
    colours = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b")
    shown = [str(scope) for scope in dict.fromkeys(table["scope"]) if str(scope).startswith("pooled")] or sorted(
        {str(scope) for scope in table["scope"]}
    )

    def at(x: float, y: float) -> str:
        return f"{40 + 340 * x:.1f},{380 - 340 * y:.1f}"

    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="460" font-family="sans-serif" font-size="12">',
        '<rect width="400" height="460" fill="white"/>',
        f'<polyline points="{at(0, 1)} {at(0, 0)} {at(1, 0)}" fill="none" stroke="black"/>',
        f'<polyline points="{at(0, 0)} {at(1, 1)}" fill="none" stroke="gray" stroke-dasharray="4"/>',
        '<text x="170" y="398">confidence</text><text x="8" y="30">accuracy, out of sample</text>',
    ]
    for place, scope in enumerate(shown[: len(colours)]):
        here = table["scope"] == scope
        points = " ".join(at(x, y) for x, y in zip(table["confidence"][here], table["accuracy"][here], strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colours[place]}" stroke-width="2"/>')
        name = scope.replace("&", "&amp;").replace("<", "&lt;")
        lines.append(f'<text x="40" y="{412 + 12 * place}" fill="{colours[place]}">{name}, n {table["n"][here].sum()}</text>')
    return "\n".join([*lines, "</svg>", ""])


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the labels that occur of the harmonic mean of precision and recall."""
    scores = []
    for label in np.unique(labels):
        right = float(((labels == label) & (predicted == label)).sum())
        scores.append(2 * right / max(1.0, float((labels == label).sum() + (predicted == label).sum())))
    return float(np.mean(scores))


def calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over ``BINS`` bins, weighted by their posts."""
    return float(sum(n * abs(confidence - accuracy) for confidence, accuracy, n in _bins(scores, labels)) / len(labels))


def _bins(scores: np.ndarray, labels: np.ndarray) -> list[tuple[float, float, int]]:
    confidence, hit = scores.max(axis=1), scores.argmax(axis=1) == labels
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (float(confidence[place == i].mean()), float(hit[place == i].mean()), int((place == i).sum()))
        for i in range(BINS)
        if (place == i).any()
    ]


def _within(scores: np.ndarray, measured: Measured) -> np.ndarray:
    """Scores over the labels that a source has at all: one that knows only up and down is not asked for neutral."""
    kept = scores.copy()
    names, place = np.unique([domain(source) for source in measured.sources], return_inverse=True)
    for i in range(len(names)):
        here = np.flatnonzero(place == i)
        kept[np.ix_(here, np.setdiff1d(range(3), measured.labels[here]))] = 0
    return kept / np.maximum(kept.sum(axis=1, keepdims=True), 1e-12)


def _lexicon_labels(measured: Measured) -> np.ndarray:
    """(N,) labels by the lexicon's own thresholds, and by its sign where a source knows only up and down."""
    found = np.where(measured.vader >= 0.05, 2, np.where(measured.vader <= -0.05, 0, 1))
    names, place = np.unique([domain(source) for source in measured.sources], return_inverse=True)
    for i in range(len(names)):
        here = place == i
        if 1 not in measured.labels[here]:
            found[here] = np.where(measured.vader[here] >= 0, 2, 0)
    return found


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % interval."""
    mean = float(values.mean())
    half = 1.96 * float(values.std()) / np.sqrt(len(values))
    return mean, mean - half, mean + half
