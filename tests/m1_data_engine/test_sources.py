"""The exchange as a real server on loopback: good, slow, broken and lying answers."""

import json
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from werkzeug import Request, Response

from modules.core.errors import SourceError
from modules.m1_data_engine import sources
from modules.m1_data_engine.candle_files import COLUMNS
from modules.m1_data_engine.sources import BinanceSource

MINUTE = 60_000
NOW = 1_711_929_600_000 + 30_000  # 2024-04-01 00:00:30 UTC: the candle of 00:00 is forming
NEWEST = NOW - 30_000 - MINUTE


def kline(open_ms, **changes):
    row = {
        "open_time": open_ms,
        "open": "100.00",
        "high": "103.50",
        "low": "99.25",
        "close": "101.00",
        "volume": "10.00000000",
        "close_time": open_ms + MINUTE - 1,
        "quote_volume": "1000.00000000",
        "trades": 7,
        "taker_buy_base": "4.00000000",
        "taker_buy_quote": "400.00000000",
        "ignore": "0",
    }
    return list((row | changes).values())


class Exchange:
    """Answers as Binance does: candles from startTime on, at most limit, the forming one included."""

    def __init__(self, now_ms=NOW, missing=()):
        self.now_ms, self.missing = now_ms, missing
        self.queries = []

    def __call__(self, request: Request) -> Response:
        self.queries.append(request.args.to_dict())
        start, limit = int(request.args["startTime"]), int(request.args["limit"])
        assert request.args["symbol"] == "BTCUSDT"
        assert request.args["interval"] == "1m"
        assert 1 <= limit <= 1_000
        opens = [stamp for stamp in range(start, self.now_ms + 1, MINUTE) if stamp not in self.missing]
        return Response(json.dumps([kline(stamp) for stamp in opens[:limit]]), content_type="application/json")


@pytest.fixture
def waits():
    return []


@pytest.fixture
def source(httpserver, waits):
    return BinanceSource(httpserver.url_for("/"), "BTCUSDT", timeout_s=0.3, sleep=waits.append)


@pytest.fixture
def exchange(httpserver):
    handler = Exchange()
    httpserver.expect_request("/api/v3/klines").respond_with_handler(handler)
    return handler


def answer(httpserver, *responses):
    """Give the responses one after the other, then the last for ever."""
    left = list(responses)

    def handler(_: Request) -> Response:
        response = left.pop(0) if len(left) > 1 else left[0]
        return response if isinstance(response, Response) else response()

    httpserver.expect_request("/api/v3/klines").respond_with_handler(handler)
    httpserver.expect_request("/api/v3/depth").respond_with_handler(handler)


def good():
    return Response(json.dumps([kline(NEWEST)]), content_type="application/json")


def failure(source):
    with pytest.raises(SourceError) as caught:
        source.candles(None, 1, NOW)
    return str(caught.value)


# Candles


def test_the_newest_closed_candles(source, exchange):
    columns = source.candles(None, 5, NOW)
    assert tuple(columns) == COLUMNS
    assert columns["timestamp"].tolist() == [NEWEST - k * MINUTE for k in (4, 3, 2, 1, 0)]
    assert columns["timestamp"].dtype == np.int64
    assert columns["quote_volume"].tolist() == [1_000.0] * 5
    assert source.repairs == []
    assert len(exchange.queries) == 1


def test_only_what_came_after(source, exchange):
    columns = source.candles(NEWEST - 2 * MINUTE, 1_440, NOW)
    assert columns["timestamp"].tolist() == [NEWEST - MINUTE, NEWEST]
    assert exchange.queries[0]["startTime"] == str(NEWEST - MINUTE)
    assert exchange.queries[0]["limit"] == "2"


def test_nothing_new_asks_nothing(source, exchange):
    columns = source.candles(NEWEST, 1_440, NOW)
    assert {name: column.shape for name, column in columns.items()} == dict.fromkeys(COLUMNS, (0,))
    assert exchange.queries == []


def test_after_a_long_pause_the_newest_candles_are_given(source, exchange):
    columns = source.candles(NEWEST - 10_000 * MINUTE, 3, NOW)
    assert columns["timestamp"].tolist() == [NEWEST - 2 * MINUTE, NEWEST - MINUTE, NEWEST]


