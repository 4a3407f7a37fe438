"""The trade simulation alone: the rules of ``m6_executor.model.step``, jumping from trade to trade.

A trade's candles do not depend on the account, so they are found first, for many decisions at once: each decision's
next candles are searched in growing blocks for its stop and target. One pass then picks the decisions that are heard
and follows the cash from trade to trade with the executor's own arithmetic, so that every figure is the same to the bit.
"""

from dataclasses import dataclass, fields
from itertools import islice

import numpy as np

from modules.core.settings import Costs
from modules.core.tables import Columns
from modules.m6_executor.model import bought, pays_funding, sold

PRICES = ("open", "high", "low", "close")
STOP, TARGET, TIME, REVERSAL, OPEN, VOID = range(6)
REASONS = np.array(["stop_loss", "take_profit", "time_exit", "reversal", "open"], object)

BLOCK = 16
"""Candles of each trade that are searched first."""
CELLS = 65_536
"""Candles searched in one go, over all trades: what fits a processor's cache."""
LEAST_BATCH, FIRST_BATCH, MOST_BATCH = 64, 1_024, 8_192
"""Decisions whose exits are found in one go. Fewer where most of them fall into one long trade and are ignored."""


@dataclass(frozen=True)
class Orders:
    """What was decided at the close of each of N candles, each (N,): ``side`` +1 long, -1 short, 0 neither; ``stop`` and
    ``target`` in USD; ``size`` as a share of the equity."""

    side: np.ndarray
    stop: np.ndarray
    target: np.ndarray
    size: np.ndarray


@dataclass(frozen=True)
class Simulation:
    """What became of the orders.

    Parameters
    ----------
    trades : the closed trades, (T,) columns: ``decided``, ``entered`` and ``exited`` are rows of the candles; ``side``
        +1 or -1; ``entry``, ``exit`` (fills, USD), ``exit_reason``, ``quantity`` (coins), ``pnl``, ``pnl_bps``,
        ``costs``, ``funding`` and ``equity`` as in ``m6_executor.model.Trade``
    rows : (E,) the candles at which the account changed, ascending: entries, funding, exits
    cash, coins : (E + 1,) USD and signed coins before the first of them and after each
    """

    trades: Columns
    rows: np.ndarray
    cash: np.ndarray
    coins: np.ndarray

    def equity(self, close: np.ndarray) -> np.ndarray:
        """(N,) USD at each close, an open position at that price."""
        at = self._at(len(close))
        return self.cash[at] + self.coins[at] * close

    def held(self, candles: int) -> np.ndarray:
        """(N,) signed coins held at each close."""
        return self.coins[self._at(candles)]

    def _at(self, candles: int) -> np.ndarray:
        return np.searchsorted(self.rows, np.arange(candles), side="right")


@dataclass(frozen=True)
class _Path:
    """The candles and prices (USD, before slippage) of T trades in a row; only the last may still be open."""

    decided: np.ndarray
    entered: np.ndarray
    exited: np.ndarray
    price: np.ndarray
    reason: np.ndarray


def simulate(
    candles: Columns,
    orders: Orders,
    costs: Costs,
    horizon: int | None,
    capital: float,
    reverse: bool = False,
    coins: float | None = None,
) -> Simulation:
    """Take an account through all candles as the paper executor would, row for row.

    Parameters
    ----------
    candles : open, high, low, close, each (N,) USD; ``quote_volume``, (N,) USD, where an impact or a share of the volume is
        asked for; ``funding``, (N,) as ``m6_executor.funding.funding_due`` gives it, where funding is to be paid
    horizon : candles that a position may stay open; None for as long as it takes
    capital : USD at the start
    reverse : an order against the open position closes it where it fills and opens its own there; else it is ignored
    coins : order the value of so many coins each time, whatever the size and the cash; None reads the orders' sizes

    A position still open at the end is in the equity and in no trade. An account without cash opens nothing more.
    """
    names = (*PRICES, *(name for name in ("quote_volume", "funding") if name in candles))
    known = {name: np.asarray(candles[name], float) for name in names}
    path = _path(known, orders, costs, horizon, reverse)
    return _settle(known, orders, path, costs, capital, coins)


