"""Walk-forward splits: nothing that is tested was seen in training, not even through a label."""

import doctest
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modules.core import splits
from modules.core.splits import IN_SAMPLE, OUT_OF_SAMPLE, PurgedWalkForward


@given(st.integers(2, 12), st.integers(0, 40), st.integers(0, 40), st.integers(1, 700))
def test_a_gap_lies_between_training_and_test(folds, horizon, embargo, rows):
    walk = PurgedWalkForward(folds, horizon + 1, embargo)
    seen = []
    for train, test in walk.split(rows):
        seen += test.tolist()
        assert train.tolist() == list(range(len(train)))
        if len(train) and len(test):
            ends = train + horizon + 1  # the last candle that a training row's outcome looks at
            assert ends.max() + embargo < test.min()
            assert len(train) == test[0] - horizon - 1 - embargo  # and not one row more is given away
    assert seen == list(range(walk.bounds(rows)[1], rows))


@given(st.integers(2, 12), st.integers(12, 700), st.integers(0, 200))
def test_fold_of_is_the_split(folds, training, tail):
    walk = PurgedWalkForward(folds, 16, 60)
    fold = walk.fold_of(training + tail, training)
    assert (fold[training:] == OUT_OF_SAMPLE).all()
    assert (fold[: walk.bounds(training)[1]] == IN_SAMPLE).all()
    for k, (_, test) in enumerate(walk.split(training), 1):
        assert np.flatnonzero(fold == k).tolist() == test.tolist()
    sizes = [end - start for start, end in pairwise(walk.bounds(training))]
    assert max(sizes) - min(sizes) <= 1


def test_the_example_in_the_docstring():
    assert doctest.testmod(splits).attempted == 1
    assert doctest.testmod(splits).failed == 0
