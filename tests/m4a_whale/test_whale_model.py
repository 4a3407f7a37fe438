"""The detectors against their libraries, and what a minute's alert is made of."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.core.errors import ArtifactError, PipelineError
from modules.core.settings import load_settings
from modules.core.words import MINUTE_MS
from modules.m4a_whale import comparison, model, trainer
from tests.m4a_whale.chain import NOON

SEED = 7


def made(count, seed=1, missing=0.0):
    """Transactions without any structure but their spread."""
    random = np.random.default_rng(seed)
    rows = {
        "timestamp": NOON + np.sort(random.integers(0, count * 10 * MINUTE_MS, count)),
        "value_btc": np.exp(random.normal(5.5, 0.8, count)),
        "inputs": random.integers(1, 20, count).astype(float),
        "outputs": random.integers(1, 30, count).astype(float),
        "largest_output_share": random.random(count),
        "fee_rate": np.exp(random.normal(3, 0.6, count)),
    }
    rows["to_exchange"] = (random.random(count) < 0.3).astype(int)
    rows["from_exchange"] = (1 - rows["to_exchange"]) * (random.random(count) < 0.3).astype(int)
    for name in ("inputs", "outputs", "largest_output_share", "fee_rate"):
        rows[name][random.random(count) < missing] = np.nan
    rows["txid"] = np.array([f"{i}" for i in range(count)], object)
    return rows


def candles(count=4_000, start=NOON):
    random = np.random.default_rng(5)
    close = 60_000 * np.exp(np.cumsum(random.normal(0, 5e-4, count)))
    return {"timestamp": start + MINUTE_MS * np.arange(count, dtype=np.int64), "close": close}


@pytest.fixture(scope="module")
def fitted():
    return trainer.fit(made(600, missing=0.1), candles(), load_settings())


@pytest.fixture(scope="module")
def whales(fitted):
    return fitted[0]


@pytest.mark.parametrize("kind", sorted(model.DETECTORS))
def test_exported_arrays_score_as_the_library_does(kind):
    rows = np.maximum(np.random.default_rng(3).normal(size=(800, 6)), 0)
    unseen = np.maximum(np.random.default_rng(4).normal(size=(300, 6)) * 1.5, 0)
    arrays, library = trainer.FITS[kind](rows, SEED)
    score = library.score_samples if kind == "iforest" else library.decision_function
    expected = score(unseen) * (-1 if kind == "iforest" else 1)
    assert np.abs(model.DETECTORS[kind](unseen, arrays) - expected).max() < 1e-9


def test_exported_equations_fill_in_as_the_library_does():
    rows = model.base(made(500, missing=0.2))
    exported, library = trainer.fit_imputer(rows, SEED)
    unseen = model.base(made(200, seed=9, missing=0.3))
    assert np.isnan(unseen).any()
    assert np.abs(exported.fill(unseen) - library.transform(unseen)).max() < 1e-9


def test_a_column_that_no_transaction_has_is_left_out():
    transfers = made(300)
    for name in ("inputs", "outputs", "largest_output_share", "fee_rate"):
        transfers[name][:] = np.nan  # as Whale Alert and Glassnode tell it
    fitted, _ = trainer.fit(transfers, candles(), load_settings())
    assert np.isfinite(fitted.raw(transfers)).all()


@pytest.mark.parametrize("kind", sorted(model.DETECTORS))
def test_the_export_on_disk_scores_the_same_bits_one_by_one_and_all_at_once(kind):
    transfers = made(400, missing=0.1)
    fitted, _ = trainer.fit(transfers, candles(), load_settings(), kind)
    loaded = model.load(json.dumps(model.dump(fitted)).encode())
    together = fitted.share_below(transfers)
    apart = [loaded.share_below({name: values[i : i + 1] for name, values in transfers.items()})[0] for i in range(0, 400, 7)]
    assert together[::7].tolist() == apart


def test_the_share_below_is_the_training_distributions_own_quantile(whales):
    share = whales.share_below(made(600, missing=0.1))
    assert share.min() >= 0
    assert share.max() < 1
    assert np.abs(np.quantile(share, [0.25, 0.5, 0.9]) - [0.25, 0.5, 0.9]).max() < 0.02


def test_copies_change_no_cluster(fitted):
    transfers = made(600, missing=0.1)
    copies = {name: np.concatenate([values, np.repeat(values[17:18], 3_000)]) for name, values in transfers.items()}
    copies["timestamp"][600:] += np.arange(3_000)
    again, _ = trainer.fit(copies, candles(), load_settings())
    assert again.raw(transfers).tolist() == fitted[0].raw(transfers).tolist()


def test_transactions_that_are_all_alike_are_told():
    transfers = {name: np.repeat(values[:1], 500) for name, values in made(10).items()}
    with pytest.raises(PipelineError, match="differ"):
        trainer.fit(transfers, candles(), load_settings())


def test_few_distinct_rows_still_give_clusters():
    rows = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]]), [300, 280, 20], axis=0)
    arrays, _ = trainer.fit_cblof(rows, SEED)
    score = model.cblof(rows, arrays)
    assert score[-1] > score[:580].max()


def test_an_alert_counts_from_the_minute_after_and_halves(whales):
    one = {name: values[:1] for name, values in made(1).items()} | {"value_btc": np.array([50_000.0])}
    one["timestamp"] = np.array([NOON + 5 * MINUTE_MS + 17])
    minutes = NOON + MINUTE_MS * np.arange(60)
    strength, _ = model.standing(whales, one, minutes)
    assert np.isnan(strength[:6]).all()
    assert not np.isnan(strength[6:]).any()
    assert strength[36] == pytest.approx(strength[6] / 2, rel=1e-6)
    score, _ = model.alerts(whales, one, minutes)
    assert (np.diff(score[6:]) <= 0).all()


def test_the_side_is_that_of_the_strongest_alert(whales):
    two = {name: values[:2].copy() for name, values in made(2).items()}
    two["timestamp"] = np.array([NOON, NOON + 1])
    two["value_btc"] = np.array([101.0, 90_000.0])
    for to, from_, word in ((1, 0, "sell_pressure"), (0, 1, "buy_pressure"), (1, 1, "none"), (0, 0, "none")):
        two["to_exchange"], two["from_exchange"] = np.array([0, to]), np.array([1, from_])
        assert model.alerts(whales, two, np.array([NOON + MINUTE_MS]))[1][0] == word


def test_what_is_gone_counts_until_then_and_a_late_block_is_as_old_as_it_is(whales):
    one = {name: values[:1] for name, values in made(1).items()} | {"timestamp": np.array([NOON])}
    minutes = NOON + MINUTE_MS * np.arange(10)
    gone = np.array([float(NOON + 5 * MINUTE_MS)])
    strength, _ = model.standing(whales, one | {"gone": gone, "mined": one["timestamp"]}, minutes)
    assert np.isnan(strength).tolist() == [True, False, False, False, *[True] * 6]
    fresh, _ = model.standing(whales, one, minutes)
    late, _ = model.standing(whales, one | {"mined": np.array([NOON - 30 * MINUTE_MS])}, minutes)
    assert late[3] == pytest.approx(fresh[3] / 2, rel=1e-6)


def test_a_silent_chain_says_nothing(whales):
    one = {name: values[:1] for name, values in made(1).items()} | {"timestamp": np.array([NOON])}
    day = NOON + MINUTE_MS * np.array([model.SILENT_MINUTES, model.SILENT_MINUTES + 1])
    assert np.isnan(model.alerts(whales, one, day)[0]).tolist() == [False, True]
    none = {name: values[:0] for name, values in one.items()}
    assert np.isnan(model.alerts(whales, none, day)[0]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 50))
def test_each_minute_alone_is_each_minute_among_many(whales, seed, count):
    transfers = made(count, seed, missing=0.2)
    random = np.random.default_rng(seed)
    gone = np.where(random.random(count) < 0.2, transfers["timestamp"] + random.integers(0, 10**8, count), np.nan)
    transfers |= {"gone": gone, "mined": transfers["timestamp"] - random.integers(0, 10**7, count)}
    minutes = NOON + MINUTE_MS * random.integers(0, count * 10 + 50, 40)
    together = model.alerts(whales, transfers, minutes)
    for i, minute in enumerate(minutes):
        seen = transfers["timestamp"] < minute
        before = {name: values[seen] for name, values in transfers.items()}
        alone = model.alerts(whales, before, np.array([minute]))
        np.testing.assert_array_equal(alone[0][0], together[0][i])
        assert alone[1][0] == together[1][i]


def test_features_are_chosen_against_the_push_and_all_kept_where_there_is_none():
    random = np.random.default_rng(2)
    upward = np.maximum(random.normal(size=(2_000, 8)), 0)
    told = upward[:, 2] + 0.8 * upward[:, 5] + 0.6 * upward[:, 6]
    noise = random.normal(size=2_000) * 2
    kept = trainer.select(upward, told + noise)
    assert {2, 5, 6} <= set(kept)
    assert len(kept) < 8
    assert trainer.select(upward, noise - told) == list(range(8))
    assert trainer.select(upward, np.full(2_000, np.nan)) == list(range(8))


def test_a_push_never_looks_beyond_the_candles_it_is_given():
    transfers, rows = made(600), candles()
    full = trainer.push(transfers, rows, 30)
    cut = {name: values[:2_000] for name, values in rows.items()}
    early = trainer.push(transfers, cut, 30)
    known = ~np.isnan(early)
    assert known.any()
    np.testing.assert_array_equal(early[known], full[known])
    assert np.isnan(early[transfers["timestamp"] // MINUTE_MS * MINUTE_MS > rows["timestamp"][1_999 - 30]]).all()


def test_an_export_of_another_version_is_refused(whales):
    for changes in ({"detector": "oracle"}, {"features": ["colour"] * len(whales.features)}):
        with pytest.raises(ArtifactError, match="train again"):
            model.load(json.dumps(model.dump(replace(whales, **changes))).encode())


def test_the_area_is_the_libraries_area():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(8)
    label, score = random.random(300) < 0.2, np.round(random.random(300), 1)
    weights = random.integers(0, 4, 300).astype(float)
    assert comparison.area(label, score, weights) == pytest.approx(roc_auc_score(label, score, sample_weight=weights))
    assert np.isnan(comparison.area(np.zeros(3, bool), np.arange(3.0)))