def test_pages_are_joined_with_few_requests(source, exchange):
    columns = source.candles(None, 2_500, NOW)
    assert len(columns["timestamp"]) == 2_500
    assert (np.diff(columns["timestamp"]) == MINUTE).all()
    assert columns["timestamp"][-1] == NEWEST
    assert [query["limit"] for query in exchange.queries] == ["1000", "1000", "500"]


@pytest.mark.parametrize("now", [NEWEST + 2 * MINUTE - 1, NEWEST + MINUTE])
def test_the_forming_candle_never_enters(source, httpserver, now):
    answer(httpserver, Response(json.dumps([kline(NEWEST), kline(NEWEST + MINUTE)])))
    assert source.candles(None, 2, now)["timestamp"].tolist() == [NEWEST]


def test_a_local_clock_that_runs_ahead_does_not_let_it_in(source, httpserver):
    open_ms = int(time.time() * 1_000) // MINUTE * MINUTE
    answer(httpserver, Response(json.dumps([kline(open_ms - MINUTE), kline(open_ms)])))
    columns = source.candles(None, 2, open_ms + MINUTE + 20_000)
    assert open_ms not in columns["timestamp"] or time.time() * 1_000 >= open_ms + MINUTE


def test_only_a_forming_candle_is_no_candle(source, httpserver):
    answer(httpserver, Response(json.dumps([kline(NEWEST, close_time=NOW + 1)])))
    assert len(source.candles(None, 1, NOW)["timestamp"]) == 0


def test_a_hole_in_the_exchanges_candles_is_filled_and_told(source, httpserver):
    httpserver.expect_request("/api/v3/klines").respond_with_handler(Exchange(missing=[NEWEST - MINUTE]))
    columns = source.candles(None, 3, NOW)
    assert columns["timestamp"].tolist() == [NEWEST - 2 * MINUTE, NEWEST - MINUTE, NEWEST]
    assert columns["volume"].tolist() == [10, 0, 10]
    assert source.repairs == ["gap of 1 minute after 2024-03-31 23:57 UTC filled with flat candles"]
    source.candles(NEWEST, 3, NOW)
    assert source.repairs == []


def test_rows_that_overlap_are_given_once(source, httpserver):
    answer(httpserver, Response(json.dumps([kline(NEWEST - MINUTE), kline(NEWEST - MINUTE), kline(NEWEST)])))
    assert source.candles(None, 3, NOW)["timestamp"].tolist() == [NEWEST - MINUTE, NEWEST]
    assert source.repairs == ["1 duplicate row dropped"]


def test_faulty_candles_are_refused_by_name(source, httpserver):
    answer(httpserver, Response(json.dumps([kline(NEWEST - MINUTE), kline(NEWEST, high="1")])))
    with pytest.raises(SourceError, match=r"faulty candles: row 2, column high: 1 is below the low 99\.25"):
        source.candles(None, 2, NOW)


def test_an_exchange_that_turns_in_circles_is_left(source, httpserver):
    answer(httpserver, Response(json.dumps([kline(NEWEST - 5_000 * MINUTE)] * 1_000)))
    with pytest.raises(SourceError, match="older candles than it was asked for"):
        source.candles(None, 2_000, NOW)


# Trouble


def test_a_server_error_is_tried_again(source, httpserver, waits):
    answer(httpserver, Response("oops", 500), Response("<html>", 502), good())
    assert source.candles(None, 1, NOW)["timestamp"].tolist() == [NEWEST]
    assert waits == [0.5, 1.0]


def test_a_server_error_that_stays(source, httpserver, waits):
    answer(httpserver, Response(json.dumps({"code": -1000, "msg": "An unknown error"}), 503))
    assert failure(source) == "localhost has trouble of its own (HTTP 503): An unknown error"
    assert len(httpserver.log) == 3
    assert len(waits) == 2


@pytest.mark.parametrize("status", [429, 418])
def test_too_many_requests_wait_as_told(source, httpserver, waits, status):
    answer(httpserver, Response("{}", status, headers={"Retry-After": "3"}), good())
    assert len(source.candles(None, 1, NOW)["timestamp"]) == 1
    assert waits == [3.0]


