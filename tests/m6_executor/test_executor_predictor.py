"""The executor as the pipeline runs it: what it reads, what it leaves on disk, and that once is enough."""

import json
import os
import random
import signal as signals
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from paper_replay import START, candle, exports, feed, give, market, replay, settings, signal

from modules.core.errors import InputNotReady, PipelineError
from modules.core.module import Run, one_row, run_predictor
from modules.core.words import DAY_MINUTES, MINUTE_MS
from modules.m6_executor import predictor
from modules.m6_executor.ledger import PATH, Ledger
from modules.m6_executor.model import Account, Candle, Decision, step

REPOSITORY = Path(__file__).parents[2]
FLAT = candle(100, 101, 99, 100)
BUY = signal("BUY", 90, 120, 0.5)


def stamp(at: int) -> int:
    return START + at * MINUTE_MS


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path, settings())


def ledger_rows(run, query):
    return sqlite3.connect(run.workspace.root / PATH).execute(query).fetchall()


def test_the_first_run_takes_the_newest_candle_only(run):
    for at in range(5):
        give(run, stamp(at), FLAT, BUY)
    assert run_predictor(predictor, run, stamp(4)).status == "ok"
    assert run.workspace.read("equity")["timestamp"].tolist() == [stamp(4)]
    assert exports(run.workspace.root)["trade_logs"].count(b"\n") == 1
    assert set(run.workspace.read("reports")["n"]) == {0}


def test_a_trade_reaches_the_log(run):
    rows = [(FLAT, BUY), (FLAT, None), (candle(100, 121, 99, 110), None)]
    assert [feed(run, stamp(at), *row) for at, row in enumerate(rows)] == ["ok"] * 3
    log = run.workspace.read("trade_logs")
    assert (log["timestamp"].tolist(), log["exit_timestamp"].tolist()) == ([stamp(1)], [stamp(2)])
    assert (log["side"][0], log["exit_reason"][0], log["reason"][0]) == ("LONG", "take_profit", "BUY, as planted")
    assert log["exit"][0] == pytest.approx(120 * 0.9995)
    assert log["regime"][0] == run.workspace.read("current_regime")["regime"][0]
    equity = run.workspace.read("equity")
    assert equity["equity"] == pytest.approx(equity["cash"] + equity["position_value"])
    assert equity["equity"][-1] == pytest.approx(10_000 + log["pnl"].sum())
    assert run.workspace.read("reports")["n"][0] == 1
    assert ledger_rows(run, "SELECT timestamp, verdict FROM decisions") == [(stamp(0), "ordered")]


def test_the_hours_of_the_report_are_those_of_the_candles(run):
    rows = market(100)
    for at, row in enumerate(rows):
        feed(run, stamp(at), *row)
    minutes, hours = run.workspace.read("equity"), run.state["ledger"].hours()
    assert hours["candles"].tolist() == [30, 60, 10]
    ends = np.cumsum(hours["candles"]).astype(int) - 1
    assert hours["equity"] == pytest.approx(minutes["equity"][ends], abs=1e-7)
    assert hours["close"].tolist() == pytest.approx([rows[end][0]["close"] for end in ends], abs=1e-7)
    assert hours["exposed"].sum() == np.count_nonzero(minutes["position"]) > 10


def test_the_report_is_made_anew_at_midnight(run):
    """A day without a trade counts as well: the report's number of candles goes on."""
    rows = [(FLAT, BUY), (FLAT, None), (candle(100, 121, 99, 100), None)]
    for at in range(45):
        feed(run, stamp(at), *(rows[at] if at < 3 else (FLAT, None)))
        report = run.workspace.read("reports")
        n = dict(zip(report["figure"], report["n"], strict=True))["exposure"]
        assert n == (0 if at < 2 else 3 if at < 30 else 31)


@pytest.mark.parametrize("status", ["fallback: features are stale", "off"])
def test_a_decision_that_fell_back_is_neutral(run, status):
    feed(run, stamp(0), FLAT, {**BUY, "status": status})
    feed(run, stamp(1), FLAT, None)
    assert run.workspace.read("equity")["position"].tolist() == [0, 0]
    assert ledger_rows(run, "SELECT * FROM decisions") == []


def test_no_decision_is_neutral(run):
    for at in range(2):
        run.workspace.append("candles_live", one_row(stamp(at), **FLAT))
        assert run_predictor(predictor, run, stamp(at)).status == "ok"
    assert run.workspace.read("equity")["position"].tolist() == [0, 0]


