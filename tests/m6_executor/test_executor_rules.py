"""The executor's rules on candles made by hand, and its laws on candles made by chance."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.labels import barrier_outcome
from modules.core.settings import Costs, load_settings
from modules.m6_executor.model import ORDERED, Account, Candle, Decision, Trade, judge, step

FREE = Costs(fee=0.0, slippage=0.0)
COSTS = Costs(fee=0.001, slippage=0.0005)
CAPITAL = 10_000.0
QUIET = (100, 101, 99, 100)


def decide(signal="BUY", stop=90.0, target=120.0, size=0.5, timestamp=0):
    return Decision(timestamp, signal, stop, target, size, 0.8, "because", "TREND_UP")


def walk(prices, decisions, costs=FREE, horizon=15, reverse=False):
    """Steps over (open, high, low, close[, quote_volume[, funding]]) rows; ``decisions`` by row."""
    account, steps = Account(CAPITAL), []
    for at, row in enumerate(prices):
        steps.append(step(account, Candle(at * 60_000, *map(float, row)), decisions.get(at), costs, horizon, reverse))
        account = steps[-1].account
    return steps


def only_trade(prices, decision, costs=FREE, horizon=15) -> Trade:
    (trade,) = (trade for done in walk(prices, {0: decision}, costs, horizon) for trade in done.trades)
    return trade


def test_a_decision_fills_at_the_next_open_with_slippage_and_fee():
    ordered, filled = walk([QUIET, (102, 103, 101, 102)], {0: decide()}, COSTS)
    assert ordered.account == Account(CAPITAL, order=decide())
    position = filled.account.position
    assert position.entry == pytest.approx(102 * 1.0005)
    assert position.quantity == pytest.approx(0.5 * CAPITAL / (102 * 1.0005))
    assert filled.account.cash == pytest.approx(CAPITAL - 5_000 - 5)
    assert filled.account.order is None


def test_a_short_is_credited_and_owes_coins():
    filled = walk([QUIET, QUIET], {0: decide("SELL", 110, 80)}, COSTS)[-1].account
    assert filled.position.entry == pytest.approx(100 * 0.9995)
    assert filled.coins < 0
    assert filled.cash == pytest.approx(CAPITAL + 5_000 - 5)
    assert filled.equity(100) == pytest.approx(CAPITAL - 5 - 5_000 * (100 / 99.95 - 1))


def test_full_size_leaves_room_for_the_fee():
    filled = walk([QUIET, QUIET], {0: decide(size=1.0)}, COSTS)[-1].account
    assert filled.cash == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("signal", "stop", "target", "row", "price", "reason"),
    [
        ("BUY", 95, 105, (100, 104, 95, 100), 95, "stop_loss"),
        ("BUY", 95, 105, (100, 105, 96, 100), 105, "take_profit"),
        ("BUY", 95, 105, (100, 106, 94, 100), 95, "stop_loss"),
        ("BUY", 95, 105, (93, 94, 92, 93), 93, "stop_loss"),
        ("BUY", 95, 105, (107, 108, 106, 107), 107, "take_profit"),
        ("SELL", 105, 95, (100, 105, 96, 100), 105, "stop_loss"),
        ("SELL", 105, 95, (100, 104, 95, 100), 95, "take_profit"),
        ("SELL", 105, 95, (100, 106, 94, 100), 105, "stop_loss"),
        ("SELL", 105, 95, (107, 108, 106, 107), 107, "stop_loss"),
        ("SELL", 105, 95, (93, 94, 92, 93), 93, "take_profit"),
    ],
)
def test_stop_and_target(signal, stop, target, row, price, reason):
    """Reached exactly, both in one candle (the stop wins), and a gap beyond either, two candles after the entry."""
    trade = only_trade([QUIET, QUIET, QUIET, row], decide(signal, stop, target))
    assert (trade.exit, trade.exit_reason, trade.exit_timestamp) == (price, reason, 180_000)
    slipped = only_trade([QUIET, QUIET, QUIET, row], decide(signal, stop, target), COSTS)
    assert slipped.exit == pytest.approx(price * (1 - 0.0005 if signal == "BUY" else 1 + 0.0005))


def test_the_candle_of_the_entry_may_end_the_trade():
    trade = only_trade([QUIET, (100, 104, 94, 100)], decide(stop=95, target=105))
    assert (trade.timestamp, trade.exit_timestamp, trade.exit) == (60_000, 60_000, 95)


@pytest.mark.parametrize("horizon", [1, 3])
def test_time_exit_at_the_open_after_the_horizon(horizon):
    prices = [QUIET] * (horizon + 1) + [(103, 200, 1, 103)]
    trade = only_trade(prices, decide(), horizon=horizon)
    assert (trade.exit, trade.exit_reason) == (103, "time_exit")
    assert trade.exit_timestamp - trade.timestamp == horizon * 60_000


def test_a_signal_in_a_position_is_ignored_and_after_the_exit_heard():
    prices = [QUIET] * 3 + [(100, 121, 99, 100), QUIET]
    steps = walk(prices, {at: decide("SELL", 110, 80) if at else decide() for at in range(4)})
    assert [done.verdict for done in steps[:4]] == [ORDERED] + ["ignored: a position is open"] * 2 + [ORDERED]
    assert steps[4].account.coins < 0


def test_no_second_entry_where_the_time_exit_fills():
    """The decision at the last close of a position is ignored, so nothing opens where it exits."""
    steps = walk([QUIET] * 4, {0: decide(), 1: decide(), 2: decide()}, horizon=2)
    (trade,) = steps[3].trades
    assert steps[3].account == Account(trade.equity)


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [
        (decide("NEUTRAL", math.nan, math.nan), ""),
        (decide(stop=math.nan), "refused: stop and target must lie on either side of the close"),
        (decide(target=100.0), "refused: stop and target must lie on either side of the close"),
        (decide("SELL", 90, 120), "refused: stop and target must lie on either side of the close"),
        (decide(size=0.0), "refused: no size"),
        (decide(size=math.nan), "refused: no size"),
    ],
)
def test_what_is_not_ordered(decision, verdict):
    assert judge(Account(CAPITAL), 100.0, decision) == verdict


def test_an_empty_account_orders_nothing():
    assert judge(Account(0.0), 100.0, decide()) == "refused: the account is empty"


def test_the_figures_of_a_trade():
    trade = only_trade([QUIET, QUIET, (100, 111, 99, 110)], decide(target=110.0), COSTS)
    entry, exit_ = 100 * 1.0005, 110 * 0.9995
    quantity = 5_000 / entry
    fees = 0.001 * quantity * (entry + exit_)
    assert trade.pnl == pytest.approx(quantity * (exit_ - entry) - fees)
    assert trade.pnl_bps == pytest.approx(1e4 * trade.pnl / 5_000)
    assert trade.pnl + trade.costs == pytest.approx(quantity * 10)
    assert (trade.side, trade.regime, trade.confidence, trade.reason) == ("LONG", "TREND_UP", 0.8, "because")


def options(**on):
    return replace(FREE, **on)


def test_every_option_is_off_unless_it_is_set():
    """In the file's defaults as in code that names only a fee and slippage."""
    found = load_settings()
    assert found.costs == replace(COSTS, funding_rate=found.costs.funding_rate)
    assert not found.executor.reverses