def _path(candles: Columns, orders: Orders, costs: Costs, horizon: int | None, reverse: bool) -> _Path:
    """The trades that the orders lead to, without regard to money."""
    last, wait = len(candles["close"]) - 1, 1 + costs.latency
    rows = np.flatnonzero(orders.side[: max(0, last + 1 - wait)])  # later orders never fill
    rows = rows[_orderly(candles["close"], orders, rows)]
    side, stop, target = (values[rows] for values in (orders.side, orders.stop, orders.target))
    entered = rows + wait
    against = _next_against(rows, side, entered, last) if reverse else np.full(len(rows), last)
    turned = np.minimum(against + costs.latency, last)
    until = np.minimum(turned, entered + (horizon - 1) if horizon else last)
    at, size, parts = 0, FIRST_BATCH, [_Path(*(np.zeros(0, kind) for kind in (int, int, int, float, int)))]
    while at < len(rows):
        part = slice(at, at + size)
        exited, price, reason = _exits(candles, side[part], stop[part], target[part], entered[part], until[part], turned[part])
        if costs.volume_share:
            void = costs.volume_share * candles["quote_volume"][entered[part]] <= 0
            exited, reason = np.where(void, entered[part], exited), np.where(void, VOID, reason)
        # An order against the position is heard when it is given, and waits even where the position ends before it fills.
        following = np.searchsorted(rows, np.minimum(exited, against[part])).tolist()
        taken, begin, end = [], at, at + len(following)
        while at < end:
            taken.append(at - begin)
            at = following[at - begin]
        parts.append(_Path(rows[part][taken], entered[part][taken], exited[taken], price[taken], reason[taken]))
        wasted = len(taken) * LEAST_BATCH < size
        size = max(LEAST_BATCH, size // 2) if wasted else min(MOST_BATCH, size * 2)
    filled = np.concatenate([path.reason for path in parts]) != VOID
    names = [field.name for field in fields(_Path)]
    return _Path(*(np.concatenate([getattr(path, name) for path in parts])[filled] for name in names))


def _orderly(close: np.ndarray, orders: Orders, rows: np.ndarray) -> np.ndarray:
    """(K,) bool: the executor would take the order of this row if it were flat and had cash."""
    side, stop, target, size = (values[rows] for values in (orders.side, orders.stop, orders.target, orders.size))
    return (side * (close[rows] - stop) > 0) & (side * (target - close[rows]) > 0) & (size > 0)


def _next_against(rows: np.ndarray, side: np.ndarray, entered: np.ndarray, last: int) -> np.ndarray:
    """(K,) the row of the first order of the other side from the entry's candle on; ``last`` where there is none."""
    turns = np.flatnonzero(side[1:] != side[:-1]) + 1
    heard = np.searchsorted(rows, entered)
    other = np.append(side, 0)[heard] != side
    after = np.append(rows[turns], last)
    return np.where(other, np.append(rows, last)[heard], after[np.searchsorted(turns, heard, side="right")])


def _exits(
    candles: Columns,
    side: np.ndarray,
    stop: np.ndarray,
    target: np.ndarray,
    first: np.ndarray,
    until: np.ndarray,
    turned: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, price before slippage, and reason of K exits; of one that the data does not hold, N, NaN and OPEN."""
    opens, high, low = candles["open"], candles["high"], candles["low"]
    long = side > 0
    row = _reached(high, low, np.where(long, stop, target), np.where(long, target, stop), first, until)
    reached, there = row <= until, row < len(opens)
    row_there = np.where(there, row, 0)
    opened = opens[row_there]
    stopped = np.where(long, low[row_there] <= stop, high[row_there] >= stop)
    worse, better = side * np.minimum(side * stop, side * opened), side * np.maximum(side * target, side * opened)
    price = np.where(there, np.where(reached, np.where(stopped, worse, better), opened), np.nan)
    left = np.where(there, np.where(until == turned, REVERSAL, TIME), OPEN)
    return row, price, np.where(reached, np.where(stopped, STOP, TARGET), left)


def _reached(
    high: np.ndarray, low: np.ndarray, floor: np.ndarray, ceiling: np.ndarray, first: np.ndarray, until: np.ndarray
) -> np.ndarray:
    """(K,) the first row from ``first`` to ``until``, both included, whose low is at the floor or below it or whose high
    is at the ceiling or above it; ``until`` + 1 where there is none."""
    found, width = until + 1, BLOCK
    waiting, at, end = np.arange(len(first)), first, len(high) - 1
    while len(waiting):
        block = np.minimum(at[:, None] + np.arange(width), end)
        hit = (low[block] <= floor[waiting, None]) | (high[block] >= ceiling[waiting, None])
        ahead = hit.argmax(1)
        seen = hit[np.arange(len(hit)), ahead]
        found[waiting[seen]] = np.minimum(at + ahead, until[waiting] + 1)[seen]
        more = ~seen & (at + width <= until[waiting])
        waiting, at = waiting[more], at[more] + width
        width = min(2 * width, max(BLOCK, CELLS // max(1, len(waiting))))
    return found


def _settle(candles: Columns, orders: Orders, path: _Path, costs: Costs, capital: float, coins: float | None) -> Simulation:
    """The money of the trades, computed in the executor's order of operations."""
    side, opened, price = orders.side[path.decided].astype(int), candles["open"][path.entered], path.price
    entry, fill = opened * (1 + side * costs.slippage), price * (1 + -side * costs.slippage)
    share = np.minimum(orders.size[path.decided], 1 / (1 + costs.fee))
    fee, leaving_fee = costs.fee, np.where(path.reason == TARGET, costs.resting_fee, costs.fee)
    times, charged = _charges(candles, side, path, costs)
    dues = zip(candles["open"][charged].tolist(), candles["funding"][charged].tolist() if len(charged) else [], strict=True)
    sized = bool(costs.impact or costs.volume_share)
    if sized:
        volume = np.append(candles["quote_volume"], np.nan)  # an exit behind the last candle never comes
        traded = (opened, volume[path.entered], price, volume[path.exited])
        opened_at, volume_in, left_at, volume_out = (each.tolist() for each in traded)
    columns = (side, share, entry, fill, leaving_fee, times)
    cash, bought_coins, spent, funded = [capital], [], [], []
    for at, (sign, part, into, out, out_fee, due) in enumerate(zip(*(each.tolist() for each in columns), strict=True)):
        before = cash[-1]
        if before <= 0:
            break
        notional = part * before if coins is None else coins * into
        if sized:
            notional, into = bought(sign, opened_at[at], notional, volume_in[at], costs)
        quantity = sign * notional / into
        if sized:
            out = sold(quantity, left_at[at], volume_out[at], costs)
            entry[at], fill[at] = into, out
        cash.append(before - quantity * into - fee * notional)
        paid = 0.0
        for value, rate in islice(dues, due):
            paid += quantity * value * rate
            cash.append(cash[-1] - quantity * value * rate)
        cash.append(cash[-1] + quantity * out - out_fee * abs(quantity) * out)
        bought_coins.append(quantity)
        spent.append(notional)
        funded.append(paid)
    count = len(spent)
    quantity, notional, funding = (np.array(each, float) for each in (bought_coins, spent, funded))
    # Each trade is an entry, its fundings and an exit; the account before the first stands ahead of them all.
    times = times[:count]
    ends, inside = np.cumsum(2 + times), np.repeat(2 * np.arange(count) + 1, times)
    rows = np.stack([path.entered[:count], path.exited[:count]], 1).ravel()
    rows = np.insert(rows, inside, charged[: len(inside)])
    held = np.zeros(2 * count + 1)
    held[1::2] = quantity
    held = np.insert(held, inside + 1, np.repeat(quantity, times))
    changed, levels = rows[rows < len(candles["open"])], np.array(cash, float)
    closed = slice(0, int((path.exited[:count] < len(candles["open"])).sum()))

    side, opened, entry, fill, price = (each[closed] for each in (side, opened, entry, fill, price))
    quantity, funding, paid_in = quantity[closed], funding[closed], fee * notional[closed]
    paid_out = leaving_fee[closed] * np.abs(quantity) * fill
    pnl = quantity * (fill - entry) - paid_in - paid_out - funding
    trades = {
        "decided": path.decided[closed],
        "entered": path.entered[closed],
        "exited": path.exited[closed],
        "side": side,
        "entry": entry,
        "exit": fill,
        "exit_reason": REASONS[path.reason[closed]],
        "quantity": np.abs(quantity),
        "pnl": pnl,
        "pnl_bps": 1e4 * pnl / (np.abs(quantity) * entry),
        "costs": paid_in + np.abs(quantity * (entry - opened)) + paid_out + np.abs(quantity * (fill - price)) + funding,
        "funding": funding,
        "equity": levels[ends][closed],
    }
    return Simulation(trades, changed, levels[: len(changed) + 1], held[: len(changed) + 1])


def _charges(candles: Columns, side: np.ndarray, path: _Path, costs: Costs) -> tuple[np.ndarray, np.ndarray]:
    """How often each of T trades pays funding, and (C,) the candles at whose opens they do, trade after trade."""
    if costs.funding == "off":
        return np.zeros(len(side), int), np.zeros(0, int)
    rows = np.flatnonzero(candles["funding"])
    first, end = (np.searchsorted(rows, each, side="right") for each in (path.entered, path.exited))
    times = np.where(np.where(side > 0, pays_funding(1, costs), pays_funding(-1, costs)), end - first, 0)
    return times, rows[np.arange(times.sum()) + np.repeat(first - np.cumsum(times) + times, times)]
