"""The tables of large transactions: what is on disk, and how new ones from a source get there."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np

from modules.core import clock
from modules.core.catalog import TABLES
from modules.core.module import Run
from modules.core.tables import Columns, Workspace
from modules.core.words import MINUTE_MS, OK

KNOWN_BLOCKS = 288
"""Blocks remembered, two days of them: a reorganisation or an outage beyond is a new beginning."""
SCORED = 2_880
"""The newest transactions that a minute looks at: half a day of the busiest chain, beyond all hearing."""


class Transfer(NamedTuple):
    """One large transaction as a source tells it; NaN where it does not say. ``mined`` is its block's time, Unix ms."""

    txid: str
    value_btc: float
    inputs: float
    outputs: float
    largest_output_share: float
    fee_rate: float
    to_exchange: bool
    from_exchange: bool
    mined: int
    height: int = 0


class Block(NamedTuple):
    """A block that was read; where a poll's time ended within it, ``looked_at`` is where the next one goes on, else 0."""

    height: int
    name: str
    looked_at: int = 0


class News(NamedTuple):
    """What a source has beyond the last poll: transfers, the newest blocks, and the height above which what was known
    before is orphaned (None: nothing)."""

    transfers: list[Transfer]
    blocks: list[Block]
    orphaned_above: int | None = None


class TransferSource(Protocol):
    """Where large transactions come from."""

    def news(self, known: list[Block], since_ms: int | None, upto_ms: int) -> News:
        """What is new since the last poll.

        Parameters
        ----------
        known : the newest blocks of the last poll, oldest first; empty at the first
        since_ms, upto_ms : close of the candle of the last poll (None at the first) and of this one

        Raises
        ------
        SourceError
        """
        ...


def exchange_addresses(workspace: Workspace) -> frozenset[str]:
    """The addresses in ``data/onchain/exchange_addresses.csv``, which people edit; none where there is no such file."""
    if not workspace.exists("exchange_addresses"):
        return frozenset()
    return frozenset(str(address).strip() for address in workspace.read("exchange_addresses")["address"]) - {""}


def poll(run: Run, source: TransferSource, timestamp: int) -> None:
    """Bring the live table up to a candle; a second poll for the same candle asks nobody.

    A transaction is stamped with its block's time, but never earlier than the poll before this one, which did not see
    it yet, nor later than now: so no row of an earlier candle changes, whatever a block's clock says or however late a
    candle is asked about.

    Raises
    ------
    SourceError
    """
    close = timestamp + MINUTE_MS
    state = run.workspace.read("chain_read") if run.workspace.exists("chain_read") else None
    since = int(state["read_to"].max()) if state is not None and len(state["read_to"]) else None
    if since is not None and since >= close:
        return
    columns = [state[name].tolist() for name in ("height", "hash", "looked_at")] if state is not None else [[], [], []]
    known = [block for block in map(Block, *columns) if block.name]
    news = source.news(known, since, close)
    _store(run, news, 0 if since is None else since, close)
    blocks = (news.blocks or known)[-KNOWN_BLOCKS:] or [Block(0, "")]
    run.workspace.write(
        "chain_read",
        {
            "height": np.array([block.height for block in blocks], np.int64),
            "hash": np.array([block.name for block in blocks], object),
            "looked_at": np.array([block.looked_at for block in blocks], np.int64),
            "read_to": np.full(len(blocks), close, np.int64),
        },
    )


def live(workspace: Workspace) -> Columns:
    """The newest ``SCORED`` rows of the live table; no rows where there is none."""
    if not workspace.exists("live_transactions"):
        return _empty()
    return workspace.read("live_transactions", last=SCORED)


def recorded(workspace: Workspace, min_btc: float) -> Columns:
    """All transactions on record of at least ``min_btc``, by the time at which they were seen: what was given as
    history, and what the live cycles have gathered. None stands twice: of two that count at once, the earlier stays.

    Returns
    -------
    The columns of ``catalog.TRANSFER``, ``timestamp``, ``mined``, ``gone``, and ``planted`` where the history has it
    (NaN where a row is of live cycles)
    """
    parts = [_empty()]
    if workspace.exists("historical_transactions"):
        history = workspace.read("historical_transactions")
        length = len(history["timestamp"])
        parts.append({**history, "mined": history["timestamp"], "gone": np.full(length, np.nan)})
    if workspace.exists("live_transactions"):
        parts.append(workspace.archived("live_transactions"))
    names = [*_empty(), *(["planted"] if any("planted" in part for part in parts) else [])]
    joined = {name: np.concatenate([part.get(name, np.full(len(part["timestamp"]), np.nan)) for part in parts]) for name in names}
    order = np.argsort(joined["timestamp"], kind="stable")
    counted_until: dict[str, float] = {}
    keep = []
    for i in order[joined["value_btc"][order] >= min_btc].tolist():
        txid = joined["txid"][i]
        if joined["timestamp"][i] >= counted_until.get(txid, -np.inf):
            keep.append(i)
            counted_until[txid] = np.inf if np.isnan(joined["gone"][i]) else joined["gone"][i]
    return {name: values[keep] for name, values in joined.items()}


def _store(run: Run, news: News, low: int, close: int) -> None:
    """Add what is new, mark what is gone. Rows that change are written together with all that follow them."""
    limit = run.settings.whale.min_btc
    fresh: dict[str, Transfer] = {t.txid: t for t in reversed(news.transfers) if t.value_btc >= limit}
    there = live(run.workspace)
    height, gone = there["height"].copy(), there["gone"].copy()
    counts = np.isnan(gone)
    changed = len(gone)
    if news.orphaned_above is not None:
        for i in np.flatnonzero(counts & (height > news.orphaned_above)).tolist():
            again = fresh.get(str(there["txid"][i]))
            if again is None:
                gone[i] = close
            else:
                height[i] = again.height
            changed = min(changed, i)
    counting = {str(txid) for txid in there["txid"][np.isnan(gone)]}
    added = sorted((t for t in fresh.values() if t.txid not in counting), key=lambda t: (t.mined, t.txid))
    rows = {name: values[changed:] for name, values in {**there, "height": height, "gone": gone}.items()}
    rows["status"] = np.full(len(rows["timestamp"]), OK, object)
    after = int(there["timestamp"][-1]) if len(there["timestamp"]) else -1
    stamps: list[int] = []
    now = max(close, clock.now_ms())
    for transfer in added:
        after = max(min(max(transfer.mined, low), now), after + 1)  # every row has a stamp of its own
        stamps.append(after)
    new = _columns(added, stamps)
    joined = {name: np.concatenate([rows[name], new[name]]) for name in new}
    if len(joined["timestamp"]):
        run.workspace.append("live_transactions", joined)


def _columns(transfers: Iterable[Transfer], stamps: list[int]) -> Columns:
    rows = list(transfers)
    columns: Columns = {"timestamp": np.array(stamps, np.int64), "txid": np.array([t.txid for t in rows], object)}
    for name in ("value_btc", "inputs", "outputs", "largest_output_share", "fee_rate"):
        columns[name] = np.array([getattr(t, name) for t in rows], float)
    for name in ("to_exchange", "from_exchange", "mined", "height"):
        columns[name] = np.array([getattr(t, name) for t in rows], np.int64)
    columns["gone"] = np.full(len(rows), np.nan)
    columns["status"] = np.full(len(rows), OK, object)
    return columns


def _empty() -> Columns:
    columns = _columns([], [])
    assert set(columns) == {column.name for column in TABLES["live_transactions"].columns}
    return {name: values for name, values in columns.items() if name != "status"}