def test_a_regime_that_fell_back_is_unknown(run):
    for at, price in enumerate((FLAT, FLAT, candle(100, 121, 99, 100))):
        give(run, stamp(at), price, BUY if at == 0 else None)
        row = one_row(stamp(at), regime="TREND_UP", confidence=0.5, status="fallback: why")
        run.workspace.append("current_regime", row)
        run_predictor(predictor, run, stamp(at))
    assert run.workspace.read("trade_logs")["regime"].tolist() == ["unknown"]


def test_an_order_waits_for_the_candle_behind_a_hole(run):
    feed(run, stamp(0), FLAT, BUY)
    feed(run, stamp(30), candle(105, 106, 104, 105), None)
    assert ledger_rows(run, "SELECT count(*) FROM candles") == [(2,)]
    assert Ledger(run.workspace.root / PATH, 1).standing()[0].position.entry == pytest.approx(105 * 1.0005)


def test_a_candle_that_fell_back_is_no_candle(run):
    """It is passed over with a fallback row, and taken once the true one is there; nothing differs in the end."""
    rows = market(40)
    for at, row in enumerate(rows):
        if at == 20:
            assert feed(run, stamp(at), {**row[0], "status": "fallback: no answer"}, row[1]).startswith("fallback")
            give(run, stamp(at), *row)
        else:
            assert feed(run, stamp(at), *row) == "ok"
    other = Run.open(run.workspace.root / "other", settings())
    for at, row in enumerate(rows):
        feed(other, stamp(at), *row)
    assert exports(run.workspace.root) == exports(other.workspace.root)


def test_minutes_that_were_missed_are_caught_up(run):
    rows = market(60)
    for at, row in enumerate(rows):
        (give if 10 < at < 55 else feed)(run, stamp(at), *row)
    replay(run.workspace.root / "other", 60, 0)
    assert exports(run.workspace.root) == exports(run.workspace.root / "other")
    assert exports(run.workspace.root)["trade_logs"].count(b"\n") > 5


def test_a_candle_that_is_in_the_ledger_changes_nothing(run):
    for at, row in enumerate(market(40)):
        feed(run, stamp(at), *row)
    before, dump = exports(run.workspace.root), list(sqlite3.connect(run.workspace.root / PATH).iterdump())
    for at in (39, 39, 12):
        for again in (run, Run.open(run.workspace.root, settings())):
            assert run_predictor(predictor, again, stamp(at)).status == "ok"
    assert exports(run.workspace.root) == before
    assert list(sqlite3.connect(run.workspace.root / PATH).iterdump()) == dump


@pytest.mark.parametrize("name", ["trade_logs", "equity", "reports"])
def test_a_file_that_is_gone_or_older_than_the_ledger_is_exported_again(run, name):
    rows = market(40)
    path = run.workspace.path(name)
    for at, row in enumerate(rows):
        feed(run, stamp(at), *row)
        if at == 10:
            older = path.read_bytes()
    newest = path.read_bytes()
    assert newest != older
    for damage in (path.unlink, lambda: path.write_bytes(older)):
        damage()
        run_predictor(predictor, Run.open(run.workspace.root, settings()), stamp(39))
        assert path.read_bytes() == newest


class Killed(BaseException):
    """Stands in for a kill at one exact place."""


