"""From scored posts to a trajectory: a Bi-LSTM with temporal attention over the posts of the last minutes.

Pure functions over N minutes; N is 1 in the live cycle and 200,000 in training. Numpy alone: a minute without news
loads nothing else. Sums run over one axis in one order, so that a row's bits do not depend on the rows beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from modules.core.words import MINUTE_MS
from modules.m4b_sentiment import text

LABELS = (-1, 0, 1)
"""In the order of the scores: negative, neutral, positive."""
MAX_POSTS = 64
"""The newest of a window that are looked at."""
SOURCE_POSTS = 16
"""The newest of one source in a window that are looked at: no single voice drowns the others."""
CHANGE_MINUTES = 15
"""How far back the trajectory is compared with itself, for the volatility."""
DEDUP_POSTS, DEDUP_MS = 1_000, 24 * 60 * MINUTE_MS
"""A post is a duplicate where one of the last so many kept ones, not older than this, said the same."""
FEATURES = 7
"""Inputs of the Bi-LSTM for each post, see ``post_features``."""
_ROWS = 4_096


@dataclass(frozen=True)
class Head:
    """The weights of the Bi-LSTM (gates in the order in, forget, cell, out) and of its attention, H hidden units a side.

    forward, backward : (input weights (F, 4H), hidden weights (H, 4H), bias (4H,))
    project, bias : (2H, A), (A,); query : (A,) — additive attention after Bahdanau et al. (2015)
    """

    forward: tuple[np.ndarray, np.ndarray, np.ndarray]
    backward: tuple[np.ndarray, np.ndarray, np.ndarray]
    project: np.ndarray
    bias: np.ndarray
    query: np.ndarray

    @classmethod
    def of(cls, content: dict[str, list]) -> "Head":
        """From the lists that ``content`` gave."""
        sides = (tuple(np.array(part, float) for part in content[side]) for side in ("forward", "backward"))
        return cls(*sides, *(np.array(content[name], float) for name in ("project", "bias", "query")))  # type: ignore[arg-type]

    def content(self) -> dict[str, list]:
        """As lists, for JSON."""
        sides = {side: [part.tolist() for part in getattr(self, side)] for side in ("forward", "backward")}
        return sides | {name: getattr(self, name).tolist() for name in ("project", "bias", "query")}

    def attention(self, features: np.ndarray) -> np.ndarray:
        """(N, L) weights that sum to 1 over the L posts of each of N windows.

        Parameters
        ----------
        features : (N, L, FEATURES), the oldest post first
        """
        hidden = np.concatenate([_lstm(features, *self.forward), _lstm(features[:, ::-1], *self.backward)[:, ::-1]], 2)
        energy = np.tanh(_times(hidden, self.project) + self.bias)
        energy = (energy * self.query).sum(axis=2)
        weights = np.exp(energy - energy.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Posts:
    """P scored posts by time: (P,) stamps in Unix ms, (P, 3) probabilities in the order of ``LABELS``, (P,) sources."""

    stamps: np.ndarray
    scores: np.ndarray
    sources: np.ndarray

    @property
    def signed(self) -> np.ndarray:
        """(P,) positive minus negative probability, -1..1."""
        return self.scores[:, 2] - self.scores[:, 0]


@dataclass(frozen=True)
class Trajectory:
    """What (N,) minutes read like: trajectory -1..1, volatility 0..1, and the number of posts behind them."""

    trajectory: np.ndarray
    volatility: np.ndarray
    posts: np.ndarray


def post_features(scores: np.ndarray, ages: np.ndarray, window: float) -> np.ndarray:
    """(N, L, FEATURES) of posts with (N, L, 3) scores and (N, L) ages in minutes, the oldest first.

    Scores, their sign and their certainty, the age, and the time since the post before, both as shares of the window.
    """
    signed = scores[..., 2] - scores[..., 0]
    gaps = np.concatenate([np.full_like(ages[:, :1], window), ages[:, :-1] - ages[:, 1:]], 1)
    return np.stack([*np.moveaxis(scores, -1, 0), signed, scores.max(axis=-1), ages / window, gaps / window], -1)


def windows(posts: Posts, closes: np.ndarray, window: int) -> list[np.ndarray]:
    """The posts that each of (N,) moments may use, as positions, oldest first: those seen within ``window`` minutes before
    it, the newest ``SOURCE_POSTS`` of each source and ``MAX_POSTS`` in all. What is seen at the moment itself is not used.
    """
    first = np.searchsorted(posts.stamps, closes - window * MINUTE_MS)
    end = np.searchsorted(posts.stamps, closes)
    found: dict[tuple[int, int], np.ndarray] = {}
    chosen = []
    for low, high in zip(first.tolist(), end.tolist(), strict=True):
        if (low, high) not in found:
            found[low, high] = _newest_of_each(posts.sources, low, high)
        chosen.append(found[low, high])
    return chosen


def attention_at(
    head: Head, posts: Posts, close: int, window: int, half_life: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For one moment: positions of the posts in use, their attention, and how much each moved the trajectory."""
    chosen = windows(posts, np.array([close]), window)[0]
    if not len(chosen):
        return chosen, np.zeros(0), np.zeros(0)
    weights, signed, fresh = _weighed(head, posts, chosen[None], np.array([close]), window, half_life)
    return chosen, weights[0], (weights * signed * fresh)[0]