def test_a_long_ban_is_not_waited_for(source, httpserver, waits):
    answer(httpserver, Response('{"code": -1003, "msg": "Way too much"}', 418, headers={"Retry-After": "7200"}))
    assert failure(source) == "localhost got too many requests (HTTP 418, it asks to wait 7200 s): Way too much"
    assert len(httpserver.log) == 1
    assert waits == []


@pytest.mark.parametrize("header", ["soon", "-5", "", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_of_another_kind_is_passed_over(source, httpserver, waits, header):
    answer(httpserver, Response("{}", 429, headers={"Retry-After": header}), good())
    source.candles(None, 1, NOW)
    assert waits == [0.5]


def test_a_refused_request_is_not_repeated_and_shows_the_reason(source, httpserver, waits):
    answer(httpserver, Response('{"code": -1121, "msg": "Invalid symbol.\\n\\u001b[31m' + "!" * 500 + '"}', 400))
    message = failure(source)
    assert message.startswith("localhost refused the request (HTTP 400): Invalid symbol.  [31m!!!")
    assert len(message) < 260
    assert len(httpserver.log) == 1
    assert waits == []


@pytest.mark.parametrize("body", ["<html>no</html>", "[]", '"x"', "[[", "{}", ""])
def test_a_refusal_in_another_form(source, httpserver, body):
    answer(httpserver, Response(body, 403))
    assert failure(source) == "localhost refused the request (HTTP 403)"


def test_a_redirect_with_a_huge_body_is_not_read(source, httpserver):
    moved = Response(b"x" * (8 << 20), status=302, headers={"Location": httpserver.url_for("/elsewhere")})
    httpserver.expect_request("/api/v3/klines").respond_with_response(moved)
    with pytest.raises(SourceError, match="more than 4 MiB"):
        source.candles(None, 3, NOW)


def test_a_redirect_is_not_followed(source, httpserver):
    answer(httpserver, Response("", 302, headers={"Location": "http://127.0.0.1:1/elsewhere"}))
    assert failure(source) == "localhost refused the request (HTTP 302)"


SHAPE = "localhost answered with JSON of another shape than it declares for /api/v3/klines"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<!doctype html><p>down</p>", "localhost answered with a web page instead of JSON"),
        ("", "localhost answered with a text instead of JSON"),
        ('[[17119296000, "1', "localhost answered with a text instead of JSON"),
        ("[]", "localhost answered with an empty list of candles"),
        ("{}", SHAPE),
        ('{"code": 0, "msg": "x"}', SHAPE),
        ("null", SHAPE),
        ("[1, 2]", SHAPE),
        ("[[1, 2]]", SHAPE),
        ('["abcdefghijklmn"]', SHAPE),
        (json.dumps([kline(NEWEST, open_time=str(NEWEST))]), SHAPE),
        ("[" * 100_000, SHAPE),
        (b"[\xff\xfe]", SHAPE),
    ],
)
def test_an_answer_of_another_kind(source, httpserver, waits, body, sentence):
    answer(httpserver, Response(body, 200))
    assert failure(source) == sentence
    assert len(waits) == 2


def test_an_answer_without_end_is_cut(source, httpserver, monkeypatch):
    monkeypatch.setattr(sources, "MAX_ANSWER_BYTES", 1 << 20)
    answer(httpserver, Response(" " * (2 << 20), 200))
    assert failure(source) == "localhost answered with more than 1 MiB"


def test_a_slow_answer_is_a_time_out(httpserver):
    given_up = threading.Event()

    def slow():
        given_up.wait(5)
        return good()

    answer(httpserver, slow, good())
    source = BinanceSource(httpserver.url_for("/"), "BTCUSDT", timeout_s=0.3, sleep=lambda _: given_up.set())
    assert len(source.candles(None, 1, NOW)["timestamp"]) == 1
    assert given_up.is_set()


