"""Boosting, its trees on the live path, and calibration."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modules.core import boosting
from modules.core.calibration import fit_platt, log_odds, platt, sigmoid
from modules.core.errors import ArtifactError
from modules.core.settings import load_settings
from modules.core.trees import Trees

NAMES = ["a", "b", "c", "d"]
LEARNING = load_settings(overrides={"learning": {"rounds": 40}}).learning


def data(classes, rows=3000):
    random = np.random.default_rng(classes)
    x = random.normal(size=(rows, len(NAMES)))
    x[random.random(x.shape) < 0.05] = np.nan
    score = np.nan_to_num(x[:, 0]) + 0.5 * np.nan_to_num(x[:, 1]) + random.normal(size=rows)
    return x, np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score)


@pytest.fixture(scope="module", params=[2, 3])
def trained(request):
    x, label = data(request.param)
    return request.param, x, label, boosting.fit(x, label, NAMES, LEARNING, request.param, gap=76)


def test_the_live_trees_give_the_same_bits(trained):
    classes, x, _, fitted = trained
    odd = np.vstack([x[:500], np.full((1, 4), np.nan), np.full((1, 4), 1e300), np.zeros((1, 4))])
    trees = Trees(fitted.text)
    wanted = fitted.final.predict(odd).reshape(len(odd), -1)
    assert trees.features == 4
    assert trees.classes == (1 if classes == 2 else classes)
    assert np.array_equal(trees.predict(odd), wanted)
    for i in (0, 7, 500):
        assert np.array_equal(trees.predict(odd[i : i + 1]), wanted[i : i + 1])
    frozen = np.asfortranarray(odd)
    frozen.flags.writeable = False
    assert np.array_equal(trees.predict(frozen), wanted)


def test_the_same_input_gives_the_same_bytes(trained):
    classes, x, label, fitted = trained
    assert boosting.fit(x, label, NAMES, LEARNING, classes, gap=76).text == fitted.text
    assert fitted.final.feature_name() == NAMES


def test_it_learned_something(trained):
    classes, x, label, fitted = trained
    p = Trees(fitted.text).predict(x)
    best = (p[:, 0] > 0.5).astype(int) if classes == 2 else p.argmax(1)
    assert (best == label).mean() > 1.3 / classes


def test_going_on_keeps_the_trees_that_were_there(trained):
    classes, x, label, fitted = trained
    more = boosting.fit(x[1000:], label[1000:], NAMES, LEARNING, classes, gap=76, start=fitted)
    before = fitted.final.current_iteration()
    assert more.final.current_iteration() > before
    first = more.final.predict(x[:50], num_iteration=before, raw_score=True)
    np.testing.assert_allclose(first, fitted.final.predict(x[:50], raw_score=True), rtol=1e-12)
    again = boosting.fit(x[1000:], label[1000:], NAMES, LEARNING, classes, gap=76, start=fitted)
    assert again.text == more.text


def test_watched_rows_are_not_fitted_on():
    x, label = data(2)
    spoiled = label.copy()
    spoiled[2000 - 76 :] = 1 - spoiled[2000 - 76 :]
    one, other = (boosting.fit(x, y, NAMES, LEARNING, 2, gap=76, cut=2000) for y in (label, spoiled))
    first = [fitted.watched.predict(x[:50], num_iteration=1) for fitted in (one, other)]
    assert np.array_equal(*first)
    assert one.final.current_iteration() > other.final.current_iteration() == 1


def test_numbers_are_learned_on_top_of_a_margin():
    x, _ = data(2)
    wanted = 3 * np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1])
    margin = 3 * np.nan_to_num(x[:, 0])
    fitted = boosting.fit(x, wanted, NAMES, LEARNING, 1, gap=76, margin=margin)
    rest = Trees(fitted.text).predict(x, raw=True)[:, 0]
    assert np.array_equal(rest, fitted.final.predict(x))
    assert np.mean((margin + rest - wanted) ** 2) < np.mean((margin - wanted) ** 2) / 2


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (4,), (1, 1, 4)])
def test_rows_of_another_width(trained, shape):
    with pytest.raises(ArtifactError, match="takes 4 features"):
        Trees(trained[3].text).predict(np.zeros(shape))


@pytest.mark.parametrize("text", [b"", b"garbage", b"tree\nversion=v4\n"])
def test_what_is_no_model(text):
    with pytest.raises(ArtifactError, match="LightGBM"):
        Trees(text)


def test_the_live_path_imports_no_training_library(trained, tmp_path):
    path = tmp_path / "model.txt"
    path.write_bytes(trained[3].text)
    code = (
        "import sys, numpy\nfrom pathlib import Path\nfrom modules.core import calibration, module, statistics, trees\n"
        f"trees.Trees(Path({str(path)!r}).read_bytes()).predict(numpy.zeros((1, 4)))\n"
        "print(sorted({'lightgbm', 'sklearn', 'pandas', 'scipy', 'rich', 'hmmlearn'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


# Calibration


def test_platt_recovers_what_was_planted():
    random = np.random.default_rng(0)
    raw = random.uniform(0.05, 0.95, 20_000)
    happened = random.random(len(raw)) < platt(raw, 0.6, -0.4)
    assert fit_platt(raw, happened) == pytest.approx((0.6, -0.4), abs=0.06)


def test_platt_is_monotone_and_finite():
    raw = np.concatenate([[0.0], np.linspace(0.001, 0.999, 200), [1.0]])
    calibrated = platt(raw, 0.7, 0.2)
    assert (np.diff(calibrated) > 0).all()
    assert ((calibrated > 0) & (calibrated < 1)).all()
    np.testing.assert_allclose(platt(raw[1:-1], 1.0, 0.0), raw[1:-1])
    np.testing.assert_allclose(sigmoid(log_odds(raw[1:-1])), raw[1:-1])


@pytest.mark.parametrize("outcome", [True, False])
def test_one_outcome_only_calibrates_nothing(outcome):
    assert fit_platt(np.array([0.2, 0.9]), np.array([outcome, outcome])) == (1.0, 0.0)
