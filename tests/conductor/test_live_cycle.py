"""The live cycle and the loop against an exchange on loopback that serves the simulated market by its own clock."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from modules.conductor import cycle
from modules.core import clock
from modules.core.module import run_predictor
from modules.m1_data_engine import predictor as data_engine
from modules.m1_data_engine.feeds import FileFeed
from modules.m6_executor import predictor as executor
from tests.conftest import TRAINING_MINUTES, UNSYNCED

MINUTE = 60_000
AT_CLOCK = "import sys; from modules.core import clock; clock.now_ms = lambda: {}; import run_pipeline;" + (
    " sys.exit(run_pipeline.main(sys.argv[1:]))"
)
"""The front door in a process whose clock stands still."""


class Exchange:
    """Binance's klines and depth of a simulated market: candles up to its clock, the forming one included."""

    def __init__(self, market, now_ms: int):
        self.rows = {int(row[0]): row for row in zip(*(v.tolist() for v in market.candles.values()), strict=True)}
        self.now_ms = now_ms
        self.depth_btc = 30.0
        self.down = False

    def answer(self, path: str, query: dict[str, str]) -> list | dict:
        return self.klines(query) if path.endswith("klines") else self.book()

    def klines(self, query: dict[str, str]) -> list:
        start, limit = int(query["startTime"]), int(query["limit"])
        stamps = [stamp for stamp in sorted(self.rows) if start <= stamp <= self.now_ms][:limit]
        return [self.kline(stamp) for stamp in stamps]

    def kline(self, stamp: int) -> list:
        opened, high, low, close, volume, quote, trades, base, taker_quote = self.rows[stamp][1:]
        if stamp + MINUTE > self.now_ms:  # still forming: what it says now is not what it will say
            high, close = high * 1.5, high * 1.5
        prices = [f"{value:.2f}" for value in (opened, high, low, close)]
        taker = [f"{value:.8f}" for value in (base, taker_quote)]
        return [stamp, *prices, f"{volume:.8f}", stamp + MINUTE - 1, f"{quote:.8f}", int(trades), *taker, "0"]

    def book(self) -> dict:
        price = self.rows[self.now_ms // MINUTE * MINUTE][1]
        bids, asks = ([[f"{price + step:.2f}", f"{self.depth_btc:.5f}"]] for step in (-0.5, 0.5))
        return {"lastUpdateId": 1, "bids": bids, "asks": asks}


def handler_of(exchange: Exchange) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            body = b"busy" if exchange.down else json.dumps(exchange.answer(url.path, query)).encode()
            self.send_response_only(503 if exchange.down else 200)
            self.send_header("Date", formatdate(exchange.now_ms / 1000, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def exchange(market, trained) -> Iterator[Exchange]:
    """Half a minute after the close of the second candle that follows the training."""
    it = Exchange(market, int(market.candles["timestamp"][TRAINING_MINUTES + 2]) + 30_000)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(it)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        told = f'[exchange]\nbase_url = "http://127.0.0.1:{server.server_port}"\nattempts = 2\n'
        trained.config.write_text(trained.config.read_text() + told)
        yield it
        server.shutdown()


@pytest.fixture
def call(trained, exchange):
    """One live cycle in a process of its own, at the exchange's time."""

    def call(*flags: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", AT_CLOCK.format(exchange.now_ms), *trained.door(*flags)[2:]]
        return subprocess.run(command, capture_output=True, text=True, env=UNSYNCED, timeout=120, check=False)

    return call


def newest(exchange) -> int:
    """The open time of the newest closed candle."""
    return exchange.now_ms // MINUTE * MINUTE - MINUTE


def test_a_cycle_decides_the_newest_closed_candle(trained, exchange, market, call):
    done = call()
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("\n") == 1
    tables = trained.open().workspace
    final = tables.read("final_signals")
    assert final["timestamp"].tolist() == [newest(exchange)]
    assert final["status"].tolist() == ["ok"]
    assert final["signal"][0] in done.stdout
    assert final["reason"][0] in done.stdout
    assert tables.read("depth_live")["bid_btc"].tolist() == [30.0]
    # The forming candle, whose close lies far off, is nowhere; what is there is what the market did.
    candles = tables.read("candles_live")
    at = np.searchsorted(market.candles["timestamp"], candles["timestamp"])
    assert candles["timestamp"][-1] == newest(exchange)
    assert np.array_equal(candles["close"], market.candles["close"][at])
    for path in trained.workspace.rglob("live/*.csv"):
        assert f"\n{newest(exchange) + MINUTE}," not in path.read_text(), path
    assert trained.call("--check").returncode == 0


def test_a_second_run_in_the_same_minute_changes_no_byte(trained, call):
    assert call("--quiet").returncode == 0
    before = trained.files()
    again = call("--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert trained.files() == before


def test_the_live_row_is_the_replayed_row(trained, exchange, call, tmp_path):
    replayed = trained.copy(tmp_path / "replayed")
    assert call().returncode == 0
    assert replayed.replay("--from", str(newest(exchange)), "--minutes", 1).returncode == 0
    for table in ("current_regime", "next_regime_probs", "early_warnings", "specialist_signals"):
        one, other = (desk.open().workspace.path(table).read_bytes() for desk in (trained, replayed))
        assert one == other, table


def test_an_exchange_that_is_down_costs_the_minute_and_no_more(trained, exchange, call):
    assert call().returncode == 0
    decided = newest(exchange)
    exchange.now_ms += MINUTE
    exchange.down = True
    done = call()
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "HTTP 503" in done.stdout
    tables = trained.open().workspace
    final = tables.read("final_signals")
    assert final["timestamp"].tolist() == [decided, decided + MINUTE]
    assert final["signal"][-1] == "NEUTRAL"
    assert final["status"][-1].startswith("fallback: ")
    assert "HTTP 503" in tables.read("live_features")["status"][-1]
    assert tables.newest("candles_live") == decided
    assert trained.call("--check").returncode == 0

    exchange.down = False
    exchange.now_ms += MINUTE
    assert call().returncode == 0
    tables = trained.open().workspace
    assert tables.read("candles_live")["timestamp"][-3:].tolist() == [decided + k * MINUTE for k in range(3)]
    final = tables.read("final_signals")
    assert final["timestamp"].tolist() == [decided + k * MINUTE for k in range(3)]
    assert final["status"][-1] == "ok"
    equity = tables.read("equity")
    assert equity["timestamp"].tolist() == [decided + k * MINUTE for k in range(3)]
    assert equity["status"].tolist() == ["ok"] * 3, "the ledger went through the missed candle too"
    assert trained.call("--check").returncode == 0


def test_down_on_the_very_first_minute(trained, exchange, call):
    exchange.down = True
    done = call()
    assert done.returncode == 3
    assert "HTTP 503" in done.stdout
    final = trained.open().workspace.read("final_signals")
    assert final["signal"].tolist() == ["NEUTRAL"]
    assert str(trained.root) not in trained.open().workspace.path("final_signals").read_text()
    assert trained.call("--check").returncode == 0
    exchange.down = False
    assert call().returncode == 0, "the same minute, tried again, is decided"
    assert trained.open().workspace.read("final_signals")["status"].tolist() == ["ok"]


def test_a_thin_book_is_a_veto(trained, exchange, call):
    exchange.depth_btc = 1.5
    assert call().returncode == 0
    final = trained.open().workspace.read("final_signals")
    assert final["signal"].tolist() == ["NEUTRAL"]
    assert final["reason"][0].startswith("NEUTRAL: order book is thinner than 2 BTC")


def test_an_exchange_whose_clock_is_behind_has_not_closed_the_candle(trained, exchange, call):
    command_clock = exchange.now_ms
    exchange.now_ms -= MINUTE
    command = [sys.executable, "-c", AT_CLOCK.format(command_clock), *trained.door()[2:]]
    done = subprocess.run(command, capture_output=True, text=True, env=UNSYNCED, timeout=120, check=False)
    assert done.returncode == 3
    assert "no candle for this minute yet" in done.stdout
    assert not trained.open().workspace.exists("candles_live")


@pytest.mark.parametrize(("feature", "waits"), [("depth_cover_60", 0), ("depth_ratio_60", 59)])
def test_features_of_the_book_wait_for_their_own_warm_up_and_no_longer(trained, market, feature, waits):
    """An exchange keeps no history of its book: what was learned from one begins with the first live minutes."""
    run = trained.open()
    newest = max(int(name.split("_")[1]) for name in run.artifacts.names() if name.startswith("scaler_"))
    run.artifacts.save_json("scaler_{k}_export", {"low": [0.0], "high": [1.0]}, (0, 0), [feature], newest)
    book = {name: values[TRAINING_MINUTES:] for name, values in market.depth.items()}
    run.source = FileFeed(market.candles, {"depth": book})
    fell_back = [run_predictor(data_engine, run, int(stamp)).fell_back for stamp in book["timestamp"][:70]]
    assert fell_back == [True] * waits + [False] * (70 - waits)


# In this process, where time is ours


@pytest.fixture
def fake_clock(monkeypatch, exchange):
    """Time that passes only while somebody sleeps; the exchange lives in it too."""
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        exchange.now_ms += round(seconds * 1000)

    monkeypatch.setattr(clock, "now_ms", lambda: exchange.now_ms)
    monkeypatch.setattr(clock, "sleep", sleep)
    return slept


def test_cron_starts_too_early_and_the_cycle_waits_for_the_exchange(trained, exchange, fake_clock):
    exchange.now_ms = exchange.now_ms // MINUTE * MINUTE + 200
    assert cycle.live(trained.open(), quiet=True) == 0
    assert fake_clock == [1.8]


def stops_after(monkeypatch, minutes: int, number: int) -> list[int]:
    """A signal in the middle of the last of some minutes' cycles; the minutes that were decided."""
    decided: list[int] = []
    whole = cycle.cycle

    def counted(run, timestamp):
        decided.append(timestamp)
        if len(decided) == minutes:
            os.kill(os.getpid(), number)
        return whole(run, timestamp)

    monkeypatch.setattr(cycle, "cycle", counted)
    return decided


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_loop_decides_each_minute_and_a_signal_ends_it_after_a_whole_cycle(
    trained, exchange, fake_clock, monkeypatch, number, capsys
):
    first = newest(exchange)
    decided = stops_after(monkeypatch, 2, number)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert cycle.loop(trained.open()) == 0
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert decided == [first, first + MINUTE]
    tables = trained.open().workspace
    for table in ("final_signals", "equity"):
        assert tables.read(table)["timestamp"].tolist() == decided
        assert tables.read(table)["status"].tolist() == ["ok", "ok"]
    assert "stopped after a whole cycle" in capsys.readouterr().out


def test_a_slow_cycle_costs_the_loop_no_minute(trained, exchange, fake_clock, monkeypatch):
    first = newest(exchange)
    decided = stops_after(monkeypatch, 3, signal.SIGTERM)
    predict = executor.predict

    def slow(run, timestamp):
        if timestamp == first:
            exchange.now_ms = first + 2 * MINUTE + 10_000  # into the next minute
        return predict(run, timestamp)

    monkeypatch.setattr(executor, "predict", slow)
    assert cycle.loop(trained.open(), quiet=True) == 0
    assert decided == [first, first + MINUTE, first + 2 * MINUTE]


def test_the_loop_goes_on_after_a_minute_that_fell_back(trained, exchange, fake_clock, monkeypatch, capsys):
    first = newest(exchange)
    decided = stops_after(monkeypatch, 3, signal.SIGTERM)
    whole = cycle.cycle

    def with_an_outage(run, timestamp):
        exchange.down = timestamp == first + MINUTE
        return whole(run, timestamp)

    monkeypatch.setattr(cycle, "cycle", with_an_outage)
    assert cycle.loop(trained.open()) == 0
    assert decided == [first + k * MINUTE for k in range(3)]
    status = trained.open().workspace.read("final_signals")["status"].tolist()
    assert [each.split(":")[0] for each in status] == ["ok", "fallback", "ok"]
    assert "m1_data_engine: fallback: " in capsys.readouterr().out
