"""Module 2: what is exported equals what was trained, the filter never smooths, and the warnings follow their rules."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from sklearn.linear_model import LogisticRegression

from modules.core.errors import ArtifactError
from modules.core.settings import load_settings
from modules.core.statistics import log_loss
from modules.core.tables import Columns
from modules.core.words import REGIMES
from modules.m1_data_engine import context
from modules.m1_data_engine.features.market import Market
from modules.m1_data_engine.simulated_market import simulate
from modules.m2_regime import model, trainer
from modules.m2_regime import predictor as live
from tests.conftest import Desk

SETTINGS = load_settings()
ROWS = trainer.FORESIGHT_LEAST
NOTHING = {"whale_alert_score": 0.5, "impact_type": "none", "trajectory": 0.0, "volatility": 0.0}


@pytest.fixture(scope="module")
def path() -> np.ndarray:
    columns = context.context(Market(simulate(ROWS + context.WARMUP, 5).candles))
    return np.stack([columns[name] for name in model.PATH], 1)[context.WARMUP :]


@pytest.fixture(scope="module")
def axes(path: np.ndarray) -> np.ndarray:
    return path[:, : len(model.AXES)]


@pytest.fixture(scope="module")
def trained(axes: np.ndarray) -> tuple[model.RegimeModel, GaussianHMM]:
    return trainer.fit_regimes(axes, SETTINGS)


@pytest.fixture(scope="module")
def foresight(trained: tuple[model.RegimeModel, GaussianHMM], path: np.ndarray) -> model.Foresight:
    return trainer.fit_foresight(path, *trained, SETTINGS)


def said(rows: int, **other: object) -> Columns:
    return {key: np.full(rows, value, object if isinstance(value, str) else float) for key, value in (NOTHING | other).items()}


def test_the_densities_are_those_of_hmmlearn(trained: tuple[model.RegimeModel, GaussianHMM], axes: np.ndarray) -> None:
    regimes, chain = trained
    standard = (axes - regimes.centre) / regimes.scale
    np.testing.assert_allclose(regimes.log_densities(axes).T, chain._compute_log_likelihood(standard), atol=1e-9)


def test_the_filter_is_the_forward_pass_and_not_the_smoothed_one(
    trained: tuple[model.RegimeModel, GaussianHMM], axes: np.ndarray
) -> None:
    """hmmlearn's posterior of the last of t rows is the filtered one, for nothing comes after it."""
    regimes, chain = trained
    chain = GaussianHMM(len(REGIMES), "full", init_params="")
    chain.startprob_, chain.transmat_ = regimes.start, regimes.transitions
    chain.means_, chain.covars_ = trained[1].means_, trained[1].covars_
    standard = (axes - regimes.centre) / regimes.scale
    filtered = regimes.filtered(axes[:200], memory=200)
    for row in (1, 7, 50, 120, 199):
        np.testing.assert_allclose(filtered[row], chain.predict_proba(standard[: row + 1])[-1], atol=1e-6)
    smoothed = chain.predict_proba(standard[:200])
    assert np.abs(filtered - smoothed).max() > 0.05


def test_one_live_row_is_the_row_of_a_history(trained: tuple[model.RegimeModel, GaussianHMM], axes: np.ndarray) -> None:
    regimes, memory = trained[0], SETTINGS.regime.memory
    history = regimes.filtered(axes, memory)
    for row in (memory - 1, 500, ROWS - 1):
        alone = regimes.filtered(axes[row - memory + 1 : row + 1], memory, count=1)
        assert np.array_equal(alone[0], history[row])


def test_a_minute_without_a_row_is_no_evidence(trained: tuple[model.RegimeModel, GaussianHMM], axes: np.ndarray) -> None:
    regimes = trained[0]
    holes = axes[:60].copy()
    holes[30:40] = np.nan
    state = regimes.filtered(holes, 60, count=1)
    assert np.isfinite(state).all()
    assert state.sum() == pytest.approx(1)
    nothing = regimes.filtered(np.full((60, 3), np.nan), 60, count=1)
    np.testing.assert_allclose(nothing[0], regimes.start, atol=1e-6)


def test_the_transitions_are_a_chain(trained: tuple[model.RegimeModel, GaussianHMM]) -> None:
    regimes = trained[0]
    np.testing.assert_allclose(regimes.transitions.sum(axis=1), 1)
    np.testing.assert_allclose(regimes.start @ regimes.transitions, regimes.start, atol=1e-9)
    assert np.diag(regimes.transitions).min() > 0.5


