"""Where large transactions come from: a mempool.space-like server, Glassnode, Whale Alert, a CSV file, or the record.

Sources: https://mempool.space/docs/api/rest, https://docs.glassnode.com, https://docs.whale-alert.io (v1).
"""

import math
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from modules.core import clock
from modules.core.catalog import TABLES
from modules.core.errors import SourceError, TableError
from modules.core.http import NotThere
from modules.core.module import Run
from modules.core.tables import Columns, parse
from modules.core.words import MINUTE_MS
from modules.m4a_whale.transactions import KNOWN_BLOCKS, Block, News, Transfer, TransferSource, exchange_addresses
from modules.m4a_whale.web import Spent, Web

SATOSHI = 1e8
ALL_COINS = 21_000_000 * 10**8
PAGE = 25
"""Transactions a page of a server without block summaries."""
MAX_LARGE = 2_000
"""Large transactions that one block may hold; real ones hold up to a few hundred."""
OVERLAP_MS = 10 * MINUTE_MS
"""How far services that number no blocks are asked back again: they publish some transactions late."""
WHALE_ALERT_PAGES, WHALE_ALERT_ROWS = 50, 100
WHALE_ALERT_MIN_USD = 500_000
WHALE_ALERT_REACH_MS = 58 * MINUTE_MS
"""The free plan refuses what is more than an hour ago, and some minutes pass until it is asked."""
GLASSNODE_STEP_MS = 10 * MINUTE_MS
UNKNOWN = (math.nan, math.nan, math.nan, math.nan)
"""Inputs, outputs, largest output's share and fee rate, where a service does not tell them."""
KEYS = {"glassnode": "GLASSNODE_API_KEY", "whale_alert": "WHALE_ALERT_API_KEY"}


class Mempool:
    """The REST interface of mempool.space and of one's own node (mempool or esplora): no key.

    One request a poll while no block is new. A new block costs one for its header, one for its summary, and one for
    each large transaction in it; a server without summaries is read page by page. Where the budget ends before all is
    read, the next poll goes on at that place, be it within a block.

    Parameters
    ----------
    min_btc : BTC of all outputs from which a transaction is large
    addresses : of exchanges
    backfill : blocks read at the first poll
    """

    def __init__(self, web: Web, min_btc: float, addresses: frozenset[str], backfill: int):
        self.web, self.min_satoshi, self.addresses, self.backfill = web, min_btc * SATOSHI, addresses, backfill

    def news(self, known: list[Block], since_ms: int | None, upto_ms: int) -> News:
        """The blocks beyond the newest known one that is still on the server's chain; see ``TransferSource.news``."""
        tip = self.web.ask("/api/blocks/tip/hash", _hash, plain=True)
        place = next((i for i, block in enumerate(known) if block.name == tip), None)
        if place is not None and (place < len(known) - 1 or not known[place].looked_at):
            return News([], known)  # the newest we know, or a server that lags behind
        newest = self._block(tip)
        kept = known[: place + 1] if place is not None else self._still_there(known, newest)
        if kept and newest["height"] - kept[-1].height > KNOWN_BLOCKS:
            kept = []
        orphaned = kept[-1].height if kept and len(kept) < len(known) else None
        transfers: list[Transfer] = []
        read = list(kept)
        try:
            if read and read[-1].looked_at:
                block = newest if read[-1].name == tip else self._block(read[-1].name)
                found, read[-1] = self._read(block, read[-1].looked_at)
                transfers += found
            height = read[-1].height + 1 if read else max(1, newest["height"] + 1 - self.backfill)
            while height <= newest["height"] and not (read and read[-1].looked_at):
                block = newest if height == newest["height"] else self._block(self._name_at(height))
                if block["height"] != height or (read and block["previous"] != read[-1].name):
                    raise SourceError(f"{self.web.host} answered with blocks that do not follow one another")
                found, last = self._read(block, 0)
                transfers += found
                read.append(last)
                height += 1
        except Spent:
            if read == kept:
                raise
        return News(transfers, read, orphaned)

    def _still_there(self, known: list[Block], newest: dict[str, Any]) -> list[Block]:
        """The known blocks up to the newest that the tip stands on; none where it stands on none of them."""
        for i in range(len(known) - 1, -1, -1):
            block = known[i]
            if newest["previous"] == block.name:
                return known[: i + 1]
            if block.height < newest["height"] and self._name_at(block.height) == block.name:
                return known[: i + 1]
        return []

    def _name_at(self, height: int) -> str:
        return self.web.ask(f"/api/block-height/{height}", _hash, plain=True)

    def _block(self, name: str) -> dict[str, Any]:
        return self.web.ask(f"/api/block/{name}", _block_named(name))

    def _read(self, block: dict[str, Any], start: int) -> tuple[list[Transfer], Block]:
        """A block's large transactions from a place on, and how far it was read.

        Raises
        ------
        Spent : there was no time for even one
        """
        ask: Callable[[dict[str, Any], int], list[Transfer]]
        try:
            summary = self.web.ask(f"/api/v1/block/{block['id']}/summary", _summary_of(block["count"]))
        except NotThere:
            places, ask = range(start, block["count"], PAGE), self._page
        else:
            large = [txid for txid, value in summary if value >= self.min_satoshi]
            if len(large) > MAX_LARGE:
                raise SourceError(f"{self.web.host} answered with a block of {len(large)} large transactions")
            places = range(start, len(large))
            ask = lambda block, place: [self._transaction(block, large[place])]  # noqa: E731
        found: list[Transfer] = []
        for place in places:
            try:
                found += [transfer for transfer in ask(block, place) if transfer.value_btc * SATOSHI >= self.min_satoshi]
            except Spent:
                if place == start:
                    raise
                return found, Block(block["height"], block["id"], place)
        return found, Block(block["height"], block["id"])

    def _transaction(self, block: dict[str, Any], txid: str) -> Transfer:
        return self.web.ask(f"/api/tx/{txid}", _named(txid, lambda answer: _transaction(answer, block, self.addresses)))

    def _page(self, block: dict[str, Any], start: int) -> list[Transfer]:
        count = min(PAGE, block["count"] - start)
        return self.web.ask(f"/api/block/{block['id']}/txs/{start}", lambda answer: _page(answer, block, count, self.addresses))


