"""Where candles and the order book come from: Binance's public REST interface. It needs no key and holds no secret.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

import json
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

from modules.core import http
from modules.core.errors import SourceError, TableError
from modules.core.retry import TryAgain, retried
from modules.core.words import MINUTE_MS
from modules.m1_data_engine.candle_files import Columns, empty_columns, parse_kline_rows

PAGE_ROWS = 1_000
"""The most candles that one request may ask for; a request weighs 2 of the 6,000 a minute whatever its size."""
MAX_ANSWER_BYTES = 4 << 20
OPEN_TIME, CLOSE_TIME, KLINE_FIELDS = 0, 6, 11

Parsed = TypeVar("Parsed")


class _Unfit(ValueError):
    """An answer of the declared shape that cannot be used; says what it is."""


class BinanceSource:
    """Closed candles and order-book depth of one symbol.

    Parameters
    ----------
    base_url : scheme and host, e.g. https://api.binance.com
    symbol : e.g. BTCUSDT
    timeout_s : seconds until a request counts as unanswered
    attempts : tries a request, with growing waits in between; Retry-After is honoured
    sleep : how to wait, a seam for tests
    max_gap_minutes : holes in the exchange's candles up to this long are filled flat; nothing before a longer one is given
    """

    def __init__(
        self,
        base_url: str,
        symbol: str,
        timeout_s: float = 5.0,
        attempts: int = 3,
        sleep: Callable[[float], object] = time.sleep,
        max_gap_minutes: int = 60,
    ):
        self.base_url = base_url.rstrip("/")
        self.symbol = symbol
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.sleep = sleep
        self.max_gap_minutes = max_gap_minutes
        self.repairs: list[str] = []
        """what was mended in the candles of the last call, in plain words with counts"""

    @property
    def host(self) -> str:
        """Who is asked, as error messages name it."""
        return http.host_of(self.base_url, "the exchange")

    def candles(self, after_ms: int | None, count: int, now_ms: int) -> Columns:
        """The newest ``count`` closed candles, or those of them that open after ``after_ms``.

        The forming candle is left out: a candle counts as closed when its close time lies before ``now_ms`` and before
        the time on the exchange's own answer, so a local clock that runs ahead does no harm.

        Parameters
        ----------
        after_ms : open time of the newest candle already known, Unix ms UTC; None for all
        count : candles at most, counted back from the newest closed one
        now_ms : the caller's clock, Unix ms UTC

        Returns
        -------
        The columns of ``read_candles``, minutes without gaps; without rows where nothing new has closed. The first may
        lie later than the minute after ``after_ms`` when more than ``count`` minutes have passed, or when the exchange
        itself has a hole longer than ``max_gap_minutes``.

        Raises
        ------
        SourceError
        """
        self.repairs = []
        newest = now_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
        start = newest - (count - 1) * MINUTE_MS
        if after_ms is not None:
            start = max(start, after_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        closed: list[list] = []
        while start <= newest:
            limit = min(PAGE_ROWS, (newest - start) // MINUTE_MS + 1)
            query = {"symbol": self.symbol, "interval": "1m", "limit": limit, "startTime": start}
            page, answered_ms = self._ask("/api/v3/klines", query, _kline_page)
            opens = [row[OPEN_TIME] for row in page]
            if min(opens) < start:
                raise SourceError(f"{self.host} answered with older candles than it was asked for")
            closed += [row for row in page if row[CLOSE_TIME] < min(now_ms, answered_ms)]
            if len(page) < limit:
                break
            start = max(opens) + MINUTE_MS
        if not closed:
            return empty_columns()
        try:
            return parse_kline_rows(_newest_run(closed, self.max_gap_minutes), self.max_gap_minutes, self.repairs)
        except TableError as error:
            shown = "; ".join(error.faults[:3]) + ("; ..." if len(error.faults) > 3 else "")
            raise SourceError(f"{self.host} answered with faulty candles: {shown}") from None

    def depth(self, within_bps: float = 10.0, levels: int = 100) -> dict[str, float]:
        """How much is offered near the price.

        Parameters
        ----------
        within_bps : distance from the mid price, in basis points, within which quantities are summed on each side
        levels : price levels asked for on each side. Up to 100 weigh 5 requests, 500 weigh 25, 1,000 weigh 50. On a
            busy book 100 levels may end before ``within_bps``: then the sums are those of the levels that there are.

        Returns
        -------
        bid_btc, ask_btc : quantity in the base currency within the distance; spread : best ask - best bid, in USD

        Raises
        ------
        SourceError
        """
        query = {"symbol": self.symbol, "limit": levels}
        (bids, asks), _ = self._ask("/api/v3/depth", query, _book)
        mid = (bids[0][0] + asks[0][0]) / 2
        reach = mid * within_bps / 10_000
        return {
            "bid_btc": math.fsum(quantity for price, quantity in bids if price >= mid - reach),
            "ask_btc": math.fsum(quantity for price, quantity in asks if price <= mid + reach),
            "spread": asks[0][0] - bids[0][0],
        }

    def _ask(self, path: str, query: dict[str, Any], parse: Callable[[Any], Parsed]) -> tuple[Parsed, float]:
        """The parsed answer, asked for again where it may be better next time, and the exchange's time in ms."""

        def once() -> tuple[Parsed, float]:
            body, answered_ms = self._fetch(path, query)
            try:
                return parse(json.loads(body)), answered_ms
            except json.JSONDecodeError:
                got = "a web page" if body.lstrip().startswith(b"<") else "a text"
                raise TryAgain(f"{self.host} answered with {got} instead of JSON") from None
            except _Unfit as error:
                raise TryAgain(f"{self.host} answered with {error}") from None
            except (ValueError, TypeError, KeyError, IndexError, RecursionError):
                raise TryAgain(f"{self.host} answered with JSON of another shape than it declares for {path}") from None

        return retried(once, self.attempts, sleep=self.sleep)

    def _fetch(self, path: str, query: dict[str, Any]) -> tuple[bytes, float]:
        """One request: the body of a good answer, and the time on it in ms (inf where it has none)."""
        answer = http.get(
            self.base_url + path,
            self.host,
            self.timeout_s,
            MAX_ANSWER_BYTES,
            query,
            advice="check the setting exchange.base_url",
            told=_message,
        )
        return answer.body, _http_date_ms(answer.headers.get("Date"))


