"""The trajectory: bounds, causality, one row or many, and which posts moved it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.words import MINUTE_MS
from modules.m4b_sentiment import model

START = 1_704_067_200_000


def head(seed=3, hidden=5, attention=4):
    draw = np.random.default_rng(seed)

    def side():
        return (
            draw.normal(size=(model.FEATURES, 4 * hidden)),
            draw.normal(size=(hidden, 4 * hidden)),
            draw.normal(size=4 * hidden),
        )

    return model.Head(
        side(), side(), draw.normal(size=(2 * hidden, attention)), draw.normal(size=attention), draw.normal(size=attention)
    )


def posts(count, seed=5, minutes=300, sources=("a", "b", "c")):
    draw = np.random.default_rng(seed)
    stamps = START + np.sort(draw.choice(minutes * MINUTE_MS, count, replace=False))
    return model.Posts(stamps, draw.dirichlet((0.5, 0.5, 0.5), count), draw.choice(np.array(sources, object), count))


def upto(some, count):
    return model.Posts(some.stamps[:count], some.scores[:count], some.sources[:count])


MINUTES = START + MINUTE_MS * np.arange(300)


def test_attention_is_a_share_of_one():
    features = np.random.default_rng(1).normal(size=(7, 9, model.FEATURES))
    weights = head().attention(features)
    assert weights.shape == (7, 9)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_one_minute_is_as_many_minutes_bit_for_bit():
    some = posts(400)
    together = model.trajectories(head(), some, MINUTES, 60, 20.0)
    for i in (0, 1, 37, 150, 298, 299):
        alone = model.trajectories(head(), some, MINUTES[i : i + 1], 60, 20.0)
        assert alone.trajectory.tobytes() == together.trajectory[i : i + 1].tobytes()
        assert alone.volatility.tobytes() == together.volatility[i : i + 1].tobytes()
        assert alone.posts[0] == together.posts[i]
    assert together.posts.max() <= model.MAX_POSTS


def test_what_comes_after_the_close_changes_nothing():
    some = posts(400)
    whole = model.trajectories(head(), some, MINUTES, 60, 20.0)
    for i in (5, 100, 200):
        known = int(np.searchsorted(some.stamps, MINUTES[i] + MINUTE_MS))
        before = model.trajectories(head(), upto(some, known), MINUTES[: i + 1], 60, 20.0)
        assert before.trajectory.tobytes() == whole.trajectory[: i + 1].tobytes()
        assert before.volatility.tobytes() == whole.volatility[: i + 1].tobytes()


def test_a_post_speaks_from_the_minute_in_which_it_was_seen_to_the_end_of_the_window():
    for offset in (0, 1, MINUTE_MS - 1):
        one = model.Posts(np.array([START + 10 * MINUTE_MS + offset]), np.array([[0.0, 0.1, 0.9]]), np.array(["a"], object))
        found = model.trajectories(head(), one, MINUTES, 30, 20.0)
        assert np.flatnonzero(found.posts).tolist() == list(range(10, 40))
        assert (found.trajectory[:10] == 0).all()
        assert 0.85 < found.trajectory[10] <= 0.9


def test_the_trajectory_fades_and_halves():
    one = model.Posts(np.array([START]), np.array([[0.0, 0.0, 1.0]]), np.array(["a"], object))
    found = model.trajectories(head(), one, MINUTES[:59], 60, 20.0)
    assert (np.diff(found.trajectory) < 0).all()
    assert found.trajectory[39] == pytest.approx(found.trajectory[19] / 2)


def test_disagreement_and_change_are_volatility():
    def two(first, second, gap):
        stamps = np.array([START + 60 * MINUTE_MS - gap, START + 60 * MINUTE_MS - 1])
        one = model.Posts(stamps, np.array([first, second], float), np.array(["a", "b"], object))
        return model.trajectories(head(), one, MINUTES[59:60], 60, 20.0).volatility[0]

    agree, quarrel = two([0, 0, 1], [0, 0, 1], 2), two([1, 0, 0], [0, 0, 1], 2)
    assert quarrel > 0.5 > agree
    assert two([1, 0, 0], [0, 0, 1], 25 * MINUTE_MS) > 0.2


@given(st.integers(0, 120), st.integers(0, 1_000), st.sampled_from([15, 30, 60]))
@settings(max_examples=40, deadline=None)
def test_bounds(count, seed, window):
    found = model.trajectories(head(seed), posts(count, seed), MINUTES[::7], window, 20.0)
    assert (np.abs(found.trajectory) <= 1).all()
    assert ((found.volatility >= 0) & (found.volatility <= 1)).all()
    assert (found.trajectory[found.posts == 0] == 0).all()


def test_no_single_source_drowns_the_others():
    stamps = START + np.arange(200)
    sources = np.array(["flood"] * 199 + ["other"], object)
    sources[[0, 199]] = sources[[199, 0]]
    chosen = model.windows(model.Posts(stamps, np.zeros((200, 3)), sources), np.array([START + MINUTE_MS]), 60)[0]
    assert (sources[chosen] == "flood").sum() == model.SOURCE_POSTS
    assert (sources[chosen] == "other").sum() == 1
    assert chosen.tolist() == sorted(chosen.tolist())


def test_which_posts_moved_it():
    some = posts(50)
    close = int(MINUTES[200]) + MINUTE_MS
    chosen, attention, moved = model.attention_at(head(), some, close, 60, 20.0)
    assert attention.sum() == pytest.approx(1)
    assert moved.sum() == pytest.approx(model.trajectories(head(), some, MINUTES[200:201], 60, 20.0).trajectory[0])
    assert all(len(part) == 0 for part in model.attention_at(head(), some, START - 1, 60, 20.0))
    assert (some.stamps[chosen] < close).all()


def test_weights_survive_json():
    again = model.Head.of(head().content())
    features = np.random.default_rng(1).normal(size=(2, 3, model.FEATURES))
    assert again.attention(features).tobytes() == head().attention(features).tobytes()


@given(st.lists(st.tuples(st.integers(0, 3 * model.DEDUP_MS // 1_000), st.sampled_from("abc")), max_size=40))
@settings(max_examples=100, deadline=None)
def test_duplicates_by_the_letter_of_the_rule(rows):
    rows = sorted((1_000 * stamp, key) for stamp, key in rows)
    kept = []
    for stamp, key in rows:
        kept.append(not any(key == k and stamp - s <= model.DEDUP_MS for (s, k), was in zip(rows, kept, strict=False) if was))
    stamps, keys = [row[0] for row in rows], [row[1] for row in rows]
    assert model.first_said(stamps, keys).tolist() == kept
    half = len(rows) // 2
    before = [row for row, was in zip(rows[:half], kept[:half], strict=True) if was]
    assert model.first_said(stamps[half:], keys[half:], before).tolist() == kept[half:]


def test_ten_thousand_duplicates_are_one_post():
    assert model.first_said(list(range(10_000)), ["a"] * 10_000).sum() == 1


def test_stamps_follow_one_another():
    assert model.strictly_later([5, 5, 5, 6, 20]) == [5, 6, 7, 8, 20]