class WhaleAlert:
    """Whale Alert's REST interface, version 1: single transfers, exchanges named, no inputs and fees."""

    def __init__(self, web: Web, addresses: frozenset[str]):
        self.web, self.addresses = web, addresses

    def news(self, known: list[Block], since_ms: int | None, upto_ms: int) -> News:
        """See ``TransferSource.news``; at the first poll, and where the user's plan reaches no further back, the hour before."""
        hour = upto_ms - WHALE_ALERT_REACH_MS
        since = hour if since_ms is None else since_ms - OVERLAP_MS
        try:
            return News(self._between(since, upto_ms), known)
        except SourceError:
            if since >= hour:
                raise
            return News(self._between(hour, upto_ms), known)

    def _between(self, since_ms: int, upto_ms: int) -> list[Transfer]:
        query: dict[str, Any] = {
            "start": since_ms // 1000,
            "end": upto_ms // 1000,
            "currency": "btc",
            "min_value": WHALE_ALERT_MIN_USD,
            "limit": WHALE_ALERT_ROWS,
        }
        found: list[Transfer] = []
        for _ in range(WHALE_ALERT_PAGES):
            rows, count, cursor = self.web.ask("/v1/transactions", self._page, query)
            found += rows
            if count < WHALE_ALERT_ROWS or not cursor:
                break
            query["cursor"] = cursor
        return found

    def _page(self, answer: Any) -> tuple[list[Transfer], int, str]:
        return _whale_alert_page(answer, self.addresses)


