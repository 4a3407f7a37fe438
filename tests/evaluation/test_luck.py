"""Against the papers' own worked examples, against the laws that each figure obeys, and against counting by hand."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modules.core.settings import Costs
from modules.core.statistics import DAY_MS, DRAWS, wilson
from modules.core.tables import Columns
from modules.core.words import DAY_MINUTES, MINUTE_MS
from modules.evaluation import luck
from modules.evaluation.engine import Orders, simulate
from modules.evaluation.luck import Moments, Outcomes
from modules.evaluation.measure import _traded

DAILY, WEEKLY, MONTHLY = np.sqrt(252), np.sqrt(52), np.sqrt(12)
RETURNS = arrays(float, st.integers(3, 40), elements=st.floats(-0.2, 0.2).map(lambda value: round(value, 6)))
BELOW = 1e-9


# Returns and ratios


def test_a_days_return_is_from_its_last_candle_to_the_days_before() -> None:
    stamps = np.array([10, 11, 12, 13, 14]) * DAY_MS // 2
    assert luck.returns_by_day(np.array([90, 110, 120, 99, 198]), stamps, 100.0) == pytest.approx([0.1, -0.1, 1.0])


def test_an_account_that_is_gone_does_not_come_back() -> None:
    assert luck.returns_by_day(np.array([50, -10, 20, 30]), np.arange(4) * DAY_MS, 100.0).tolist() == [-0.5, -1, 0, 0]


def test_ratios_by_hand() -> None:
    returns = np.array([0.03, -0.01, 0.02, -0.02])
    assert luck.moments(returns).sharpe == pytest.approx(np.mean(returns) / np.std(returns, ddof=1))
    assert luck.sharpe(luck.sharpe_sums(returns).sum(0)[None])[0] == pytest.approx(luck.moments(returns).sharpe)
    assert luck.sortino(luck.sortino_sums(returns).sum(0)[None])[0] == pytest.approx(0.005 / np.sqrt(0.0005 / 4))


def test_skewness_and_kurtosis_of_a_coin_that_seldom_wins() -> None:
    found = luck.moments(np.repeat([1.0, 0.0], [1, 9]))
    chance, spread = 0.1, np.sqrt(0.09)
    assert found.skew == pytest.approx((1 - 2 * chance) / spread)
    assert found.kurtosis == pytest.approx(3 + (1 - 6 * 0.09) / 0.09)


@pytest.mark.parametrize("returns", [[], [0.1], [0.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
def test_what_never_differs_has_no_ratio(returns: list[float]) -> None:
    found = luck.moments(np.array(returns))
    assert found.days == len(returns)
    assert np.isnan([found.sharpe, luck.probabilistic_sharpe(found), luck.deflated_sharpe(found, 5)]).all()
    assert np.isnan(luck.track_record(found))


# Bailey & López de Prado (2012): the examples of the paper


def test_two_years_of_monthly_returns() -> None:
    """An annual ratio of 1.585: 0.982 sure if normal, 0.913 with the skewness and the tails that the returns had."""
    normal, real = (Moments(1.585 / MONTHLY, 24, *shape) for shape in ((0, 3), (-2.448, 10.164)))
    assert luck.probabilistic_sharpe(normal) == pytest.approx(0.982, abs=5e-4)
    assert luck.probabilistic_sharpe(real) == pytest.approx(0.913, abs=5e-4)


@pytest.mark.parametrize(
    ("a_year", "skew", "kurtosis", "years"),
    [(DAILY, 0, 3, 2.73), (WEEKLY, 0, 3, 2.83), (MONTHLY, 0, 3, 3.24), (MONTHLY, -0.72, 5.78, 4.99)],
)
def test_years_until_an_annual_ratio_of_two_is_above_one(a_year: float, skew: float, kurtosis: float, years: float) -> None:
    found = Moments(2 / a_year, 1_000, skew, kurtosis)
    assert luck.track_record(found, 1 / a_year) / a_year**2 == pytest.approx(years, abs=5e-3)


# Bailey & López de Prado (2014): the example of the paper, 5 years of daily returns, an annual ratio of 2.5


@pytest.mark.parametrize(
    ("tries", "skew", "kurtosis", "deflated"), [(100, -3, 10, 0.9004), (46, -3, 10, 0.9505), (88, 0, 3, 0.9505)]
)
def test_the_deflated_sharpe_ratio_of_the_paper(tries: int, skew: float, kurtosis: float, deflated: float) -> None:
    found = Moments(2.5 / np.sqrt(250), 1_250, skew, kurtosis)
    assert luck.deflated_sharpe(found, tries, 0.5 / 250) == pytest.approx(deflated, abs=5e-5)


def test_the_best_of_a_hundred_by_luck() -> None:
    assert luck.best_by_luck(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)
    random = np.random.default_rng(1)
    for tries in (2, 10, 200):
        assert luck.best_by_luck(tries, 4.0) == pytest.approx(2 * random.normal(size=(20_000, tries)).max(1).mean(), rel=0.09)


def test_without_a_variance_the_tries_have_that_of_no_skill() -> None:
    found = Moments(0.2, 400, -1, 6)
    random = np.random.default_rng(9).normal(size=(4_000, 400))
    chance = (random.mean(1) / random.std(1, ddof=1)).var()
    assert luck.deflated_sharpe(found, 30) == luck.deflated_sharpe(found, 30, 1 / 399)
    assert chance == pytest.approx(1 / 399, rel=0.08)


def test_the_best_of_many_without_skill_seldom_passes() -> None:
    random, passed = np.random.default_rng(2), 0
    for _ in range(300):
        tried = random.standard_t(4, (20, 250))
        best = tried[np.argmax(tried.mean(1) / tried.std(1))]
        assert luck.probabilistic_sharpe(luck.moments(best)) > 0.5
        passed += luck.deflated_sharpe(luck.moments(best), 20) > 0.95
    assert passed / 300 <= 0.05


@given(RETURNS, st.integers(1, 10_000))
def test_tries_never_help(returns: np.ndarray, tries: int) -> None:
    found = luck.moments(returns)
    assume(np.isfinite(found.sharpe))
    single, sure = luck.deflated_sharpe(found, 1), luck.deflated_sharpe(found, tries)
    assert single == luck.probabilistic_sharpe(found)
    assert 0 <= luck.deflated_sharpe(found, tries + 1) <= sure + BELOW
    assert sure <= single <= 1


@given(RETURNS, st.floats(-0.5, 0.5))
def test_longer_records_are_surer_of_what_they_show(returns: np.ndarray, benchmark: float) -> None:
    found = luck.moments(returns)
    assume(np.isfinite(found.sharpe))
    longer = Moments(found.sharpe, found.days * 4, found.skew, found.kurtosis)
    short, long = (luck.probabilistic_sharpe(its, benchmark) for its in (found, longer))
    assert (long - short) * (found.sharpe - benchmark) >= 0
    assert luck.probabilistic_sharpe(found, benchmark + 0.1) <= short


@given(st.floats(0.01, 1), st.floats(-2, 2), st.floats(0, 10))
def test_the_minimum_track_record_is_where_confidence_is_reached(ratio: float, skew: float, more: float) -> None:
    found = Moments(ratio, 100, skew, 1 + skew**2 + more)
    needed = luck.track_record(found)
    as_long = Moments(ratio, needed, skew, found.kurtosis)  # type: ignore[arg-type]
    assert luck.probabilistic_sharpe(as_long) == pytest.approx(0.95)
    assert luck.track_record(found, ratio) == np.inf


# Overfitting


def test_noise_is_overfitted_half_of_the_time() -> None:
    found = [luck.overfitting(np.random.default_rng(seed).standard_t(4, (240, 12)), 10) for seed in range(40)]
    assert 0.4 < np.mean([its.pbo for its in found]) < 0.6
    assert np.mean([its.slope for its in found]) < 0
    assert 0.3 < np.mean([its.loss for its in found]) < 0.7


def test_what_is_truly_better_stays_better() -> None:
    returns = np.random.default_rng(3).normal(size=(320, 20))
    returns[:, 7] += 0.4
    found = luck.overfitting(returns)
    assert len(found.logits) == 12_870
    assert (found.pbo, found.loss) == (0, 0)


def test_every_split_by_hand() -> None:
    returns = np.random.default_rng(4).normal(size=(23, 4))
    returns[:, 2] = returns[:, 1]  # a tie
    kept, logits, lost = returns[3:].reshape(4, 5, 4), [], []
    for chosen in combinations(range(4), 2):
        here = np.concatenate([kept[block] for block in chosen])
        there = np.concatenate([kept[block] for block in range(4) if block not in chosen])
        ours, theirs = (half.mean(0) / half.std(0, ddof=1) for half in (here, there))
        best = int(np.argmax(ours.round(12)))
        rank = (theirs < theirs[best] - BELOW).sum() + (1 + (np.abs(theirs - theirs[best]) < BELOW).sum()) / 2
        logits.append(np.log(rank / 5 / (1 - rank / 5)))
        lost.append(theirs[best] < 0)
    found = luck.overfitting(returns, 4)
    assert found.logits == pytest.approx(np.array(logits))
    assert 0 in logits  # just the middle counts as overfitted
    assert found.pbo == np.mean(np.array(logits) <= 0)
    assert found.loss == np.mean(lost)


@given(arrays(float, st.tuples(st.integers(8, 30), st.integers(2, 5)), elements=st.integers(-50, 50).map(float)))
@settings(max_examples=50)
def test_overfitting_is_a_share_and_knows_no_scale(returns: np.ndarray) -> None:
    found, larger = luck.overfitting(returns, 4), luck.overfitting(returns * 4, 4)
    assert 0 <= found.pbo <= 1
    assert 0 <= found.loss <= 1
    assert np.isfinite(found.logits).all()
    assert (found.pbo, found.loss) == (larger.pbo, larger.loss)


@pytest.mark.parametrize(("shape", "blocks"), [((100, 3), 5), ((7, 3), 4), ((100, 1), 4), ((100, 3), 0)])
def test_what_cannot_be_split_is_refused(shape: tuple[int, int], blocks: int) -> None:
    with pytest.raises(ValueError, match="blocks"):
        luck.overfitting(np.zeros(shape), blocks)


# What might have happened


@given(arrays(float, st.integers(1, 12), elements=st.floats(-0.5, 0.5)))
@settings(max_examples=30)
def test_the_order_of_trades_moves_the_drawdown_and_nothing_else(returns: np.ndarray) -> None:
    falls, losses = luck.drawdowns_in_any_order(returns, 1), np.minimum(returns, 0)
    assert len(falls) == DRAWS
    assert falls.min() >= -losses.min() - BELOW
    assert falls.max() <= 1 - np.prod(1 + losses) + BELOW
    shuffled = np.random.default_rng(1).permutation(returns)
    assert np.prod(1 + shuffled) == pytest.approx(np.prod(1 + returns))


def test_the_worst_order_is_all_losses_in_a_row() -> None:
    falls = luck.drawdowns_in_any_order(np.array([0.5, 0.5, 0.5, -0.1, -0.2]), 1)
    assert set(falls.round(9)) == {0.2, 0.28}
    assert (falls > 0.25).mean() == pytest.approx(2 / 5, abs=0.06)


COSTS = Costs(fee=0.001, slippage=0.0005, funding="both", funding_rate=0.002)


def simulated(costs: Costs) -> tuple[Outcomes, Columns]:
    """Trades of the engine on a random walk, up to four hours each, as ``Outcomes`` and as the engine tells them; both sides."""
    random = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(random.normal(size=40_000) / 1_000))
    opens = np.append(close[0], close[:-1])
    candles = {"open": opens, "high": np.maximum(opens, close) + 0.1, "low": np.minimum(opens, close) - 0.1, "close": close}
    candles |= {"funding": np.where(np.arange(40_000) % 480 == 0, 0.002, 0.0), "quote_volume": np.full(40_000, 1e6)}
    side = random.integers(-1, 2, 40_000)
    orders = Orders(side, close - side, close + side, np.full(40_000, 0.5))
    run = simulate(candles, orders, costs, 240, 10_000.0)
    return _traded({"close": close, "timestamp": np.arange(40_000) * MINUTE_MS}, run, costs, 10_000.0).outcomes, run.trades


@pytest.mark.parametrize("more", [{}, {"maker_fee": 0.0002}, {"maker_fee": 0.0, "impact": 0.01, "latency": 2}])
def test_net_and_account_are_what_the_engine_pays(monkeypatch: pytest.MonkeyPatch, more: dict[str, float]) -> None:
    costs = replace(COSTS, **more)
    its, trades = simulated(costs)
    assert len(its.side) > 100
    assert its.resting.any()
    assert (trades["funding"] > 0).any()
    assert (trades["funding"] < 0).any()
    assert 1e4 * its.net(costs, costs.slippage, costs.slippage) == pytest.approx(trades["pnl_bps"])
    monkeypatch.setattr(luck, "SLIPPAGE_DRAWN", (costs.slippage, costs.slippage))
    account = trades["equity"][-1] / 10_000 - 1
    assert luck.returns_by_slippage(its, costs, 1) == pytest.approx(np.full(DRAWS, account))


@pytest.mark.parametrize("more", [{}, {"funding": "shorts"}, {"maker_fee": 0.0002}])
def test_at_the_break_even_fee_the_engine_makes_nothing(more: dict[str, float]) -> None:
    costs = replace(COSTS, **more)
    fee = float(luck.ratio(simulated(costs)[0].break_even(costs).sum(0)[None])[0])
    assert simulated(replace(costs, fee=fee))[1]["pnl_bps"].mean() == pytest.approx(0, abs=1e-9)
    assert fee < costs.fee  # a random walk does not pay its costs


def outcomes(side: np.ndarray, moved: np.ndarray) -> Outcomes:
    """Trades without funding that left at the market, of 4 % of the equity each."""
    return Outcomes(side, moved, np.full(len(side), 0.04), np.zeros(len(side), bool), np.zeros(len(side)))


@pytest.mark.parametrize(("side", "moved", "fee"), [(1, 1.01, 0.01 / 2.01), (-1, 0.99, 0.01 / 1.99)])
def test_the_break_even_fee_of_one_trade(side: int, moved: float, fee: float) -> None:
    found = outcomes(np.array([side]), np.array([moved])).break_even(Costs(fee=0.1, slippage=0.0))
    assert luck.ratio(found)[0] == pytest.approx(fee)


def test_drawn_slippage_lies_between_its_bounds() -> None:
    random = np.random.default_rng(6)
    its, costs = outcomes(random.choice([-1, 1], 200), 1 + random.normal(size=200) / 500), Costs(fee=0.001, slippage=0.0)
    found = luck.returns_by_slippage(its, costs, 1)
    at = [np.prod(1 + its.size * its.net(costs, slipped, slipped)) - 1 for slipped in (0.001, 0.003, 0.005)]
    assert at[0] > found.max()
    assert found.min() > at[2]
    assert np.median(found) == pytest.approx(at[1], rel=0.02)
    assert np.array_equal(found, luck.returns_by_slippage(its, costs, 1))


def test_of_very_many_trades_there_are_fewer_draws() -> None:
    its = outcomes(np.ones(25_000, int), np.ones(25_000))
    fewer = luck.MOST_DRAWN // 25_000
    assert len(luck.returns_by_slippage(its, COSTS, 1)) == len(luck.drawdowns_in_any_order(np.zeros(25_000), 1)) == fewer < DRAWS


def test_turnover_by_hand() -> None:
    equity = np.repeat([1_000.0, 2_000.0], 2 * DAY_MINUTES)
    sums = luck.turnover_sums(np.array([5, 7, 7, 4_000]), np.array([100, 110, 50, 40]), equity)
    assert luck.ratio(sums.sum(0)[None])[0] == pytest.approx(300 / 1_500 / 4)
    assert (sums[5, 0], sums[7, 0], sums[4_000, 0]) == (100, 160, 40)


# Probabilities


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60)
def test_the_parts_of_the_brier_score_make_it_up(rows: list[tuple[int, bool]]) -> None:
    probability, happened = np.array([row[0] / 20 for row in rows]), np.array([row[1] for row in rows])
    found = luck.calibration(probability, happened, np.arange(len(rows)) * MINUTE_MS, 1)
    assert found.brier == pytest.approx(np.mean((probability - happened) ** 2))
    assert found.reliability - found.resolution + found.uncertainty + found.within == pytest.approx(found.brier)
    assert found.n.sum() == len(rows)
    assert found.happened @ found.n == pytest.approx(happened.sum())
    assert 0 <= found.error <= 1


def test_whose_word_can_be_taken() -> None:
    random = np.random.default_rng(7)
    probability = random.beta(2, 5, 20_000)
    happened, stamps = random.random(20_000) < probability, np.arange(20_000) * 3 * MINUTE_MS
    true, sure = (luck.calibration(said, happened, stamps, 1) for said in (probability, probability**0.25))
    assert true.error < 0.015
    assert ((true.low <= true.said) & (true.said <= true.high)).mean() >= 0.8
    assert sure.error == pytest.approx(np.mean(probability**0.25 - probability), abs=0.01)
    assert sure.resolution == pytest.approx(true.resolution)  # the same order knows as much
    assert sure.reliability > 100 * true.reliability
    for hits, n, low, high in zip(true.happened * true.n, true.n, true.low, true.high, strict=True):
        least = wilson(hits, n)
        assert low <= least[0] < least[1] <= high


def test_one_constant_probability_is_one_bin() -> None:
    happened = np.arange(100) < 30
    found = luck.calibration(np.full(100, 0.5), happened, np.arange(100) * MINUTE_MS, 1)
    assert found.n.tolist() == [100]
    assert (found.error, found.reliability) == (pytest.approx(0.2), pytest.approx(0.04))


def test_the_surest_rows_are_worth_what_they_are_worth() -> None:
    random = np.random.default_rng(8)
    rows = 20_000
    score = random.permutation(rows).astype(float)
    net = random.normal(size=rows) + score / rows - 0.5
    found = luck.selectivity(score, net, np.arange(rows) * 10 * MINUTE_MS, 1)
    assert found["coverage"] == pytest.approx(np.array(luck.COVERAGES))
    assert found["n"].tolist() == [20_000, 10_000, 4_000, 2_000, 1_000, 400, 200]
    for at, threshold in enumerate(found["threshold"]):
        taken = net[score >= threshold]
        assert found["mean_net"][at] == pytest.approx(taken.mean())
        assert found["win_rate"][at] == pytest.approx((taken > 0).mean())
        assert found["win_rate_low"][at] <= found["win_rate"][at] <= found["win_rate_high"][at]
    truth = (1 - found["coverage"]) / 2
    assert ((found["mean_net_low"] <= truth) & (truth <= found["mean_net_high"])).sum() >= 5


def test_equal_scores_stay_together() -> None:
    score, net = np.array([1.0, 1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0, -4.0])
    found = luck.selectivity(score, net, np.arange(4) * DAY_MS, 1)
    assert found["n"].tolist() == [4, 4, 1, 1, 1, 1, 1]
    assert found["coverage"].tolist() == [1, 1, 0.25, 0.25, 0.25, 0.25, 0.25]
    assert len(luck.selectivity(np.zeros(0), np.zeros(0), np.zeros(0), 1)["n"]) == 0
