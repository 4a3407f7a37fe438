"""The paper executor's rules: what one closed candle does to an account. No files, no clock.

- A decision made at the close of a candle becomes an order that fills at the open of the next candle there is, or
  ``latency`` candles later. After a hole in the candles it waits for the first candle behind the hole.
- One position and one order at a time. A signal while an order waits is ignored, and so is one while a position is open;
  where the account reverses, one against the position becomes an order that closes it and opens its own side.
- Within a candle, the entry's own included, the stop is looked at before the target. A candle that opens beyond
  either of them fills at its open.
- A position still open at the close of its ``horizon``-th candle (the entry's is the first) exits at the next open.
- Slippage worsens every fill, and so does the impact of its size; the fee is a share of the notional, on each side, the
  resting order's for a take-profit.
- An entry fills at most ``volume_share`` of its candle's volume and gives the rest up; an exit always fills whole. Volume
  is that of the whole candle, which nobody knew at its open: a model of the fill, never an input of a decision.
- Funding is paid by, or to, a position that was open when the candle opened.

A position is a signed number of coins. A long pays cash for them. A short is credited with the sale's proceeds and owes
the coins: its value is negative, and the whole account is its margin. So for both sides equity = cash + coins * close.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from modules.core.settings import Costs
from modules.core.words import BUY, NEUTRAL

ExitReason = Literal["stop_loss", "take_profit", "time_exit", "reversal"]
ORDERED = "ordered"
MOST_IMPACT = 0.1
"""Share of the price. The square-root law is known for orders far smaller than the volume; beyond it, and in a candle
without any volume, a fill is simply bad."""


@dataclass(frozen=True)
class Candle:
    """A closed candle: its open time in Unix ms, its prices and its volume in USD, and the share of its value that a long
    owes in funding since the candle before."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    quote_volume: float = 0.0
    funding: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What was decided at the close of candle ``timestamp``: stop and target in USD, size as a share of equity."""

    timestamp: int
    signal: str
    stop: float
    target: float
    size: float
    confidence: float
    reason: str
    regime: str

    @property
    def side(self) -> int:
        """+1 long, -1 short, 0 neither."""
        return 0 if self.signal == NEUTRAL else 1 if self.signal == BUY else -1


@dataclass(frozen=True)
class Position:
    """Open coins: ``quantity`` signed, ``entry`` the fill in USD, ``fee`` the USD paid for it, ``costs`` that and the
    slippage, ``candles`` how many it has been open for, ``funding`` the USD paid so far."""

    order: Decision
    timestamp: int
    entry: float
    quantity: float
    fee: float
    costs: float
    candles: int = 0
    funding: float = 0.0


@dataclass(frozen=True)
class Account:
    """Cash in USD, and at most one position and one order, which fills at the open after ``waiting`` more candles."""

    cash: float
    position: Position | None = None
    order: Decision | None = None
    waiting: int = 0

    @property
    def coins(self) -> float:
        return self.position.quantity if self.position else 0.0

    def equity(self, price: float) -> float:
        """USD, the position valued at ``price``."""
        return self.cash + self.coins * price


@dataclass(frozen=True)
class Trade:
    """A closed position, in USD. ``entry`` and ``exit`` are fills, so ``pnl`` is coins * (exit - entry) less both fees and
    the funding (below 0 where it was received); ``costs`` holds the fees, the slippage and the funding. ``equity`` is the
    account's after the exit, ``quantity`` unsigned."""

    timestamp: int
    side: str
    entry: float
    exit_timestamp: int
    exit: float
    exit_reason: ExitReason
    quantity: float
    pnl: float
    pnl_bps: float
    costs: float
    funding: float
    equity: float
    regime: str
    confidence: float
    reason: str


@dataclass(frozen=True)
class Step:
    """What a candle did: the account at its close, the trades that it closed (two where one that reversed another ended
    at once), and what became of its decision (``ordered`` or why not; empty for NEUTRAL)."""

    account: Account
    trades: tuple[Trade, ...]
    verdict: str


def step(account: Account, candle: Candle, decision: Decision | None, costs: Costs, horizon: int, reverse: bool = False) -> Step:
    """Take an account through one closed candle, and then through the decision made at its close.

    Parameters
    ----------
    candle : later than every candle before
    decision : None reads as NEUTRAL
    horizon : candles that a position may stay open
    reverse : a signal against the open position closes it and opens its own side
    """
    trades = []
    account = _funded(account, candle, costs)
    due = None if account.waiting else account.order
    account = replace(account, order=None) if due else replace(account, waiting=max(0, account.waiting - 1))
    if account.position and (due or account.position.candles >= horizon):
        account, trade = _close(account, account.position, candle, candle.open, "reversal" if due else "time_exit", costs)
        trades.append(trade)
    if due:
        account = _open(account, due, candle, costs)
    if account.position:
        held = replace(account.position, candles=account.position.candles + 1)
        account = replace(account, position=held)
        reached = barrier(held.order.side, candle, held.order.stop, held.order.target)
        if reached:
            account, trade = _close(account, held, candle, *reached, costs)
            trades.append(trade)
    verdict = judge(account, candle.close, decision, reverse) if decision else ""
    if verdict == ORDERED:
        account = replace(account, order=decision, waiting=costs.latency)
    return Step(account, tuple(trades), verdict)


