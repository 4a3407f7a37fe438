"""The engine against the paper executor, candle by candle, against a plain loop, and its laws on candles made by chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.engine import crosses, differences, engine, plain_loop, told
from modules.core.settings import Costs
from modules.core.tables import Columns
from modules.core.words import BUY, NEUTRAL, SELL
from modules.evaluation.engine import PRICES, Orders, Simulation, simulate
from modules.m6_executor.model import Account, Candle, Decision, Trade, step
from tests.m1_data_engine.market import real_candles

CAPITAL = 10_000.0
WORDS = {0: NEUTRAL, 1: BUY, -1: SELL}
SAME = ("entry", "exit", "exit_reason", "quantity", "pnl", "pnl_bps", "costs", "funding", "equity")
KNOWN = (*PRICES, "quote_volume", "funding")


def made(rows: int, seed: int, jump: float, density: float, reach: float) -> tuple[Columns, Orders]:
    """Candles with gaps on a coarse grid, so that prices are often reached exactly, some without volume, some with funding
    due at their open, and orders, some of them unfit."""
    random = np.random.Generator(np.random.PCG64(seed))

    def grid(values: np.ndarray) -> np.ndarray:
        return np.maximum(np.round(values * 2) / 2, 0.5)

    opened = grid(100 * np.exp(np.cumsum(random.normal(0, jump, rows))))
    close = grid(opened * np.exp(random.normal(0, jump / 2, rows)))
    high = grid(np.maximum(opened, close) * (1 + random.exponential(jump / 2, rows)))
    low = grid(np.minimum(opened, close) * (1 - np.minimum(random.exponential(jump / 2, rows), 0.9)))
    high, low = np.maximum(high, np.maximum(opened, close)), np.minimum(low, np.minimum(opened, close))
    side = np.where(random.random(rows) < density, random.choice([-1, 1], rows), 0)
    stop, target = (grid(close * (1 + sign * side * reach * random.random(rows))) for sign in (-1, 1))
    stop[random.random(rows) < 0.03] = np.nan
    size = random.choice([0.0, 0.02, 0.5, 1.0], rows, p=[0.04, 0.32, 0.32, 0.32])
    volume = np.where(random.random(rows) < 0.1, 0.0, random.exponential(30_000, rows))
    funding = np.where(random.random(rows) < 0.2, random.normal(0, 0.001, rows), 0.0)
    candles = dict(zip(KNOWN, (opened, high, low, close, volume, funding), strict=True))
    return candles, Orders(side, stop, target, size)


def stepped(
    candles: Columns, orders: Orders, costs: Costs, horizon: int, reverse: bool
) -> tuple[list[Trade], np.ndarray, np.ndarray]:
    """Trades, equity and coins at each close by the executor; a candle's row is its stamp."""
    account, trades, equity, coins = Account(CAPITAL), [], [], []
    prices = zip(*(candles[name].tolist() for name in KNOWN), strict=True)
    said = zip(orders.side.tolist(), orders.stop.tolist(), orders.target.tolist(), orders.size.tolist(), strict=True)
    for row, (candle, (side, stop, target, size)) in enumerate(zip(prices, said, strict=True)):
        decision = Decision(row, WORDS[side], stop, target, size, 1.0, "", "")
        done = step(account, Candle(row, *candle), decision, costs, horizon, reverse)
        account = done.account
        trades += done.trades
        equity.append(account.equity(candle[3]))
        coins.append(account.coins)
    return trades, np.array(equity), np.array(coins)


def assert_same(candles: Columns, orders: Orders, costs: Costs, horizon: int | None, reverse: bool = False) -> int:
    """Engine and executor agree to the bit; the number of trades."""
    found = simulate(candles, orders, costs, horizon, CAPITAL, reverse)
    trades, equity, coins = stepped(candles, orders, costs, horizon or 10**9, reverse)
    assert found.trades["entered"].tolist() == [trade.timestamp for trade in trades]
    assert found.trades["exited"].tolist() == [trade.exit_timestamp for trade in trades]
    assert found.trades["side"].tolist() == [1 if trade.side == "LONG" else -1 for trade in trades]
    for name in SAME:
        assert found.trades[name].tolist() == [getattr(trade, name) for trade in trades], name
    assert found.equity(candles["close"]).tolist() == equity.tolist()
    assert found.held(len(coins)).tolist() == coins.tolist()
    return len(trades)


