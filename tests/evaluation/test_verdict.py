"""The verdict on markets whose truth is known: never an edge by luck more often than it may, a planted one found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modules.evaluation.verdict import EDGE, IDLE, LEAST_DAYS, LEAST_LOSSES, LEAST_TRADES, LOSES, LUCK, SURE, verdict

SEEDS = 100
BPS = 1e-4
OUTCOMES = {
    "fat tails": lambda random, count: random.standard_t(3, count) / np.sqrt(3),
    "stop and target": lambda random, count: np.where(random.random(count) < 0.4, 3, -2) / np.sqrt(6),
    "small wins, rare losses": lambda random, count: np.where(random.random(count) < 0.9, 1, -9) / 3,
    "small losses, rare wins": lambda random, count: np.where(random.random(count) < 0.1, 9, -1) / 3,
}
"""What a trade brings without an edge: mean 0, variance 1."""


def record(
    kind: str, seed: int, days: int = 60, trades_a_day: float = 4, edge: float = 0.0, costs: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Daily returns and the trades behind them, in bps of the equity. Volatility stays high after a wild day. ``edge`` and
    ``costs`` of a trade are in its standard deviations."""
    random = np.random.default_rng([seed, *kind.encode()])
    variance, returns, pnl = 1.0, [], []
    for count in random.poisson(trades_a_day, days):
        outcomes = np.sqrt(variance) * OUTCOMES[kind](random, count) + edge - costs
        wild = min(np.sum(outcomes**2) / max(trades_a_day, 1), 10)
        variance = 0.05 + 0.15 * wild + 0.8 * variance
        returns.append(outcomes.sum() * BPS)
        pnl += outcomes.tolist()
    return np.array(returns), np.array(pnl)


def rate(words: str, kind: str, seeds: int = SEEDS, tries: int = 1, **more: float) -> float:
    return float(np.mean([verdict(*record(kind, seed, **more), tries, 1).words == words for seed in range(seeds)]))


@pytest.mark.parametrize("kind", OUTCOMES)
@pytest.mark.parametrize(("days", "trades_a_day"), [(30, 12), (90, 6)])
def test_luck_is_seldom_called_an_edge(kind: str, days: int, trades_a_day: float) -> None:
    assert rate(EDGE, kind, days=days, trades_a_day=trades_a_day) <= 0.05


def test_small_wins_alone_are_no_edge_before_losses_were_seen() -> None:
    found = []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        pnl = random.uniform(0.5, 1.5, (30, 2)) * np.where(random.random((30, 2)) < 0.97, 1, -97 / 3)
        found.append(verdict(pnl.sum(1) * BPS, pnl.ravel(), 1, 1))
    by_figures = np.mean([its.low > 0 and its.deflated > SURE for its in found])
    assert by_figures > 0.1
    assert not any(its.words == EDGE for its in found)


def test_the_luckiest_of_many_is_no_edge_once_all_are_counted() -> None:
    naive = counted = 0
    for market in range(20):
        tries = [record("fat tails", 1_000 + 20 * market + k) for k in range(20)]
        best = max(tries, key=lambda its: its[0].mean() / its[0].std())
        naive += verdict(*best, 1, 1).words == EDGE
        counted += verdict(*best, len(tries), 1).words == EDGE
    assert naive >= 5
    assert counted <= 1


@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_planted_edge_is_found(kind: str) -> None:
    assert rate(EDGE, kind, 30, tries=20, days=100, trades_a_day=6, edge=0.35) >= 0.9


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_edge_that_costs_eat_up_is_none(kind: str) -> None:
    assert rate(EDGE, kind, edge=0.35, costs=0.35) <= 0.05
    assert rate(LOSES, kind, 30, days=100, trades_a_day=6, edge=0.35, costs=0.7) >= 0.9


def test_no_trade_is_its_own_sentence() -> None:
    found = verdict(np.zeros(313), np.zeros(0), 40, 1)
    assert found.words == IDLE
    assert found.why == "Not one trade on 313 UTC days: nothing was earned and nothing is proven."
    assert np.isnan([found.mean, found.low, found.high, found.deflated]).all()