def barrier(side: int, candle: Candle, stop: float, target: float) -> tuple[float, ExitReason] | None:
    """The price, before slippage, at which a candle ends a position, and why; None where it does not. The same rule as
    ``labels.barrier_outcome``."""
    worse, better = (min, max) if side > 0 else (max, min)
    if candle.low <= stop if side > 0 else candle.high >= stop:
        return worse(stop, candle.open), "stop_loss"
    if candle.high >= target if side > 0 else candle.low <= target:
        return better(target, candle.open), "take_profit"
    return None


def judge(account: Account, close: float, decision: Decision, reverse: bool = False) -> str:
    """What becomes of a decision: ``ordered``, or why not; empty for NEUTRAL."""
    side = decision.side
    if not side:
        return ""
    if account.order:
        return "ignored: an order is waiting"
    if account.position and not (reverse and side * account.coins < 0):
        return "ignored: a position is open"
    # Written so that a stop or target that is not a number is refused as well.
    if not side * (close - decision.stop) > 0 or not side * (decision.target - close) > 0:
        return "refused: stop and target must lie on either side of the close"
    if not decision.size > 0:
        return "refused: no size"
    if not account.position and account.cash <= 0:
        return "refused: the account is empty"
    return ORDERED


def slipped(price: float, direction: int, slippage: float) -> float:
    """The price paid where ``direction`` is +1 (buying), received where it is -1."""
    return price * (1 + direction * slippage)


def bought(side: int, opened: float, wanted: float, quote_volume: float, costs: Costs) -> tuple[float, float]:
    """The notional in USD that an entry fills of the one that it wanted, and the price of its fill."""
    notional = min(wanted, costs.volume_share * quote_volume) if costs.volume_share else wanted
    return notional, slipped(opened, side, costs.slippage + impact(notional, quote_volume, costs))


def sold(quantity: float, price: float, quote_volume: float, costs: Costs) -> float:
    """The fill of an exit from ``quantity`` signed coins at ``price``."""
    size = abs(quantity)
    return slipped(price, -1 if quantity > 0 else 1, costs.slippage + impact(size * price, quote_volume, costs))


def impact(notional: float, quote_volume: float, costs: Costs) -> float:
    """Share of the price by which an order of ``notional`` USD worsens its own fill in a candle of that volume: the
    square-root law of Tóth et al. 2011 (Phys. Rev. X 1, 021006, eq. 1), their Y sigma being ``costs.impact``."""
    if not costs.impact:
        return 0.0
    part = notional / quote_volume if quote_volume > 0 else math.inf
    return min(costs.impact * math.sqrt(part), MOST_IMPACT)


def _funded(account: Account, candle: Candle, costs: Costs) -> Account:
    position = account.position
    if not position or not candle.funding or not pays_funding(position.order.side, costs):
        return account
    due = position.quantity * candle.open * candle.funding
    return replace(account, cash=account.cash - due, position=replace(position, funding=position.funding + due))


def pays_funding(side: int, costs: Costs) -> bool:
    """Whether a position of this side pays funding, or is paid."""
    return costs.funding == "both" or (costs.funding == "shorts" and side < 0)


def _open(account: Account, order: Decision, candle: Candle, costs: Costs) -> Account:
    if account.cash <= 0:  # the position that it reversed has cost everything
        return account
    # Flat until now, so equity is cash; at full size the fee has to fit in as well.
    wanted = min(order.size, 1 / (1 + costs.fee)) * account.cash
    notional, entry = bought(order.side, candle.open, wanted, candle.quote_volume, costs)
    if notional <= 0:  # nobody traded in this candle
        return account
    quantity = order.side * notional / entry
    fee = costs.fee * notional
    slippage = abs(quantity * (entry - candle.open))
    position = Position(order, candle.timestamp, entry, quantity, fee, fee + slippage)
    return Account(account.cash - quantity * entry - fee, position)


def _close(
    account: Account, position: Position, candle: Candle, price: float, reason: ExitReason, costs: Costs
) -> tuple[Account, Trade]:
    order, quantity = position.order, position.quantity
    fill = sold(quantity, price, candle.quote_volume, costs)
    fee = (costs.resting_fee if reason == "take_profit" else costs.fee) * abs(quantity) * fill
    cash = account.cash + quantity * fill - fee
    pnl = quantity * (fill - position.entry) - position.fee - fee - position.funding
    trade = Trade(
        timestamp=position.timestamp,
        side="LONG" if order.side > 0 else "SHORT",
        entry=position.entry,
        exit_timestamp=candle.timestamp,
        exit=fill,
        exit_reason=reason,
        quantity=abs(quantity),
        pnl=pnl,
        pnl_bps=1e4 * pnl / (abs(quantity) * position.entry),
        costs=position.costs + fee + abs(quantity * (fill - price)) + position.funding,
        funding=position.funding,
        equity=cash,
        regime=order.regime,
        confidence=order.confidence,
        reason=order.reason,
    )
    return replace(account, cash=cash, position=None), trade