CASES = st.tuples(
    st.integers(0, 150),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.002, 0.02, 0.2, 0.8]),
    st.sampled_from([0.02, 0.3, 1.0]),
    st.sampled_from([0.01, 0.1, 0.9]),
)
PLAIN = {"fee": st.sampled_from([0.0, 0.001, 0.05]), "slippage": st.sampled_from([0.0, 0.0005, 0.02])}
COSTS = st.one_of(
    st.builds(Costs, **PLAIN),
    st.builds(
        Costs,
        **PLAIN,
        maker_fee=st.sampled_from([-1.0, 0.0, 0.0002]),
        impact=st.sampled_from([0.0, 0.001, 0.1]),
        volume_share=st.sampled_from([0.0, 0.01, 1.0]),
        latency=st.integers(0, 3),
        funding=st.sampled_from(["off", "shorts", "both"]),
    ),
)
HORIZONS = st.one_of(st.none(), st.integers(1, 20))


@settings(max_examples=400, deadline=None)
@given(CASES, COSTS, HORIZONS, st.booleans())
def test_the_engine_trades_as_the_executor_to_the_bit(case, costs: Costs, horizon: int | None, reverse: bool) -> None:
    assert_same(*made(*case), costs, horizon, reverse)


@pytest.mark.parametrize(
    ("density", "reach", "horizon", "least"),
    [(1.0, 0.01, 15, 1_000), (1.0, 0.9, 15, 1_000), (1.0, 0.9, None, 1), (0.01, 0.05, None, 20), (0.2, 0.02, 1, 500)],
)
def test_many_candles_are_traded_as_few_are(density: float, reach: float, horizon: int | None, least: int) -> None:
    """More orders than one batch holds, and trades longer than one block: short ones, long ones, sparse and dense."""
    assert assert_same(*made(20_000, 5, 0.003, density, reach), Costs(fee=0.0001, slippage=0.0), horizon) >= least


@pytest.mark.parametrize(("density", "reach", "horizon"), [(1.0, 0.01, 3), (0.05, 0.05, 40)])
def test_many_candles_with_every_option_on(density: float, reach: float, horizon: int) -> None:
    costs = Costs(fee=1e-4, slippage=1e-4, maker_fee=0.0, impact=2e-4, volume_share=0.3, latency=2, funding="both")
    candles, orders = made(20_000, 5, 0.003, density, reach)
    assert assert_same(candles, orders, costs, horizon, reverse=True) >= 500
    trades = simulate(candles, orders, costs, horizon, CAPITAL, reverse=True).trades
    assert set(trades["exit_reason"]) == {"stop_loss", "take_profit", "time_exit", "reversal"}
    assert np.count_nonzero(trades["funding"]) > 100


def worsened(price: np.ndarray, direction: np.ndarray, notional: np.ndarray, volume: np.ndarray, costs: Costs) -> np.ndarray:
    """Fills of orders of that size; ``direction`` +1 buys."""
    with np.errstate(divide="ignore"):
        moved = np.minimum(costs.impact * np.sqrt(notional / volume), 0.1) if costs.impact else 0.0
    return price * (1 + direction * (costs.slippage + moved))


def laws(found: Simulation, candles: Columns, costs: Costs) -> None:
    """What holds of any simulation."""
    trades, close, volume = found.trades, candles["close"], candles["quote_volume"]
    at, out, side, quantity = (trades[name] for name in ("entered", "exited", "side", "quantity"))
    assert (trades["decided"] == at - 1 - costs.latency).all()
    assert (at <= out).all()
    assert (out[:-1] <= at[1:]).all()
    for rows, fill, sign in ((at, trades["entry"], 1), (out, trades["exit"], -1)):
        # An entry's impact is that of what it paid, an exit's that of what it was worth.
        low, high = (
            worsened(price, sign * side, quantity * (fill if sign > 0 else price), volume[rows], costs)
            for price in (candles["low"][rows], candles["high"][rows])
        )
        assert (fill <= high * (1 + 1e-12)).all()
        assert (fill >= low * (1 - 1e-12)).all()
    if costs.volume_share:
        assert (quantity * trades["entry"] <= costs.volume_share * volume[at] * (1 + 1e-12)).all()
    scale = CAPITAL + np.abs(trades["pnl"]).sum() + np.abs(trades["costs"]).sum()
    leaving = np.where(trades["exit_reason"] == "take_profit", costs.resting_fee, costs.fee)
    fees = quantity * (costs.fee * trades["entry"] + leaving * trades["exit"])
    gross = quantity * side * (trades["exit"] - trades["entry"])
    np.testing.assert_allclose(trades["pnl"], gross - fees - trades["funding"], atol=1e-9 * scale)
    assert (fees >= 0).all()
    assert (trades["costs"] - trades["funding"] >= fees - 1e-9 * scale).all()
    np.testing.assert_allclose(CAPITAL + np.cumsum(trades["pnl"]), trades["equity"], atol=1e-9 * scale)
    equity, held = found.equity(close), found.held(len(close))
    still = np.setdiff1d(np.arange(1, len(close)), found.rows)
    np.testing.assert_allclose(equity[still] - equity[still - 1], (held * np.diff(close, prepend=0))[still], atol=1e-9 * scale)
    # What was paid in funding is what those who held coins over each candle's open owed.
    over = np.append(0, held[:-1])
    pays = {"off": 0, "shorts": over < 0, "both": 1}[costs.funding]
    owed = np.append(0, np.cumsum(over * pays * candles["open"] * candles["funding"]))
    np.testing.assert_allclose(trades["funding"], owed[out + 1] - owed[at + 1], atol=1e-9 * scale)
    if len(close) and held[-1] == 0:
        assert equity[-1] == (trades["equity"][-1] if len(at) else CAPITAL)