def test_names_of_components_cover_all_eight() -> None:
    prototypes = np.array(list(model.PROTOTYPES.values()))
    shuffled = np.random.default_rng(1).permutation(8)
    means = np.vstack([prototypes[shuffled] + 0.05, prototypes[2:3] + 0.1])
    assert list(trainer.name_components(means)) == [*shuffled, 2]


def test_next_probabilities_shift_as_the_settings_say() -> None:
    even = np.full((1, 8), 1 / 8)
    still = model.next_probabilities(even, said(1), SETTINGS.regime)
    np.testing.assert_allclose(still, 1 / 8)

    def at(coming: np.ndarray, *names: str) -> float:
        return float(sum(coming[0, REGIMES.index(name)] for name in names))

    whale = model.next_probabilities(even, said(1, whale_alert_score=0.8, impact_type="sell_pressure"), SETTINGS.regime)
    assert at(whale, "TREND_DOWN", "VOLATILE_DOWN") == pytest.approx((0.25 + 0.2) / 1.2)
    news = model.next_probabilities(even, said(1, trajectory=0.7), SETTINGS.regime)
    assert at(news, "TREND_UP", "VOLATILE_UP") == pytest.approx((0.25 + 0.15) / 1.15)
    heated = model.next_probabilities(even, said(1, volatility=0.6), SETTINGS.regime)
    assert at(heated, "VOLATILE_UP", "VOLATILE_DOWN") == pytest.approx((0.25 + 0.1) / 1.1)
    for unmoved in (said(1, whale_alert_score=0.8, impact_type="buy_pressure"), said(1, whale_alert_score=0.7)):
        np.testing.assert_allclose(model.next_probabilities(even, unmoved, SETTINGS.regime), 1 / 8)


def test_the_foresight_foretells_more_than_the_chain() -> None:
    """On rows that neither has learned from."""
    cut, horizon = 16_000, SETTINGS.labels.horizon
    columns = context.context(Market(simulate(cut + 5_000 + context.WARMUP, 1).candles))
    path = np.stack([columns[name] for name in model.PATH], 1)[context.WARMUP :]
    regimes, chain = trainer.fit_regimes(path[:cut, :3], SETTINGS)
    foresight = trainer.fit_foresight(path[:cut], regimes, chain, SETTINGS)
    hindsight = chain.predict_proba((path[cut:, :3] - regimes.centre) / regimes.scale).argmax(axis=1)
    state = regimes.filtered(path[:, :3], SETTINGS.regime.memory, len(path) - cut)
    foreseen = foresight.probabilities(path, len(path) - cut)[:-horizon]
    by_chain = state[:-horizon] @ regimes.ahead
    assert log_loss(foreseen, hindsight[horizon:]) < log_loss(by_chain, hindsight[horizon:]) - 0.05
    assert (foreseen.argmax(axis=1) == hindsight[horizon:]).mean() > (by_chain.argmax(axis=1) == hindsight[horizon:]).mean()


def test_of_too_few_rows_no_foresight_is_learned_and_the_chain_speaks(
    trained: tuple[model.RegimeModel, GaussianHMM], path: np.ndarray
) -> None:
    assert trainer.fit_foresight(path[: trainer.FORESIGHT_LEAST - 1], *trained, SETTINGS) is None
    state, coming = model.regimes_along(trained[0], None, path[:100], said(100), SETTINGS.regime)
    np.testing.assert_allclose(coming, state @ trained[0].ahead, atol=1e-12)


def test_the_foresight_of_one_row_is_that_of_a_history_and_never_looks_ahead(
    path: np.ndarray, foresight: model.Foresight
) -> None:
    memory = SETTINGS.regime.memory
    history = foresight.probabilities(path, ROWS)
    np.testing.assert_allclose(history[model.KEPT :].sum(axis=1), 1)
    for row in (memory - 1, 500, ROWS - 1):
        alone = foresight.probabilities(path[row - memory + 1 : row + 1], 1)
        assert np.array_equal(alone[0], history[row])


def test_without_a_minute_that_the_foresight_looks_back_on_the_chain_speaks(
    trained: tuple[model.RegimeModel, GaussianHMM], path: np.ndarray, foresight: model.Foresight
) -> None:
    regimes, memory = trained[0], SETTINGS.regime.memory
    for lost in (0, model.BACK, model.KEPT):
        holes = path[:memory].copy()
        holes[memory - 1 - lost] = np.nan
        state, coming = model.regimes_along(regimes, foresight, holes, said(1), SETTINGS.regime)
        np.testing.assert_allclose(coming, state @ regimes.ahead, atol=1e-12)
    whole, foretold = model.regimes_along(regimes, foresight, path[:memory], said(1), SETTINGS.regime)
    assert np.abs(foretold - whole @ regimes.ahead).max() > 0.01