@pytest.mark.parametrize(("row", "share"), [((100, 121, 99, 100), 0.0002), ((100, 101, 89, 100), 0.001), (QUIET, 0.001)])
def test_only_a_target_is_paid_for_as_a_resting_order(row, share):
    """A target at 120; a stop at 90; a time exit at 100."""
    costs = options(fee=0.001, maker_fee=0.0002)
    trade = only_trade([QUIET, QUIET, row, QUIET], decide(), costs, horizon=2)
    assert trade.costs == pytest.approx(50 * (0.001 * 100 + share * trade.exit))


def test_without_a_maker_fee_of_its_own_a_target_pays_the_fee():
    assert options(fee=0.001).resting_fee == 0.001
    assert options(fee=0.001, maker_fee=0.0).resting_fee == 0


def test_the_impact_grows_with_the_root_of_the_order_over_the_volume():
    """5,000 USD in a candle of 500,000: a hundredth of it, so a tenth of what an order as large as it would add."""
    rows = [(*QUIET, 0), (*QUIET, 500_000), (100, 101, 89, 100, 45e4)]
    trade = only_trade(rows, decide(), options(impact=0.01))
    assert trade.entry == pytest.approx(100 * (1 + 0.001))
    assert trade.exit == pytest.approx(90 * (1 - 0.01 * math.sqrt(trade.quantity * 90 / 45e4)))
    assert trade.pnl + trade.costs == pytest.approx(trade.quantity * (90 - 100))
    both = only_trade(rows, decide(), options(impact=0.01, slippage=0.0005))
    assert both.entry == pytest.approx(100 * (1 + 0.0015))


@pytest.mark.parametrize("volume", [0, 1e-9, 1])
def test_an_exit_in_a_candle_that_hardly_traded_is_bad_but_finite(volume):
    trade = only_trade([(*QUIET, 0), (*QUIET, 1e12), (100, 101, 89, 100, volume)], decide(), options(impact=0.01))
    assert trade.exit == pytest.approx(90 * 0.9)