@pytest.mark.parametrize("place", ["_create", "record", "set_report", "equity", "versions", "set_exported"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_off_at_each_place_of_each_candle(tmp_path, monkeypatch, place, moment):
    true = getattr(Ledger, place)
    cuts = []

    def cut(*given):
        if moment == "after":
            true(*given)
        cuts.append(given)
        raise Killed

    for at, row in enumerate(market(45)):
        broken = Run.open(tmp_path / "cut", settings())
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, place, cut)
            try:
                feed(broken, stamp(at), *row)
            except Killed:
                if "ledger" in broken.state:
                    broken.state["ledger"].close()
        feed(Run.open(tmp_path / "cut", settings()), stamp(at), *row)
    replay(tmp_path / "whole", 45, 0)
    assert len(cuts) > 5 or (place == "_create" and cuts)
    assert exports(tmp_path / "cut") == exports(tmp_path / "whole")


def test_cut_off_while_the_ledger_is_made(tmp_path, monkeypatch):
    def cut(_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("modules.m6_executor.ledger.asdict", cut)
        with pytest.raises(Killed):
            Ledger(tmp_path / PATH, 10_000.0)
    assert (tmp_path / PATH).is_file()
    assert Ledger(tmp_path / PATH, 500.0).capital == 500


@pytest.mark.parametrize(("seed", "kills", "count"), [(1, 20, 300)])
def test_killed_at_any_moment_it_ends_as_if_undisturbed(tmp_path, seed, kills, count):
    """A real process, SIGKILL, a real file: each kill waits for some candles and then for some part of a minute."""
    chance = random.Random(seed)
    command = [sys.executable, str(Path(__file__).with_name("paper_replay.py")), str(tmp_path / "cut"), str(count), "0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    killed = 0
    while True:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=REPOSITORY)
        assert child.stdout
        if killed < kills:
            for _ in range(chance.randint(1, 14)):
                child.stdout.readline()
            time.sleep(chance.random() * 0.008)
            child.send_signal(signals.SIGKILL)
        said = child.communicate(timeout=60)[0].decode().splitlines()
        if child.returncode == 0:
            break
        assert child.returncode == -signals.SIGKILL
        killed += 1
    assert killed == kills
    assert said[-1] == f"{count - 1} ok"
    replay(tmp_path / "whole", count, 0)
    assert exports(tmp_path / "cut") == exports(tmp_path / "whole")
    assert exports(tmp_path / "whole")["trade_logs"].count(b"\n") > 30


def test_rows_exported_together_are_archived_as_rows_exported_one_by_one(tmp_path):
    """A catch-up across the length of the live table leaves the same files as a run without a break."""
    count, late = DAY_MINUTES + 75, 40
    values = {"cash": 1.0, "position_value": 0.0, "equity": 1.0, "position": 0.0}
    rows = {name: np.full(count, value) for name, value in values.items()}
    rows |= {"timestamp": START + np.arange(count) * MINUTE_MS, "status": np.full(count, "ok", object)}
    for folder, cuts in {"one": [*range(count - late, count)], "together": [count - late]}.items():
        workspace = Run.open(tmp_path / folder, settings()).workspace
        for first, last in zip([0, *cuts], [*cuts, count], strict=True):
            workspace.append("equity", {name: part[first:last] for name, part in rows.items()})
    one, together = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.csv")}
        for name in ("one", "together")
    )
    assert one == together
    assert len(one) > 1


def test_a_candle_that_never_came_is_a_fallback(run):
    feed(run, stamp(0), FLAT, BUY)
    feed(run, stamp(1), FLAT, None)
    with pytest.raises(InputNotReady, match="candles_live has no row"):
        predictor.predict(run, stamp(2))
    assert run_predictor(predictor, run, stamp(2)).fell_back
    equity = run.workspace.read("equity")
    assert equity["timestamp"].tolist() == [stamp(0), stamp(1), stamp(2)]
    assert equity["equity"][2] == equity["equity"][1]
    feed(run, stamp(3), FLAT, None)
    status = run.workspace.read("equity")["status"].tolist()
    assert [said[:8] for said in status] == ["ok", "ok", "fallback", "ok"]


def test_candles_later_than_the_one_asked_for_wait(run):
    for at in range(4):
        give(run, stamp(at), FLAT, BUY)
    for at in (1, 2):
        assert run_predictor(predictor, run, stamp(at)).status == "ok"
        assert ledger_rows(run, "SELECT max(timestamp) FROM candles") == [(stamp(at),)]


def test_another_capital_is_told_once_and_not_used(tmp_path):
    for capital in (10_000.0, 500.0, 500.0, 500.0):
        run = Run.open(tmp_path, settings(capital=capital))
        at = (run.workspace.newest("candles_live") or stamp(-1)) + MINUTE_MS
        feed(run, at, FLAT, None)
    assert set(run.workspace.read("equity")["equity"]) == {10_000}
    assert (tmp_path / "logs/pipeline.log").read_text().count("capital = 500 is not used") == 1


EVERY_OPTION = {"maker_fee": 0.0002, "impact": 0.001, "volume_share": 0.5, "latency": 1, "funding": "both"}


def test_a_replay_with_every_option_leaves_the_trades_of_the_rules(tmp_path):
    """The settings reach the rules, from candle to candle and across a midnight, at which funding falls due."""
    account, expected = Account(10_000.0), []
    for at, (prices, said) in enumerate(market(90, seed=3)):
        if at % 10 == 0:
            run = Run.open(tmp_path, settings(EVERY_OPTION, against="reverse"))
        volume = 0.0 if at % 7 == 3 else 500.0
        feed(run, stamp(at), {**prices, "quote_volume": volume}, said)
        decision = Decision(stamp(at), said["signal"], said["SL"], said["TP"], said["size"], 0.8, "", "") if said else None
        four = (prices[name] for name in ("open", "high", "low", "close"))
        candle = Candle(stamp(at), *four, volume, 0.0001 if at == 30 else 0.0)
        done = step(account, candle, decision, run.settings.costs, 5, reverse=True)
        account = done.account
        expected += done.trades
    logged = run.state["ledger"].trades()
    assert {"reversal", "take_profit", "stop_loss"} <= set(logged["exit_reason"])
    assert np.count_nonzero(logged["funding"]) == 1
    for name in ("timestamp", "entry", "exit", "quantity", "pnl", "costs", "funding", "equity"):
        assert logged[name].tolist() == pytest.approx([getattr(trade, name) for trade in expected], abs=1e-7), name


def test_the_funding_table_takes_the_place_of_the_constant(tmp_path):
    run = Run.open(tmp_path, settings({"funding": "both"}))
    run.workspace.append("funding_live", one_row(stamp(30) + 15, funding_rate=0.002, status="ok"))
    for at in range(25, 32):
        feed(run, stamp(at), FLAT, BUY if at == 28 else None)
    position = run.state["ledger"].standing()[0].position
    assert position.funding == pytest.approx(0.002 * 100 * position.quantity)


def test_a_ledger_of_version_1_goes_on(tmp_path):
    """One that knew no funding and no latency ends as one that always did."""
    rows, run = market(60), Run.open(tmp_path, settings())
    for at, row in enumerate(rows[:40]):
        feed(run, stamp(at), *row)
    run.state["ledger"].close()
    database = sqlite3.connect(tmp_path / PATH)
    account = json.loads(database.execute("SELECT account FROM standing").fetchone()[0])
    del account["waiting"]
    if account["position"]:
        del account["position"]["funding"]
    database.execute("UPDATE standing SET account = ?", (json.dumps(account),))
    database.execute("ALTER TABLE trades DROP COLUMN funding")
    database.execute("PRAGMA user_version = 1")
    database.commit()
    database.close()
    log, run = run.workspace.path("trade_logs"), Run.open(tmp_path, settings())
    log.write_text(log.read_text().replace(",funding", ""))
    for at, row in enumerate(rows[40:], 40):
        feed(run, stamp(at), *row)
    replay(tmp_path / "whole", 60, 0)
    assert exports(tmp_path) == exports(tmp_path / "whole")


def spoil_with_text(path):
    path.write_bytes(b"these are not the coins that you are looking for\n" * 100)


def spoil_with_another_database(path):
    path.unlink()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE recipes (name)")
    database.commit()


def spoil_by_cutting(path):
    path.write_bytes(path.read_bytes()[:5_000])


def spoil_the_account(path):
    database = sqlite3.connect(path)
    database.execute("UPDATE standing SET account = '{'")
    database.commit()


def spoil_the_version(path):
    sqlite3.connect(path).execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    "spoil",
    [spoil_with_text, spoil_with_another_database, spoil_by_cutting, spoil_the_account, spoil_the_version],
)
def test_a_ledger_that_is_none_is_refused_in_plain_words(run, spoil):
    feed(run, stamp(0), FLAT, BUY)
    run.state.pop("ledger").close()
    path = run.workspace.root / PATH
    spoil(path)
    spoilt = path.read_bytes()
    give(run, stamp(1), FLAT, None)
    with pytest.raises(PipelineError, match=r"ledger\.sqlite: .*ledger") as caught:
        predictor.predict(run, stamp(1))
    assert "Traceback" not in str(caught.value)
    assert path.read_bytes() == spoilt
    assert run_predictor(predictor, run, stamp(1)).fell_back
    assert run.workspace.read("equity")["equity"].tolist() == [10_000, 10_000]


def test_a_ledger_moved_away_under_a_resident_loop_is_opened_anew(run):
    feed(run, stamp(0), FLAT, None)
    for path in (run.workspace.root / PATH).parent.glob("ledger.sqlite*"):
        path.unlink()
    feed(run, stamp(1), FLAT, None)
    assert ledger_rows(run, "SELECT timestamp FROM candles") == [(stamp(1),)]


def test_it_runs_alone_from_the_command_line(run):
    give(run, stamp(0), FLAT, None)
    command = [sys.executable, "-m", "modules.m6_executor.predictor", "--workspace", str(run.workspace.root)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("m6_executor: ok for 2024-04-02 05:00:00 IST")