def test_the_foresight_is_the_regression_that_was_fitted(path: np.ndarray, foresight: model.Foresight) -> None:
    columns = np.stack(list(model.terms(model.foresight_inputs(path, 9), foresight.centre, foresight.scale)), 1)
    fitted = LogisticRegression()
    fitted.coef_, fitted.intercept_, fitted.classes_ = foresight.weights, foresight.intercept, np.arange(len(REGIMES))
    np.testing.assert_allclose(foresight.probabilities(path, 9), fitted.predict_proba(columns), atol=1e-12)


def test_thresholds_by_session_and_by_excitement() -> None:
    hours = np.array([1, 9, 14, 22, 9]) * 3_600_000
    thresholds = model.warning_thresholds(hours, np.array([1.0, 1.0, 1.0, 1.0, 1.6]), SETTINGS)
    assert list(thresholds) == [0.7, 0.8, 0.85, 0.8, 0.85]


def test_a_warning_names_a_side_only_where_the_next_regimes_support_it() -> None:
    even, up, down = np.full(8, 1 / 8), np.zeros(8), np.zeros(8)
    up[REGIMES.index("TREND_UP")] = down[REGIMES.index("VOLATILE_DOWN")] = 1
    given = model.warnings(np.array([0.9, 0.9, 0.9, 0.69]), np.full(4, 0.7), np.stack([even, up, down, up]), 0.1)
    assert list(given) == ["move", "up", "down", "none"]


def test_what_the_predictor_loads_is_what_was_trained(trained_once: Desk) -> None:
    run = trained_once.open()
    models = live.models(run)
    chain, booster = run.artifacts.load_pickle("hmm_model"), run.artifacts.load("warning_export")
    random = np.random.default_rng(2)
    axes = random.normal(size=(50, 3))
    standard = (axes - models.regimes.centre) / models.regimes.scale
    np.testing.assert_allclose(models.regimes.log_densities(axes).T, chain._compute_log_likelihood(standard), atol=1e-9)
    import lightgbm

    inputs = random.random((50, models.warner.trees.features))
    raw = lightgbm.Booster(model_str=booster.decode()).predict(inputs, raw_score=True)
    assert np.array_equal(models.warner.trees.predict(inputs, raw=True)[:, 0], raw)


def test_the_warning_rises_with_the_excursion_over_the_distance(trained_once: Desk) -> None:
    warner = live.models(trained_once.open()).warner
    inputs, calm = np.zeros((5, warner.trees.features)), np.tile([np.log(5e-4), 1.0, 0.0], (5, 1))
    reach = np.log(np.array([1.0, 0.1, 0.01, 0.001, 1e-6]))
    probability = warner.probability(calm, inputs, reach)
    assert (np.diff(probability) >= 0).all()
    assert probability[-1] > probability[0]
    assert ((probability >= 0) & (probability <= 1)).all()
    assert replace(warner, slope=0.0, shift=0.0).probability(calm, inputs, reach) == pytest.approx(0.5)


def test_a_market_twice_as_dear_moves_twice_as_far() -> None:
    """Prices and the distance multiplied by the same: nothing that the warner is told changes."""
    features = {"timestamp": np.array([0]), "atr_ratio": np.array([1.2]), "volatility": np.array([0.5])}
    cheap = features | {"close": np.array([30_000.0]), "atr": np.array([20.0])}
    dear = features | {"close": np.array([60_000.0]), "atr": np.array([40.0])}
    far = load_settings(overrides={"labels": {"move_points": 600.0}})
    np.testing.assert_allclose(model.volatilities(cheap), model.volatilities(dear))
    np.testing.assert_allclose(model.reach(cheap, SETTINGS), model.reach(dear, far))


def test_the_warner_knows_the_hour() -> None:
    features = {"timestamp": np.array([0, 61, 8 * 1_440 + 5]) * 60_000, "trend": np.arange(3.0)}
    rows = model.warner_rows(features, ["trend"], said(3))
    assert np.array_equal(rows[:, 0], np.arange(3.0))
    assert rows[:, -len(model.CLOCK) :].tolist() == [[0, 0, 0], [61, 0, 1], [5, 1, 5]]


def test_a_model_of_another_version_is_told_in_words(trained_once: Desk, tmp_path: Path) -> None:
    run = trained_once.copy(tmp_path / "desk").open()
    export, entry = run.artifacts.load_json("regime_export"), run.artifacts.entry("regime_export")
    older = {name: value for name, value in export.items() if name != "foresight"}
    run.artifacts.save_json("regime_export", older, (entry["fitted_from"], entry["fitted_to"]), entry["features"])
    with pytest.raises(ArtifactError, match=r"regime\.json: was made by another version of the program; train again"):
        live.models(run)