def test_an_entry_fills_a_share_of_the_volume_and_gives_up_the_rest():
    rows = [(*QUIET, 1e9), (*QUIET, 20_000), (*QUIET, 1e9), (100, 121, 99, 100, 1)]
    steps = walk(rows, {0: decide()}, options(volume_share=0.1))
    assert [done.account.coins for done in steps] == [0, 20, 20, 0]
    assert steps[3].trades[0].quantity == 20  # all of it leaves, whatever the volume


def test_an_entry_into_a_candle_without_volume_is_given_up():
    steps = walk([QUIET, (*QUIET, 0), (*QUIET, 1e9)], {at: decide() for at in range(2)}, options(volume_share=0.1))
    assert [done.verdict for done in steps] == [ORDERED, ORDERED, ""]
    assert [done.account.coins for done in steps] == [0, 0, 50]
    assert steps[1].account.cash == CAPITAL


def test_with_latency_an_order_waits_and_stops_and_exits_do_not():
    rows = [QUIET, (101, 102, 100, 101), (102, 103, 101, 102), (103, 104, 102, 103), (103, 104, 89, 100), QUIET]
    steps = walk(rows, {at: decide(stop=90.0) for at in range(4)}, options(latency=2))
    waiting, held = "ignored: an order is waiting", "ignored: a position is open"
    assert [done.verdict for done in steps[:4]] == [ORDERED, waiting, waiting, held]
    assert steps[3].account.position.entry == 103
    assert steps[3].account.order is None
    (trade,) = steps[4].trades
    assert (trade.exit, trade.exit_reason) == (90, "stop_loss")
    timed = walk([QUIET] * 6, {0: decide()}, options(latency=2), horizon=2)
    assert [len(done.trades) for done in timed] == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("funding", "signal", "paid"),
    [
        ("off", "BUY", 0),
        ("off", "SELL", 0),
        ("shorts", "BUY", 0),
        ("shorts", "SELL", -7.5),
        ("both", "BUY", 7.5),
        ("both", "SELL", -7.5),
    ],
)
def test_funding_is_paid_by_those_who_held_coins_when_it_fell_due(funding, signal, paid):
    """At the entry's own open it is not owed; at the exit's it is. 50 coins at 100 USD: 0.1 % and 0.05 %."""
    rows = [(*QUIET, 0, 0.01), (*QUIET, 0, 0.02), (*QUIET, 0, 0.001), QUIET, (*QUIET, 0, 0.0005), (*QUIET, 0, 0.03)]
    stop, target = (90, 120) if signal == "BUY" else (120, 90)
    steps = walk(rows, {0: decide(signal, stop, target)}, options(funding=funding), horizon=3)
    (trade,) = steps[4].trades
    assert trade.funding == pytest.approx(paid)
    assert trade.costs == trade.funding
    assert trade.pnl == pytest.approx(-paid)
    assert steps[5].account == Account(pytest.approx(CAPITAL - paid))
    assert steps[2].account.equity(100) == pytest.approx(CAPITAL - paid / 1.5)


def test_a_reversing_account_hears_only_a_signal_against_its_position():
    said = {0: decide(), 1: decide(), 2: decide("SELL", 110, 80)}
    rows = [QUIET, QUIET, QUIET, (102, 103, 101, 102), QUIET]
    steps = walk(rows, said, reverse=True)
    assert [done.verdict for done in steps[:3]] == [ORDERED, "ignored: a position is open", ORDERED]
    (trade,) = steps[3].trades
    assert (trade.exit, trade.exit_reason, trade.exit_timestamp) == (102, "reversal", 180_000)
    assert steps[3].account.position.entry == 102
    assert steps[3].account.coins < 0


def test_a_reversal_that_ends_at_once_is_two_trades():
    steps = walk([QUIET, QUIET, (100, 115, 99, 100)], {0: decide(), 1: decide("SELL", 110, 80)}, reverse=True)
    assert [trade.exit_reason for trade in steps[2].trades] == ["reversal", "stop_loss"]
    assert steps[2].account == Account(steps[2].trades[1].equity)


def test_an_order_against_a_position_that_ends_before_it_fills_still_opens_its_own():
    rows = [QUIET, QUIET, QUIET, (100, 121, 99, 100), (100, 101, 99, 100)]
    steps = walk(rows, {0: decide(), 2: decide("SELL", 110, 80)}, options(latency=1), reverse=True)
    assert [trade.exit_reason for trade in steps[3].trades] == ["take_profit"]
    assert steps[4].account.position.order.signal == "SELL"