def _kline_page(rows: Any) -> list[list]:
    """A page of candles as far as paging looks into it; the candles are judged together later."""
    if not isinstance(rows, list):
        raise TypeError
    if not rows:
        raise _Unfit("an empty list of candles")
    for row in rows:
        if len(row) < KLINE_FIELDS or type(row[OPEN_TIME]) is not int or type(row[CLOSE_TIME]) is not int:
            raise TypeError
    return rows


def _newest_run(rows: list[list], max_gap_minutes: int) -> list[list]:
    """The rows after the newest hole that is too long to fill: what lies before it cannot warm anything up."""
    longest = (max_gap_minutes + 1) * MINUTE_MS
    for i in range(len(rows) - 1, 0, -1):
        if rows[i][OPEN_TIME] - rows[i - 1][OPEN_TIME] > longest:
            return rows[i:]
    return rows


def _book(answer: Any) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Bids and asks as (price, quantity), the best first."""
    bids, asks = ([(float(level[0]), float(level[1])) for level in answer[side]] for side in ("bids", "asks"))
    if not bids or not asks:
        raise _Unfit("an order book without bids or asks")
    if not all(math.isfinite(price) and price > 0 and 0 <= quantity < math.inf for price, quantity in bids + asks):
        raise _Unfit("an order book with impossible numbers")
    bids.sort(reverse=True)
    asks.sort()
    if bids[0][0] >= asks[0][0]:
        raise _Unfit("an order book whose best bid is not below its best ask")
    return bids, asks


def _message(body: bytes) -> str:
    """What the exchange says about its refusal, if it says so in its own form: at most 200 printable characters."""
    try:
        text = str(json.loads(body)["msg"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return ": " + "".join(letter if letter.isprintable() else " " for letter in text[:200])


def _http_date_ms(date: str | None) -> float:
    """The whole second on an answer, in Unix ms; a candle that closed before it has closed for the exchange too."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date or "").timestamp() * 1_000
    except ValueError:
        return math.inf