class RawServer:
    """Sends what it is told, byte by byte if need be, where a proper server would mend it."""

    def __init__(self, *pieces, pause_s=0.0):
        self.pieces, self.pause_s = pieces, pause_s
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(4_096)
                try:
                    for piece in self.pieces:
                        connection.sendall(piece)
                        time.sleep(self.pause_s)
                except OSError:
                    pass  # the client had enough

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(2)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ([HEAD + b"Content-Length: 5000\r\n\r\n[["], "127.0.0.1 broke off in the middle of its answer"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n50\r\n[["], "127.0.0.1 broke off in the middle of its answer"),
        ([HEAD + b"Content-Encoding: gzip\r\n\r\n[[1,2]]"], "127.0.0.1 broke off in the middle of its answer"),
        ([b""], "no connection to 127.0.0.1"),
        ([b"SSH-2.0-hello\r\n"], "no connection to 127.0.0.1"),
    ],
)
def test_a_broken_answer(pieces, sentence):
    with RawServer(*pieces) as server:
        assert failure(BinanceSource(server.url, "BTCUSDT", 1, 2, lambda _: None)) == sentence


def test_a_trickle_of_bytes_is_a_time_out():
    trickle = [HEAD + b"Content-Length: 5000\r\n\r\n", *[b" "] * 100]
    with RawServer(*trickle, pause_s=0.05) as server:
        before = time.monotonic()
        message = failure(BinanceSource(server.url, "BTCUSDT", 0.3, 1))
        assert time.monotonic() - before < 2
    assert message == "127.0.0.1 did not answer within 0.3 s"


def test_nobody_there(waits):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = BinanceSource(f"http://user:secret@127.0.0.1:{port}", "BTCUSDT", 1, sleep=waits.append)
    assert failure(source) == "no connection to 127.0.0.1"
    assert len(waits) == 2


@pytest.mark.parametrize("url", ["api.binance.com", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_an_address_that_is_none(url):
    assert "check the setting exchange.base_url" in failure(BinanceSource(url, "BTCUSDT", 1))


# Depth


def book(bids, asks):
    return Response(json.dumps({"lastUpdateId": 1, "bids": bids, "asks": asks}))


def test_depth_sums_what_lies_near_the_mid(source, httpserver):
    bids = [["9999.00", "1.5"], ["9990.00", "0.25"], ["9989.99", "100"]]
    asks = [["10001.00", "2"], ["10010.00", "0.5"], ["10010.01", "100"]]
    answer(httpserver, book(bids, asks))
    assert source.depth(within_bps=10) == {"bid_btc": 1.75, "ask_btc": 2.5, "spread": 2.0}
    assert source.depth(within_bps=0.5) == {"bid_btc": 0, "ask_btc": 0, "spread": 2.0}
    assert httpserver.log[0][0].args.to_dict() == {"symbol": "BTCUSDT", "limit": "100"}


def test_the_order_of_the_levels_does_not_matter(source, httpserver):
    answer(httpserver, book([["99", "1"], ["99.9", "2"]], [["101", "4"], ["100.1", "8"]]))
    assert source.depth(within_bps=50) == {"bid_btc": 2, "ask_btc": 8, "spread": pytest.approx(0.2)}


IMPOSSIBLE = "localhost answered with an order book with impossible numbers"
DEPTH_SHAPE = "localhost answered with JSON of another shape than it declares for /api/v3/depth"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[]", DEPTH_SHAPE),
        ("{}", DEPTH_SHAPE),
        ('{"bids": [["x", "1"]], "asks": [["2", "1"]]}', DEPTH_SHAPE),
        ('{"bids": [[1]], "asks": [["2", "1"]]}', DEPTH_SHAPE),
        ('{"bids": null, "asks": []}', DEPTH_SHAPE),
        ('{"bids": [], "asks": [["2", "1"]]}', "localhost answered with an order book without bids or asks"),
        ('{"bids": [["-1", "1"]], "asks": [["2", "1"]]}', IMPOSSIBLE),
        ('{"bids": [["1", "nan"]], "asks": [["2", "1"]]}', IMPOSSIBLE),
        (
            '{"bids": [["2", "1"]], "asks": [["2", "1"]]}',
            "localhost answered with an order book whose best bid is not below its best ask",
        ),
    ],
)
def test_a_book_that_is_none(source, httpserver, waits, body, sentence):
    answer(httpserver, Response(body))
    with pytest.raises(SourceError) as caught:
        source.depth()
    assert str(caught.value) == sentence
    assert len(waits) == 2


def test_a_book_is_tried_again(source, httpserver):
    answer(httpserver, Response("", 500), book([["99", "1"]], [["101", "1"]]))
    assert source.depth()["spread"] == 2


def test_a_replay_does_not_pay_for_requests():
    code = "import sys, modules.m1_data_engine.sources; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