def test_the_sentence_tells_the_figures() -> None:
    returns, pnl = record("stop and target", 1, 120, 6, edge=0.4)
    found = verdict(returns, pnl, 1_234, 1)
    assert found.words == EDGE
    assert found.why == (
        f"Mean net {1e4 * returns.mean():.2f} bps of the equity a day (95 % {found.low:.2f} to {found.high:.2f}) over 120 days"
        f" with {len(pnl)} trades, deflated Sharpe ratio {found.deflated:.3f} after 1,234 tries: the whole interval is above"
        " zero and the deflated Sharpe ratio above 0.95."
    )
    assert "after 1 try: the whole interval is below zero." in verdict(-returns, -pnl, 1, 1).why


@pytest.mark.parametrize(
    ("days", "trades", "losses", "told"),
    [
        (LEAST_DAYS - 1, LEAST_TRADES, LEAST_LOSSES, "only 19 days on which the account changed (20 are asked for)."),
        (LEAST_DAYS, LEAST_TRADES - 1, LEAST_LOSSES, "only 49 trades (50 are asked for)."),
        (
            LEAST_DAYS,
            LEAST_TRADES,
            LEAST_LOSSES - 1,
            "only 29 losing trades, too few to know what a loss costs (30 are asked for).",
        ),
        (LEAST_DAYS, LEAST_TRADES, LEAST_LOSSES, "above 0.95."),
    ],
)
def test_a_short_record_is_no_edge_however_good(days: int, trades: int, losses: int, told: str) -> None:
    returns = np.concatenate([np.zeros(10), np.linspace(0.9, 1.1, days)])
    found = verdict(returns, np.where(np.arange(trades) < losses, -1, 5), 1, 1)
    assert found.why.endswith(told)
    assert found.words == (EDGE if told == "above 0.95." else LUCK)


@pytest.mark.parametrize("returns", [[0.5], [0.1, 0.1, 0.1, 0.1], [0.0] * 50])
def test_what_cannot_be_judged_is_luck(returns: list[float]) -> None:
    found = verdict(np.array(returns), np.array([1.0, -0.5]), 3, 1)
    assert found.words == LUCK
    assert "deflated Sharpe ratio unknown after 3 tries" in found.why
    assert found.why.endswith("the deflated Sharpe ratio is not above 0.95.")


@given(
    arrays(float, st.integers(1, 40), elements=st.floats(-0.1, 0.12).map(lambda value: round(value, 5))),
    arrays(float, st.integers(0, 120), elements=st.floats(-5, 5)),
    st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_the_words_follow_from_the_figures(returns: np.ndarray, pnl: np.ndarray, tries: int) -> None:
    found = verdict(returns, pnl, tries, 1)
    assert (found.words == IDLE) == (len(pnl) == 0)
    assert (found.words == LOSES) == (len(pnl) > 0 and found.high < 0)
    long = len(pnl) >= LEAST_TRADES and (pnl < 0).sum() >= LEAST_LOSSES and np.count_nonzero(returns) >= LEAST_DAYS
    assert (found.words == EDGE) == (long and found.low > 0 and found.deflated > SURE)
    assert found.words in (EDGE, LUCK, LOSES, IDLE)
    if found.words == LUCK:
        assert verdict(returns, pnl, tries + 10, 1).words == LUCK


def test_who_seldom_trades_loses_too() -> None:
    random = np.random.default_rng(5)
    returns = np.where(random.random(300) < 0.05, random.normal(0, 2e-3, 300), 0.0)
    pnl = random.normal(0, 20, 40)
    assert verdict(returns, pnl, 1, 7).words == LUCK
    told = verdict(returns, pnl, 1, 7, (-40.0, -20.0))
    assert told.words == LOSES
    assert told.why.endswith("the mean net of a trade is below zero, 95 % -40.0 to -20.0 bps.")
    assert verdict(returns, pnl, 1, 7, (-40.0, 1.0)).words == LUCK