def test_a_reversal_of_a_position_that_cost_everything_opens_nothing():
    rows = [QUIET, QUIET, QUIET, (400, 400, 400, 400)]
    said = {0: decide("SELL", 1e9, 50, 1.0), 2: decide("BUY", 1, 1e9)}
    steps = walk(rows, said, options(impact=0.001), reverse=True)
    assert steps[3].account.cash < 0
    assert steps[3].account == Account(steps[3].trades[0].equity)


# Prices on a coarse grid, so that touching a stop exactly, gaps and flat candles all come up often.
MOVES = st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.integers(0, 6), st.integers(0, 6))


def candles_of(moves):
    """(N, 4) open, high, low, close from steps of half a dollar: gap, body, upper and lower shadow."""
    rows, close = [], 1_000.0
    for gap, body, up, down in moves:
        opened = max(close + gap / 2, 50.0)
        close = max(opened + body / 2, 50.0)
        rows.append((opened, max(opened, close) + up / 2, min(opened, close) - down / 2, close))
    return np.array(rows)


@given(
    moves=st.lists(MOVES, min_size=4, max_size=30),
    horizon=st.integers(1, 8),
    side=st.sampled_from([-1, 1]),
    atr=st.sampled_from([0.25, 0.5, 1.0, 1.7]),
    stop_atr=st.sampled_from([1.0, 2.0]),
    target_atr=st.sampled_from([1.0, 3.0]),
)
def test_a_trade_earns_what_its_label_says(moves, horizon, side, atr, stop_atr, target_atr):
    """Bit for bit, from every candle on which the label is known, and no trade ends where it is not."""
    prices = candles_of(moves)
    columns = dict(zip(("open", "high", "low", "close"), prices.T, strict=True))
    labels = barrier_outcome(columns, np.full(len(prices), atr), side, stop_atr, target_atr, horizon)
    for at, label in enumerate(labels):
        close = prices[at, 3]
        decision = decide("BUY" if side > 0 else "SELL", close - side * stop_atr * atr, close + side * target_atr * atr)
        trades = [trade for done in walk(prices[at:], {0: decision}, FREE, horizon) for trade in done.trades]
        if np.isnan(label):
            assert all(trade.exit_reason != "time_exit" for trade in trades)
        else:
            assert side * (trades[0].exit / trades[0].entry - 1) == label


DECISIONS = st.one_of(
    st.none(),
    st.tuples(st.sampled_from([-1, 1]), st.integers(1, 8), st.integers(1, 8), st.sampled_from([0.02, 0.5, 1.0])),
)


@given(
    rows=st.lists(st.tuples(MOVES, DECISIONS), min_size=2, max_size=60),
    horizon=st.integers(1, 8),
    costs=st.sampled_from([FREE, COSTS, Costs(fee=0.0, slippage=0.01), Costs(fee=0.02, slippage=0.0)]),
)
def test_the_books_balance(rows, horizon, costs):
    prices = candles_of([moves for moves, _ in rows])
    decisions = {
        at: decide(
            "BUY" if plan[0] > 0 else "SELL",
            prices[at, 3] - plan[0] * plan[1] / 2,
            prices[at, 3] + plan[0] * plan[2] / 2,
            plan[3],
        )
        for at, (_, plan) in enumerate(rows)
        if plan
    }
    earned, held = 0.0, 0
    for at, done in enumerate(walk(prices, decisions, costs, horizon)):
        opened, high, low, close = prices[at]
        account = done.account
        assert not (account.position and account.order)
        assert (done.verdict == "") == (at not in decisions)
        for trade in done.trades:
            side = 1 if trade.side == "LONG" else -1
            before = trade.exit / (1 - side * costs.slippage)
            assert low - 1e-9 <= before <= high + 1e-9
            raw_entry = trade.entry / (1 + side * costs.slippage)
            assert trade.pnl + trade.costs == pytest.approx(side * trade.quantity * (before - raw_entry), abs=1e-6)
            earned += trade.pnl
            assert trade.equity == account.cash
        if account.position:
            if account.position.timestamp == at * 60_000:
                side = account.position.order.side
                assert account.position.entry == pytest.approx(opened * (1 + side * costs.slippage))
                held = 0
            held += 1
            assert account.position.candles == held <= horizon
            unrealised = account.coins * (close - account.position.entry) - account.position.fee
            assert account.equity(close) == pytest.approx(CAPITAL + earned + unrealised, abs=1e-6)
        else:
            assert account.equity(close) == account.cash == pytest.approx(CAPITAL + earned, abs=1e-6)
        assert account.cash > -1e-6
