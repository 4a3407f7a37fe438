"""The paper executor's rules: what one closed candle does to an account. No files, no clock.

- A decision made at the close of a candle becomes an order that fills at the open of the next candle there is. After a
  hole in the candles it waits for the first candle behind the hole.
- One position at a time, long or short. A signal while a position is open is ignored; this version never reverses.
- Within a candle, the entry's own included, the stop is looked at before the target. A candle that opens beyond
  either of them fills at its open.
- A position still open at the close of its ``horizon``-th candle (the entry's is the first) exits at the next open.
- Slippage worsens every fill; the fee is a share of the notional, on each side.

A position is a signed number of coins. A long pays cash for them. A short is credited with the sale's proceeds and owes
the coins: its value is negative, and the whole account is its margin. So for both sides equity = cash + coins * close.
Funding of a short is not charged.
"""

from dataclasses import dataclass, replace
from typing import Literal

from modules.core.settings import Costs
from modules.core.words import BUY, NEUTRAL

ExitReason = Literal["stop_loss", "take_profit", "time_exit"]
ORDERED = "ordered"


@dataclass(frozen=True)
class Candle:
    """A closed candle: its open time in Unix ms, its prices in USD."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float


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
    slippage, ``candles`` how many it has been open for."""

    order: Decision
    timestamp: int
    entry: float
    quantity: float
    fee: float
    costs: float
    candles: int = 0


@dataclass(frozen=True)
class Account:
    """Cash in USD, and at most one of: a position, an order for the next open."""

    cash: float
    position: Position | None = None
    order: Decision | None = None

    @property
    def coins(self) -> float:
        return self.position.quantity if self.position else 0.0

    def equity(self, price: float) -> float:
        """USD, the position valued at ``price``."""
        return self.cash + self.coins * price


@dataclass(frozen=True)
class Trade:
    """A closed position, in USD. ``entry`` and ``exit`` are fills, so ``pnl`` is coins * (exit - entry) less both fees;
    ``costs`` holds the fees and the slippage. ``equity`` is the account's after the exit, ``quantity`` unsigned."""

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
    equity: float
    regime: str
    confidence: float
    reason: str


@dataclass(frozen=True)
class Step:
    """What a candle did: the account at its close, the trade that it closed, and what became of its decision
    (``ordered`` or why not; empty for NEUTRAL)."""

    account: Account
    trade: Trade | None
    verdict: str


def step(account: Account, candle: Candle, decision: Decision | None, costs: Costs, horizon: int) -> Step:
    """Take an account through one closed candle, and then through the decision made at its close.

    Parameters
    ----------
    candle : later than every candle before
    decision : None reads as NEUTRAL
    horizon : candles that a position may stay open
    """
    trade = None
    if account.position and account.position.candles >= horizon:
        account, trade = _close(account, account.position, candle, candle.open, "time_exit", costs)
    elif account.order:
        account = _open(account, account.order, candle, costs)
    if account.position:
        held = replace(account.position, candles=account.position.candles + 1)
        account = replace(account, position=held)
        reached = barrier(held.order.side, candle, held.order.stop, held.order.target)
        if reached:
            account, trade = _close(account, held, candle, *reached, costs)
    verdict = judge(account, candle.close, decision) if decision else ""
    if verdict == ORDERED:
        account = replace(account, order=decision)
    return Step(account, trade, verdict)


def barrier(side: int, candle: Candle, stop: float, target: float) -> tuple[float, ExitReason] | None:
    """The price, before slippage, at which a candle ends a position, and why; None where it does not. The same rule as
    ``labels.barrier_outcome``."""
    worse, better = (min, max) if side > 0 else (max, min)
    if candle.low <= stop if side > 0 else candle.high >= stop:
        return worse(stop, candle.open), "stop_loss"
    if candle.high >= target if side > 0 else candle.low <= target:
        return better(target, candle.open), "take_profit"
    return None


def judge(account: Account, close: float, decision: Decision) -> str:
    """What becomes of a decision: ``ordered``, or why not; empty for NEUTRAL."""
    side = decision.side
    if not side:
        return ""
    if account.position:
        return "ignored: a position is open"
    # Written so that a stop or target that is not a number is refused as well.
    if not side * (close - decision.stop) > 0 or not side * (decision.target - close) > 0:
        return "refused: stop and target must lie on either side of the close"
    if not decision.size > 0:
        return "refused: no size"
    if account.equity(close) <= 0:
        return "refused: the account is empty"
    return ORDERED


def slipped(price: float, direction: int, slippage: float) -> float:
    """The price paid where ``direction`` is +1 (buying), received where it is -1."""
    return price * (1 + direction * slippage)


def _open(account: Account, order: Decision, candle: Candle, costs: Costs) -> Account:
    entry = slipped(candle.open, order.side, costs.slippage)
    # Flat until now, so equity is cash; at full size the fee has to fit in as well.
    notional = min(order.size, 1 / (1 + costs.fee)) * account.cash
    quantity = order.side * notional / entry
    fee = costs.fee * notional
    slippage = abs(quantity * (entry - candle.open))
    position = Position(order, candle.timestamp, entry, quantity, fee, fee + slippage)
    return Account(account.cash - quantity * entry - fee, position)


def _close(
    account: Account, position: Position, candle: Candle, price: float, reason: ExitReason, costs: Costs
) -> tuple[Account, Trade]:
    order, quantity = position.order, position.quantity
    fill = slipped(price, -order.side, costs.slippage)
    fee = costs.fee * abs(quantity) * fill
    cash = account.cash + quantity * fill - fee
    pnl = quantity * (fill - position.entry) - position.fee - fee
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
        costs=position.costs + fee + abs(quantity * (fill - price)),
        equity=cash,
        regime=order.regime,
        confidence=order.confidence,
        reason=order.reason,
    )
    return Account(cash), trade