class Glassnode:
    """Glassnode's metrics: what flowed to and from exchanges in each ten minutes, as one transfer each way.

    A ten minutes' sum is known when they have ended: that is its time.
    """

    METRICS = (("to", "transfers_volume_to_exchanges_sum"), ("from", "transfers_volume_from_exchanges_sum"))

    def __init__(self, web: Web):
        self.web = web

    def news(self, known: list[Block], since_ms: int | None, upto_ms: int) -> News:
        """See ``TransferSource.news``; at the first poll, the six hours before."""
        start = upto_ms - 360 * MINUTE_MS if since_ms is None else since_ms - OVERLAP_MS - GLASSNODE_STEP_MS
        found: list[Transfer] = []
        for side, metric in self.METRICS:
            query = {"a": "BTC", "i": "10m", "s": start // 1000, "u": upto_ms // 1000}
            for seconds, value in self.web.ask(f"/v1/metrics/transactions/{metric}", _points, query):
                ended = seconds * 1000 + GLASSNODE_STEP_MS
                if ended <= upto_ms:
                    name, to = f"glassnode-{side}-{seconds}", side == "to"
                    found.append(Transfer(name, value, *UNKNOWN, to_exchange=to, from_exchange=not to, mined=ended))
        return News(found, known)


class CsvFile:
    """A CSV that grows, with the columns of ``data/onchain/historical_transactions.csv``, oldest row first."""

    def __init__(self, path: Path):
        self.path = path

    def news(self, known: list[Block], since_ms: int | None, upto_ms: int) -> News:
        """See ``TransferSource.news``; at the first poll, the last day. A last line without an end waits."""
        low = (upto_ms - 24 * 60 * MINUTE_MS if since_ms is None else since_ms) - OVERLAP_MS
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{self.path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
        lines = text[: text.rfind("\n") + 1].splitlines()
        if not lines:
            raise SourceError(f"{self.path}: is empty: not even a header")
        first = len(lines)
        while first > 1 and _begins_after(lines[first - 1], low):
            first -= 1
        table = TABLES["historical_transactions"]
        try:
            rows = parse(table, self.path, lines[0].split(","), lines[first:], first + 1)
        except TableError as error:
            raise SourceError(str(error)) from None
        return News([_of_row(rows, i) for i in np.flatnonzero(rows["timestamp"] <= upto_ms).tolist()], known)


def configured(run: Run) -> TransferSource | None:
    """The source that the settings name; None where they name none.

    Raises
    ------
    SourceError : its key is not in the environment, or its file is not named
    """
    wanted = run.settings.whale
    if wanted.source == "off":
        return None
    addresses = exchange_addresses(run.workspace)
    if wanted.source == "file":
        if not wanted.file:
            raise SourceError('[whale] source is "file", but the setting file names none')
        return CsvFile(Path(wanted.file))
    web: Callable[..., Web] = lambda url, headers=None: Web(  # noqa: E731
        url, headers, wanted.timeout_s, wanted.attempts, wanted.budget_s, clock.sleep
    )
    if wanted.source == "mempool":
        return Mempool(web(wanted.mempool_url), wanted.min_btc, addresses, wanted.backfill_blocks)
    key = os.environ.get(KEYS[wanted.source], "").strip()
    if not key:
        raise SourceError(f"[whale] source is {wanted.source}, but the environment has no {KEYS[wanted.source]}")
    if not (key.isascii() and key.isprintable()):
        raise SourceError(f"the {KEYS[wanted.source]} in the environment is no key: it holds characters that none has")
    if wanted.source == "glassnode":
        return Glassnode(web(wanted.glassnode_url, {"X-Api-Key": key}))
    return WhaleAlert(web(wanted.whale_alert_url, {"X-WA-API-KEY": key}), addresses)


def _hash(text: Any) -> str:
    name = str(text).strip()
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise ValueError
    return name


def _whole(number: Any, low: int, high: int) -> int:
    if type(number) is not int or not low <= number <= high:
        raise ValueError
    return number


def _seconds(number: Any) -> int:
    """Unix seconds of a stamp that can be: bitcoin's first block to the year 2100."""
    return _whole(number, 1_231_000_000, 4_102_444_800)


def _block_named(name: str) -> Callable[[Any], dict[str, Any]]:
    def read(answer: Any) -> dict[str, Any]:
        if answer["id"] != name:
            raise ValueError
        return {
            "id": name,
            "height": _whole(answer["height"], 1, 100_000_000),
            "mined": _seconds(answer["timestamp"]) * 1000,
            "previous": _hash(answer["previousblockhash"]),
            "count": _whole(answer["tx_count"], 1, 100_000),
        }

    return read


def _summary_of(count: int) -> Callable[[Any], list[tuple[str, int]]]:
    """All of a block's transactions, or none: what a shorter answer leaves out would never be asked for again."""

    def read(answer: Any) -> list[tuple[str, int]]:
        # A value is whole satoshis; some versions send it as a float.
        values = {_hash(row["txid"]): float(row["value"]) for row in answer}
        if len(values) != count or not all(0 <= value <= ALL_COINS for value in values.values()):
            raise ValueError
        return [(txid, int(value)) for txid, value in values.items()]

    return read


def _named(txid: str, read: Callable[[Any], Transfer]) -> Callable[[Any], Transfer]:
    def checked(answer: Any) -> Transfer:
        if answer["txid"] != txid:
            raise ValueError
        return read(answer)

    return checked


def _page(answer: Any, block: dict[str, Any], count: int, addresses: frozenset[str]) -> list[Transfer]:
    rows = [_transaction(row, block, addresses) for row in answer]
    if len({row.txid for row in rows}) != count:
        raise ValueError
    return rows


def _transaction(answer: Any, block: dict[str, Any], addresses: frozenset[str]) -> Transfer:
    """A transaction as esplora and mempool write it; values in satoshi, weight in units of a quarter byte."""
    outputs = [(_whole(o["value"], 0, ALL_COINS), o.get("scriptpubkey_address", "")) for o in answer["vout"]]
    before = [i["prevout"] for i in answer["vin"] if i.get("prevout")]  # a coinbase has none
    inputs = [(_whole(o["value"], 0, ALL_COINS), o.get("scriptpubkey_address", "")) for o in before]
    paid, spent = sum(value for value, _ in outputs), sum(value for value, _ in inputs)
    if not answer["vin"] or not outputs or paid > ALL_COINS:
        raise ValueError
    to, from_ = (
        sum(value for value, address in side if address in addresses) * 2 >= max(total, 1)
        for side, total in ((outputs, paid), (inputs, spent))
    )
    return Transfer(
        txid=_hash(answer["txid"]),
        value_btc=paid / SATOSHI,
        inputs=float(len(answer["vin"])),
        outputs=float(sum(value > 0 for value, _ in outputs)),
        largest_output_share=max(value for value, _ in outputs) / max(paid, 1),
        fee_rate=4.0 * _whole(answer["fee"], 0, ALL_COINS) / _whole(answer["weight"], 1, 4_000_000),
        to_exchange=to,
        from_exchange=from_,
        mined=block["mined"],
        height=block["height"],
    )


def _whale_alert_page(answer: Any, addresses: frozenset[str]) -> tuple[list[Transfer], int, str]:
    if answer["result"] != "success":
        raise SourceError("Whale Alert refused the request: check WHALE_ALERT_API_KEY and the plan's limits")
    rows = answer.get("transactions", [])
    if answer["count"] != len(rows):
        raise ValueError
    cursor = answer["cursor"]
    if not isinstance(cursor, str):
        raise ValueError
    found = []
    for row in rows:
        chain, symbol = row["blockchain"], row["symbol"].lower()
        amount = float(row["amount"])
        sides = row["to"], row["from"]
        to, from_ = (side.get("owner_type") == "exchange" or side.get("address") in addresses for side in sides)
        if not 0 <= amount <= 1e15:
            raise ValueError
        if chain == "bitcoin" and symbol == "btc" and amount <= ALL_COINS / SATOSHI:
            mined = _seconds(row["timestamp"]) * 1000
            found.append(Transfer(_hash(row["hash"]), amount, *UNKNOWN, to_exchange=to, from_exchange=from_, mined=mined))
    return found, len(rows), cursor


def _points(answer: Any) -> list[tuple[int, float]]:
    """Glassnode's series: seconds and values, which may be null where it knows nothing yet."""
    points = [(_seconds(point["t"]), float(point["v"])) for point in answer if point["v"] is not None]
    if not all(0 <= value <= ALL_COINS / SATOSHI for _, value in points):
        raise ValueError
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(points)):
        raise ValueError
    return points


def _begins_after(line: str, stamp: int) -> bool:
    """Whether a row of the CSV may be newer than a stamp; one without a stamp is looked at, and told as a fault."""
    head = line.split(",", 1)[0]
    return not head.isdecimal() or int(head) >= stamp


def _of_row(rows: Columns, i: int) -> Transfer:
    row = {name: values[i] for name, values in rows.items()}
    return Transfer(
        txid=str(row["txid"]),
        value_btc=float(row["value_btc"]),
        inputs=float(row["inputs"]),
        outputs=float(row["outputs"]),
        largest_output_share=float(row["largest_output_share"]),
        fee_rate=float(row["fee_rate"]),
        to_exchange=bool(row["to_exchange"]),
        from_exchange=bool(row["from_exchange"]),
        mined=int(row["timestamp"]),
    )