@settings(max_examples=200, deadline=None)
@given(CASES, COSTS, HORIZONS, st.booleans(), st.sampled_from([None, 0.01]))
def test_the_accounts_add_up_whatever_the_candles(case, costs, horizon, reverse, coins) -> None:
    candles, orders = made(*case)
    laws(simulate(candles, orders, costs, horizon, CAPITAL, reverse, coins), candles, costs)


@settings(max_examples=100, deadline=None)
@given(st.integers(70, 900), st.integers(0, 2**32 - 1))
def test_reversals_are_those_of_a_plain_loop(rows: int, seed: int) -> None:
    candles, _ = made(rows, seed, 0.003, 0.0, 0.1)
    orders = crosses(candles)
    found, looped = told(engine(candles, orders)), plain_loop(candles, orders)
    for name in ("entered", "exited", "side", "entry", "exit"):
        assert found[name].tolist() == looped[name].tolist(), name
    np.testing.assert_allclose(found["net"], looped["net"], atol=1e-12)


def test_a_difference_from_another_engine_is_explained_or_told() -> None:
    """One trade that ended in its entry's candle, one that was reversed, and what nothing explains."""
    rows = {"entered": [1, 3, 5, 8], "exited": [1, 5, 7, 9], "side": [1, 1, -1, 1], "entry": [9.0] * 4, "exit": [8.0] * 4}
    ours = {name: np.array(values) for name, values in rows.items()}

    def counted(**changed: list) -> list[int]:
        theirs = ours | {name: np.array(values) for name, values in changed.items()}
        return list(differences(ours, theirs).values())

    assert counted() == [4, 0, 0, 0, 0]
    assert counted(exited=[2, 5, 7, 9]) == [3, 1, 0, 0, 0]
    assert counted(exit=[8.0, 8.5, 8.0, 8.0]) == [3, 0, 1, 0, 0]
    assert counted(exit=[8.0, 8.0, 8.5, 8.0])[-1] == 1
    assert counted(exited=[1, 5, 6, 9])[-1] == 1
    assert counted(side=[1, 1, 1, 1])[-1] == 1
    without = {name: values[[0, 1, 3]] for name, values in ours.items()}
    assert list(differences(ours, without).values()) == [3, 0, 0, 1, 0]
    assert list(differences(without, ours).values()) == [3, 0, 0, 0, 1]
    assert list(differences(ours, {name: values[1:] for name, values in ours.items()}).values()) == [3, 0, 0, 0, 1]


def test_a_reversal_closes_and_opens_at_the_same_open() -> None:
    flat = np.full(6, 100.0)
    opened = np.array([100, 101, 102, 103, 104, 105.0])
    candles = {"open": opened, "high": flat + 9, "low": flat - 9, "close": flat}
    side = np.array([1, 1, -1, 0, 0, 1])
    orders = Orders(side, flat - side * 20, flat + side * 20, np.ones(6))
    free = Costs(fee=0.0, slippage=0.0)
    found = simulate(candles, orders, free, None, CAPITAL, reverse=True)
    assert found.trades["exit_reason"].tolist() == ["reversal"]
    assert (found.trades["entered"][0], found.trades["exited"][0]) == (1, 3)
    assert found.trades["exit"][0] == 103
    assert np.sign(found.held(6)).tolist() == [0, 1, 1, -1, -1, -1]
    ignored = simulate(candles, orders, free, None, CAPITAL)
    assert np.sign(ignored.held(6)).tolist() == [0, 1, 1, 1, 1, 1]
    assert len(ignored.trades["side"]) == 0
    both = simulate(candles, orders, free, 2, CAPITAL, reverse=True)
    assert both.trades["exit_reason"].tolist() == ["reversal", "time_exit"]
    assert np.sign(both.held(6)).tolist() == [0, 1, 1, -1, -1, 0]


def test_the_rule_on_which_five_engines_agree() -> None:
    """EMA 20/60 crosses on the last 200,000 candles of the real history: 3,832 trades at -0.1984 % each."""
    candles = real_candles(10**7, skip=337_120)
    assert len(candles["close"]) == 200_000
    trades = engine(candles, crosses(candles)).trades
    assert len(trades["pnl"]) == 3_832
    assert round(trades["pnl_bps"].mean() / 100, 4) == -0.1984
    assert round(trades["pnl"].sum()) == -372_455