def trajectories(head: Head, posts: Posts, timestamps: np.ndarray, window: int, half_life: float) -> Trajectory:
    """The trajectory and volatility of (N,) candles, from the posts seen before each one closed.

    Trajectory: attention-weighted mean of the posts' signed scores, each halved every ``half_life`` minutes since it was
    seen; so it fades where nothing follows. Volatility: the larger of the disagreement (weighted standard deviation of
    the scores) and half the change of the trajectory within ``CHANGE_MINUTES``.
    """
    closes = np.asarray(timestamps, np.int64) + MINUTE_MS
    now, disagreement, count = _at(head, posts, closes, window, half_life)
    before, _, _ = _at(head, posts, closes - CHANGE_MINUTES * MINUTE_MS, window, half_life)
    return Trajectory(now, np.clip(np.maximum(disagreement, np.abs(now - before) / 2), 0, 1), count)


def first_said(stamps: Sequence[int], keys: Sequence[str], earlier: Sequence[tuple[int, str]] = ()) -> np.ndarray:
    """(P,) bool: the posts, by time, that none of the kept ones before them said already.

    Parameters
    ----------
    earlier : stamp and key of kept posts from before, by time
    """
    kept = list(earlier)[-DEDUP_POSTS:]
    newest = {key: (stamp, place) for place, (stamp, key) in enumerate(kept)}
    places = len(kept)
    first = np.zeros(len(keys), bool)
    for i, (stamp, key) in enumerate(zip(stamps, keys, strict=True)):
        said = newest.get(key)
        if said is None or stamp - said[0] > DEDUP_MS or places - said[1] > DEDUP_POSTS:
            first[i] = True
            newest[key] = (stamp, places)
            places += 1
    return first


def key_of(clean: str) -> str:
    """A short hash of what a clean text says, for ``post_scores``."""
    import hashlib

    return hashlib.sha256(text.key(clean).encode()).hexdigest()[:16]


def strictly_later(stamps: Sequence[int]) -> list[int]:
    """Stamps in order, each at least 1 ms after the one before: a table has one row a stamp. None becomes earlier."""
    later: list[int] = []
    for stamp in stamps:
        later.append(max(stamp, later[-1] + 1) if later else stamp)
    return later


def _newest_of_each(sources: np.ndarray, low: int, high: int) -> np.ndarray:
    """Positions within [low, high)."""
    left: dict[str, int] = {}
    chosen: list[int] = []
    for i in range(high - 1, low - 1, -1):
        left[sources[i]] = left.get(sources[i], SOURCE_POSTS) - 1
        if left[sources[i]] >= 0:
            chosen.append(i)
        if len(chosen) == MAX_POSTS:
            break
    return np.array(chosen[::-1], int)


def _at(head: Head, posts: Posts, closes: np.ndarray, window: int, half_life: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) trajectory, disagreement and number of posts; 0 where there is none."""
    chosen = windows(posts, closes, window)
    count = np.array([len(positions) for positions in chosen], int)
    trajectory, disagreement = np.zeros(len(closes)), np.zeros(len(closes))
    # Windows of one length together: no padding, so none can leak into another.
    order = np.argsort(count, kind="stable")
    bounds = np.searchsorted(count[order], np.arange(1, MAX_POSTS + 2))
    for low, high in pairwise(bounds.tolist()):
        for start in range(low, high, _ROWS):
            rows = order[start : min(high, start + _ROWS)]
            positions = np.stack([chosen[i] for i in rows])
            weights, signed, fresh = _weighed(head, posts, positions, closes[rows], window, half_life)
            mean = (weights * signed).sum(axis=1)
            trajectory[rows] = np.clip((weights * signed * fresh).sum(axis=1), -1, 1)
            disagreement[rows] = np.sqrt((weights * (signed - mean[:, None]) ** 2).sum(axis=1))
    return trajectory, disagreement, count


def _weighed(
    head: Head, posts: Posts, positions: np.ndarray, closes: np.ndarray, window: int, half_life: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, L) attention, signed score and freshness of the posts at (N, L) ``positions``."""
    ages = (closes[:, None] - posts.stamps[positions]) / MINUTE_MS
    weights = head.attention(post_features(posts.scores[positions], ages, window))
    return weights, posts.signed[positions], np.exp2(-ages / half_life)


def _lstm(x: np.ndarray, weights: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(N, L, H) hidden states of (N, L, F) inputs: Hochreiter & Schmidhuber (1997), with the forget gate of Gers (2000)."""
    hidden = np.zeros((len(x), recurrent.shape[0]))
    cell = np.zeros_like(hidden)
    states = []
    driven = _times(x, weights) + bias
    for step in range(x.shape[1]):
        gate_in, forget, new, out = np.split(driven[:, step] + _times(hidden, recurrent), 4, axis=1)
        cell = _sigmoid(forget) * cell + _sigmoid(gate_in) * np.tanh(new)
        hidden = _sigmoid(out) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states, 1)


def _times(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Matrix product over the last axis, summed input by input: BLAS would sum in an order that depends on N."""
    result = x[..., 0, None] * matrix[0]
    for i in range(1, len(matrix)):
        result = result + x[..., i, None] * matrix[i]
    return result


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
