"""Chain services as real servers on loopback: good, slow, broken, lying and reorganised; and what lands on disk."""

import json
import math
import re
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug import Request, Response

from modules.core import clock
from modules.core.errors import SourceError
from modules.core.module import run_predictor
from modules.m4a_whale import predictor, sources, transactions, web
from tests.m4a_whale.chain import MINUTE, NOON, Chain, answer, name_of, paying, run_in, sample

EXCHANGE = "bc1qexchange"
KEY = "k3y-that-nobody-may-see"


@pytest.fixture
def waits(monkeypatch):
    waited = []
    monkeypatch.setattr(clock, "sleep", waited.append)
    return waited


@pytest.fixture
def chain(httpserver):
    handler = Chain()
    httpserver.expect_request("/api/blocks/tip/hash").respond_with_handler(handler)
    httpserver.expect_request(re.compile("^/api/.*")).respond_with_handler(handler)
    return handler


@pytest.fixture
def run(tmp_path, httpserver, waits):
    made = run_in(tmp_path, source="mempool", mempool_url=httpserver.url_for(""), timeout_s=0.3, budget_s=5.0)
    addresses = {"exchange_name": ["An exchange"], "address": [EXCHANGE], "type": ["hot"]}
    made.workspace.write("exchange_addresses", {k: np.array(v, object) for k, v in addresses.items()})
    return made


NOW = [0]


@pytest.fixture(autouse=True)
def moment(monkeypatch):
    """The clock says what a test has set, two seconds after the close of the candle that is polled for."""
    monkeypatch.setattr(clock, "now_ms", lambda: NOW[0])


def poll(run, minute):
    NOW[0] = NOON + (minute + 1) * MINUTE + 2_000
    transactions.poll(run, sources.configured(run), NOON + minute * MINUTE)
    return transactions.live(run.workspace)


def whale(name, value=500.0, to="someone", source="elsewhere"):
    return paying(name_of(name), (value * 0.9, to), (value * 0.1, "change"), source=source)


# --- the chain


def test_large_transactions_are_read_with_their_shape_and_sides(run, chain):
    small = paying(name_of("small"), (99.0, "someone"))
    many = paying(name_of("many"), (60.0, EXCHANGE), (50.0, "x"), (0.0, "note"), inputs=3, fee=4_000)
    out = whale("out", 300.0, source=EXCHANGE)
    chain.add(NOON - 5 * MINUTE, small, many, out)
    rows = poll(run, 0)
    assert rows["txid"].tolist() == sorted([name_of("many"), name_of("out")])
    at = rows["txid"].tolist().index(name_of("many"))
    told = {name: values[at] for name, values in rows.items()}
    assert told["value_btc"] == 110.0
    assert (told["inputs"], told["outputs"], told["fee_rate"]) == (3, 2, 20.0)
    assert told["largest_output_share"] == pytest.approx(60 / 110)
    assert (told["to_exchange"], told["from_exchange"]) == (1, 0)
    assert (rows["to_exchange"][1 - at], rows["from_exchange"][1 - at]) == (0, 1)
    assert told["timestamp"] in (NOON - 5 * MINUTE, NOON - 5 * MINUTE + 1)
    assert len([path for path in chain.asked if "/api/tx/" in path]) == 2


def test_a_server_without_summaries_is_read_page_by_page(run, chain):
    chain.summaries = False
    chain.add(NOON, *(paying(name_of(i), (float(i), "x")) for i in range(60, 130)))
    assert poll(run, 1)["value_btc"].tolist() == sorted(map(float, range(100, 130)), key=lambda v: name_of(int(v)))


def test_what_was_missed_is_filled_and_nothing_counts_twice(run, chain):
    chain.add(NOON - MINUTE, whale(0))
    poll(run, 0)
    for minute in range(1, 9):
        chain.add(NOON + minute * MINUTE + 30_000, whale(minute), whale((minute, "b")))
    rows = poll(run, 9)
    assert len(rows["txid"]) == len(set(rows["txid"])) == 17
    assert (rows["timestamp"] // MINUTE)[1::2].tolist() == [NOON // MINUTE + minute for minute in range(1, 9)]
    asked = len(chain.asked)
    assert poll(run, 10)["txid"].tolist() == rows["txid"].tolist()
    assert chain.asked[asked:] == ["/api/blocks/tip/hash"]
    assert poll(run, 10)["txid"].tolist() == rows["txid"].tolist()
    assert len(chain.asked) == asked + 1


def test_the_first_poll_reads_a_few_blocks_only(run, chain):
    for minute in range(20):
        chain.add(NOON + minute * MINUTE, whale(minute))
    assert len(poll(run, 21)["txid"]) == run.settings.whale.backfill_blocks


def test_a_reorganisation_is_followed(run, chain):
    chain.add(NOON - 20 * MINUTE, whale("stays"))
    chain.add(NOON - 10 * MINUTE, whale("again"), whale("lost"))
    first = poll(run, 0)
    chain.orphan(1)
    chain.add(NOON - 9 * MINUTE, whale("again"), branch="b")
    chain.add(NOON + MINUTE, whale("new"), branch="b")
    rows = poll(run, 2)
    by_name = {txid: i for i, txid in enumerate(rows["txid"])}
    assert len(by_name) == len(rows["txid"]) == 4
    assert rows["gone"][by_name[name_of("lost")]] == NOON + 3 * MINUTE
    assert np.isnan(rows["gone"]).sum() == 3
    for name in ("stays", "again"):
        at = first["txid"].tolist().index(name_of(name))
        assert rows["timestamp"][by_name[name_of(name)]] == first["timestamp"][at]
    # Back on the chain some blocks later: it counts again from then on, and never twice at once.
    chain.add(NOON + 3 * MINUTE, whale("lost"), branch="b")
    rows = poll(run, 4)
    lost = [i for i, txid in enumerate(rows["txid"]) if txid == name_of("lost")]
    assert len(lost) == 2
    assert rows["timestamp"][lost[1]] >= rows["gone"][lost[0]]
    kept = transactions.recorded(run.workspace, 100.0)
    assert kept["timestamp"].tolist() == rows["timestamp"].tolist()


def test_a_server_that_lags_behind_is_no_reorganisation(run, chain):
    for minute in range(3):
        chain.add(NOON + minute * MINUTE, whale(minute))
    rows = poll(run, 3)
    chain.orphan(1)
    assert np.isnan(poll(run, 4)["gone"]).all()
    state = run.workspace.read("chain_read")
    assert state["height"][-1] == 800_002
    assert len(rows["txid"]) == 3


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(-200, 300), st.integers(0, 3)), min_size=1, max_size=10))
def test_no_block_clock_changes_a_minute_that_is_over(httpserver, tmp_path_factory, steps):
    """Blocks stamped anywhen, with reorganisations: what earlier minutes were told stays as it was."""
    httpserver.clear()
    handler = Chain()
    httpserver.expect_request(re.compile("^/api/.*")).respond_with_handler(handler)
    folder = tmp_path_factory.mktemp("clock")
    here = run_in(folder, source="mempool", mempool_url=httpserver.url_for(""))
    handler.add(NOON - 10 * MINUTE, whale("first"))
    told = []
    for minute, (offset, orphans) in enumerate(steps):
        if 0 < orphans < len(handler.blocks) - 8:
            handler.orphan(orphans)
        for extra in range(orphans + 1):
            mined = NOON + (minute + offset) * MINUTE
            handler.add(mined, whale((minute, extra)), whale((minute // 2, "both")), branch=str(minute))
        rows = poll(here, minute)
        told.append(counting(rows, minute))
        assert (np.diff(rows["timestamp"]) > 0).all()
    record = transactions.recorded(here.workspace, 100.0)
    for minute, names in enumerate(told):
        assert counting(rows, minute) == names
        assert counting(record, minute) == names
        assert len(names) == len(set(names))


def counting(rows, minute):
    """The transactions that count in a minute's row."""
    stamp = NOON + minute * MINUTE
    counts = (rows["timestamp"] // MINUTE * MINUTE < stamp) & ~(rows["gone"] <= stamp + MINUTE)
    return sorted(rows["txid"][counts].tolist())


@pytest.mark.parametrize("dies_at", ["chain_read", "live_transactions"])
def test_a_poll_that_is_killed_between_two_writes_is_made_good(run, chain, tmp_path, monkeypatch, dies_at):
    chain.add(NOON - MINUTE, whale("one"))
    poll(run, 0)
    chain.add(NOON + MINUTE, whale("two"), whale("three"))

    class Killed(BaseException):
        pass

    def die(name, *_):
        if name == dies_at:
            raise Killed
        return append(name, *_)

    append, write = run.workspace.append, run.workspace.write
    with monkeypatch.context() as patch:
        patch.setattr(run.workspace, "append", die)
        patch.setattr(run.workspace, "write", lambda name, *_: die(name, *_) if name == dies_at else write(name, *_))
        with pytest.raises(Killed):
            poll(run, 2)
    again = run_in(run.workspace.root, source="mempool", mempool_url=run.settings.whale.mempool_url)
    poll(again, 2)
    once = {name: run.workspace.path(name).read_bytes() for name in ("live_transactions", "chain_read")}
    fresh = run_in(tmp_path / "fresh", source="mempool", mempool_url=run.settings.whale.mempool_url)
    tips = chain.blocks[:]
    del chain.blocks[9:]
    poll(fresh, 0)
    chain.blocks[:] = tips
    poll(fresh, 2)
    assert {name: fresh.workspace.path(name).read_bytes() for name in once} == once


def test_old_rows_move_to_the_archive_and_still_count_in_the_record(run):
    class Busy:
        def news(self, known, since_ms, upto_ms):
            numbers = (math.nan,) * 4
            found = [transactions.Transfer(name_of(upto_ms, i), 500.0, *numbers, True, False, upto_ms - i) for i in range(450)]
            return transactions.News(found, [])

    for minute in range(8):
        transactions.poll(run, Busy(), NOON + minute * MINUTE)
    assert len(transactions.live(run.workspace)["txid"]) == transactions.SCORED
    record = transactions.recorded(run.workspace, 100.0)
    assert len(set(record["txid"])) == len(record["txid"]) == 3_600


def test_the_address_table_may_come_from_a_spreadsheet(run):
    path = run.workspace.path("exchange_addresses")
    path.write_bytes("﻿exchange_name,address,type\r\nA,1abc,hot\r\nB, bc1q ,\r\n".encode())
    assert transactions.exchange_addresses(run.workspace) == {"1abc", "bc1q"}


# --- real answers


def test_a_real_transaction_and_a_real_block_are_understood(run, httpserver):
    block = sample("mempool", "tx02_ws_block.json")["block"]
    rows = sample("mempool", "transactions-random.json")[:25]
    block = {**block, "tx_count": len(rows)}
    found = [json.loads(json.dumps(row)) for row in rows]
    httpserver.expect_request("/api/blocks/tip/hash").respond_with_data(block["id"])
    httpserver.expect_request(f"/api/block/{block['id']}").respond_with_json(block)
    httpserver.expect_request(f"/api/v1/block/{block['id']}/summary").respond_with_data("Not Found", status=404)
    httpserver.expect_request(f"/api/block/{block['id']}/txs/0").respond_with_json(found)
    ours = sources.Mempool(web.Web(httpserver.url_for("")), 0.0, frozenset(), 1)
    told = {t.txid: t for t in ours.news([], None, 2 * block["timestamp"] * 1000).transfers}
    for row in rows:
        transfer = told[row["txid"]]
        assert transfer.value_btc == pytest.approx(sum(o["value"] for o in row["vout"]) / 1e8)
        assert transfer.inputs == len(row["vin"])
        assert transfer.fee_rate == pytest.approx(4 * row["fee"] / row["weight"])
        assert transfer.mined == block["timestamp"] * 1000
    single = sample("mempool", "tx02_api_tx.json")
    at = {"mined": NOON, "height": 1}
    known = frozenset([single["vout"][0]["scriptpubkey_address"]])
    assert sources._transaction(single, at, known).to_exchange
    assert sources._transaction(single, at, known).from_exchange  # it pays itself: both sides, no direction


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("text_success", None),
        ("text_empty", None),
        ("text_error", "refused"),
        ("text_bad_json", "shape"),
        ("text_success_bad_count", "shape"),
        ("text_success_bad_key", "shape"),
        ("text_empty_bad_key", "shape"),
        ("text_error_bad_key", "refused"),
    ],
)
def test_whale_alerts_own_answers(httpserver, waits, name, refused):
    httpserver.expect_request("/v1/transactions").respond_with_json(sample("whale_alert", f"{name}.json"))
    source = sources.WhaleAlert(web.Web(httpserver.url_for(""), {"X-WA-API-KEY": KEY}, sleep=waits.append), frozenset())
    if refused is None:
        assert source.news([], None, NOON).transfers == []  # real ones, but of another chain
    else:
        with pytest.raises(SourceError, match=refused):
            source.news([], None, NOON)


# --- services with a key


def alert_row(i, mined=NOON, to="unknown", from_="unknown", amount=250.0, **changes):
    row = {"blockchain": "bitcoin", "symbol": "btc", "hash": name_of("wa", i), "timestamp": mined // 1000}
    sides = {"from": {"address": "a", "owner_type": from_}, "to": {"address": "b", "owner_type": to}}
    return {**row, **sides, "amount": amount, **changes}


def test_whale_alert_is_paged_and_counts_each_once(tmp_path, httpserver, waits, monkeypatch):
    monkeypatch.setenv("WHALE_ALERT_API_KEY", KEY)
    rows = [alert_row(i, to="exchange" if i % 2 else "unknown") for i in range(130)]
    asked = []

    def handler(request: Request) -> Response:
        assert request.headers["X-WA-API-KEY"] == KEY
        assert KEY not in request.url
        asked.append(request.args.to_dict())
        page = rows[100:] if "cursor" in request.args else rows[:100]
        return answer({"result": "success", "cursor": "c-1", "count": len(page), "transactions": page})

    httpserver.expect_request("/v1/transactions").respond_with_handler(handler)
    run = run_in(tmp_path, source="whale_alert", whale_alert_url=httpserver.url_for(""))
    assert len(poll(run, 1)["txid"]) == 130
    table = poll(run, 2)
    assert len(table["txid"]) == 130
    assert table["to_exchange"].sum() == 65
    assert np.isnan(table["fee_rate"]).all()
    assert int(asked[-1]["start"]) < NOON // 1000 + 60  # asked back a little: some are published late


def test_whale_alert_on_a_plan_that_tells_the_last_hour_alone(tmp_path, httpserver, waits, monkeypatch):
    monkeypatch.setenv("WHALE_ALERT_API_KEY", KEY)
    starts = []

    def handler(request: Request) -> Response:
        starts.append(int(request.args["start"]))
        if starts[-1] < NOW[0] // 1000 - 3_600:
            return answer({"result": "error", "message": "older than your plan allows"}, status=400)
        return answer({"result": "success", "cursor": "", "count": 1, "transactions": [alert_row(len(starts), to="unknown")]})

    httpserver.expect_request("/v1/transactions").respond_with_handler(handler)
    run = run_in(tmp_path, source="whale_alert", whale_alert_url=httpserver.url_for(""))
    assert len(poll(run, 0)["txid"]) == 1
    assert len(starts) == 1
    assert len(poll(run, 300)["txid"]) == 2  # after an outage: what the plan tells, once it has refused the rest
    assert len(starts) == 3


def test_what_is_mined_after_a_candle_that_is_asked_about_late_is_stamped_later(run, chain):
    poll(run, 0)
    chain.add(NOON + 178 * MINUTE, whale("later"))
    source = sources.configured(run)
    NOW[0] = NOON + 180 * MINUTE
    transactions.poll(run, source, NOON + MINUTE)
    assert transactions.live(run.workspace)["timestamp"].tolist() == [NOON + 178 * MINUTE]


def test_glassnode_counts_ten_minutes_when_they_have_ended(tmp_path, httpserver, waits, monkeypatch):
    monkeypatch.setenv("GLASSNODE_API_KEY", KEY)

    def handler(request: Request) -> Response:
        assert request.headers["X-Api-Key"] == KEY
        start = NOON // 1000
        return answer([{"t": start, "v": 800.5}, {"t": start + 600, "v": 900.0}, {"t": start + 1200, "v": None}])

    httpserver.expect_request(re.compile("/v1/metrics/transactions/.*")).respond_with_handler(handler)
    run = run_in(tmp_path, source="glassnode", glassnode_url=httpserver.url_for(""))
    assert len(poll(run, 8)["txid"]) == 0
    rows = poll(run, 9)
    assert rows["value_btc"].tolist() == [800.5, 800.5]
    assert rows["mined"].tolist() == [NOON + 10 * MINUTE] * 2
    assert sorted(zip(rows["to_exchange"].tolist(), rows["from_exchange"].tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert len(poll(run, 30)["txid"]) == 4


@pytest.mark.parametrize("status", [401, 403, 429, 500])
@pytest.mark.parametrize("source", ["whale_alert", "glassnode"])
def test_no_key_is_told_anywhere(tmp_path, httpserver, waits, monkeypatch, source, status):
    monkeypatch.setenv(sources.KEYS[source], KEY)
    httpserver.expect_request(re.compile(".*")).respond_with_data(f"bad key {KEY}", status=status)
    run = run_in(tmp_path, source=source, **{f"{source}_url": httpserver.url_for("")})
    outcome = run_predictor(predictor, run, NOON)
    assert outcome.status.startswith("fallback: localhost")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY not in path.read_text()
    with pytest.raises(SourceError) as caught:
        poll(run, 0)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel"])
def test_a_key_that_is_none_is_told_by_its_name_only(tmp_path, monkeypatch, key):
    monkeypatch.setenv("WHALE_ALERT_API_KEY", key)
    with pytest.raises(SourceError, match="WHALE_ALERT_API_KEY") as caught:
        sources.configured(run_in(tmp_path, source="whale_alert"))
    assert not key or key not in str(caught.value)


def test_credentials_in_an_address_are_not_told(tmp_path, httpserver, waits):
    httpserver.expect_request("/api/blocks/tip/hash").respond_with_data("no", status=403)
    url = httpserver.url_for("").replace("http://", f"http://me:{KEY}@")
    with pytest.raises(SourceError) as caught:
        poll(run_in(tmp_path, source="mempool", mempool_url=url), 0)
    assert KEY not in str(caught.value)


# --- the file


def test_a_file_that_is_missing_broken_or_unnamed_is_told(tmp_path):
    for content, told in (
        (None, "cannot be read"),
        ("", "empty"),
        ("timestamp,txid\n1,2\n", "missing"),
        (b"\xff\n", "UTF-8"),
    ):
        path = tmp_path / "in.csv"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(SourceError, match=told):
            poll(run_in(tmp_path, source="file", file=str(path)), 0)
    with pytest.raises(SourceError, match="names none"):
        sources.configured(run_in(tmp_path, source="file"))


def test_a_line_of_the_file_without_an_end_waits(tmp_path):
    header = "timestamp,txid,value_btc,inputs,outputs,largest_output_share,fee_rate,to_exchange,from_exchange\n"
    path = tmp_path / "in.csv"
    path.write_text(header + f"{NOON},a,500,1,1,1,5,0,0\n{NOON + 1},b,5")
    run = run_in(tmp_path, source="file", file=str(path))
    assert poll(run, 1)["txid"].tolist() == ["a"]
    path.write_text(header + f"{NOON},a,500,1,1,1,5,0,0\n{NOON + 1},b,500,,,,,1,0\n")
    assert poll(run, 2)["txid"].tolist() == ["a", "b"]


# --- what goes wrong

TIP = "/api/blocks/tip/hash"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Response("x" * 64), "shape"),
        (Response("<html>busy</html>"), "shape"),
        (Response("", 200), "shape"),
        (Response(b"\xff" * 64), "shape"),
        (Response("slow down", 429, {"Retry-After": "1"}), "too many requests"),
        (Response("oops", 500), "trouble of its own"),
        (Response("bad gateway", 502), "trouble of its own"),
        (Response("teapot", 418), "too many requests"),
        (Response("no", 403), "refused"),
        (Response("elsewhere", 302, {"Location": "http://localhost:1/"}), "refused"),
        (Response("this is no gzip", 200, {"Content-Encoding": "gzip"}), "broke off"),
    ],
)
def test_a_bad_answer_is_tried_again_told_and_leaves_no_trace(run, chain, waits, broken, told):
    chain.add(NOON, whale(1))
    chain.broken[TIP] = broken
    outcome = run_predictor(predictor, run, NOON)
    assert told in outcome.status
    assert outcome.status.startswith("fallback: localhost")
    retried = told not in ("refused",)
    assert len(chain.asked) == (4 if retried else 1)
    assert waits == ([1, 1, 2] if "Retry-After" in broken.headers else [0.5, 1, 2]) if retried else not waits
    assert not run.workspace.exists("chain_read")
    del chain.broken[TIP]
    assert len(poll(run, 0)["txid"]) == 1


def test_a_fault_that_passes_is_no_fault(run, httpserver, chain, waits):
    chain.add(NOON, whale(1))
    httpserver.clear()
    httpserver.expect_ordered_request(TIP).respond_with_data("busy", status=503)
    httpserver.expect_ordered_request(TIP).respond_with_data(chain.blocks[-1]["id"])
    for _ in range(6 * 3):
        httpserver.expect_ordered_request(re.compile("/api/.*")).respond_with_handler(chain)
    assert len(poll(run, 0)["txid"]) == 1
    assert waits == [0.5]


BLOCK_FAULTS = {
    "another block": lambda b: {**b, "id": "f" * 64},
    "no height": lambda b: {k: v for k, v in b.items() if k != "height"},
    "a height that is a text": lambda b: {**b, "height": "800000"},
    "a height below none": lambda b: {**b, "height": -5},
    "a time in 1970": lambda b: {**b, "timestamp": 5},
    "a time that is true": lambda b: {**b, "timestamp": True},
    "a path as the block before": lambda b: {**b, "previousblockhash": "../../secret"},
    "a list": lambda b: [b],
    "null": lambda b: None,
}


@pytest.mark.parametrize("fault", BLOCK_FAULTS)
def test_a_block_of_another_shape_is_refused(run, chain, fault):
    block = chain.add(NOON, whale(1))
    shown = {key: value for key, value in block.items() if key != "transactions"}
    chain.broken[f"/api/block/{block['id']}"] = answer(BLOCK_FAULTS[fault](shown))
    with pytest.raises(SourceError, match="shape"):
        poll(run, 0)
    assert not run.workspace.exists("live_transactions")


TRANSACTION_FAULTS = {
    "another one": lambda t: {**t, "txid": name_of("other")},
    "no outputs": lambda t: {**t, "vout": []},
    "no inputs": lambda t: {**t, "vin": []},
    "a negative value": lambda t: {**t, "vout": [{"value": -1}]},
    "more than all coins": lambda t: {**t, "vout": [{"value": 22 * 10**14}]},
    "more than all coins together": lambda t: {**t, "vout": [{"value": 2 * 10**15}] * 2},
    "a value of NaN": lambda t: {**t, "vout": [{"value": float("nan")}]},
    "a huge number": lambda t: {**t, "fee": 10**400},
    "no weight": lambda t: {**t, "weight": 0},
    "texts for outputs": lambda t: {**t, "vout": ["100"]},
    "deep nesting": lambda t: json.loads("[" * 500 + "]" * 500),
}


@pytest.mark.parametrize("fault", TRANSACTION_FAULTS)
def test_a_transaction_of_another_shape_is_refused(run, chain, fault):
    transaction = whale(1)
    chain.add(NOON, transaction)
    chain.broken[f"/api/tx/{transaction['txid']}"] = answer(TRANSACTION_FAULTS[fault](transaction))
    with pytest.raises(SourceError, match="shape"):
        poll(run, 0)
    assert not run.workspace.exists("live_transactions")


@pytest.mark.parametrize("fault", [{"previousblockhash": "f" * 64}, {"height": 800_005}])
def test_blocks_that_do_not_follow_one_another_are_refused(run, chain, fault):
    poll(run, 0)
    first, _ = chain.add(NOON, whale(1)), chain.add(NOON + MINUTE, whale(2))
    shown = {k: v for k, v in first.items() if k != "transactions"}
    chain.broken[f"/api/block/{first['id']}"] = answer({**shown, **fault})
    with pytest.raises(SourceError, match="follow one another"):
        poll(run, 2)
    assert not run.workspace.exists("live_transactions")


def test_a_block_on_itself_ends(run, chain):
    block = chain.add(NOON, whale(1))
    shown = {k: v for k, v in block.items() if k != "transactions"}
    chain.broken[f"/api/block/{block['id']}"] = answer({**shown, "previousblockhash": block["id"]})
    with pytest.raises(SourceError, match="follow one another"):
        poll(run, 0)


@pytest.mark.parametrize("summaries", [True, False])
def test_a_shorter_answer_than_the_block_is_no_answer(run, chain, summaries):
    chain.summaries = summaries
    block = chain.add(NOON, *(whale(i) for i in range(10)))
    path = f"/api/v1/block/{block['id']}/summary" if summaries else f"/api/block/{block['id']}/txs/0"
    rows = [{"txid": t["txid"], "value": 5e10} for t in block["transactions"]] if summaries else block["transactions"]
    for some in (rows[:1], rows[:-1], rows[:-1] + rows[:1], []):
        chain.broken[path] = answer(some)
        with pytest.raises(SourceError, match="shape"):
            poll(run, 0)
    del chain.broken[path]
    assert len(poll(run, 1)["txid"]) == 10


@pytest.mark.parametrize("status", [200, 302, 500])
def test_an_endless_answer_is_cut_off(run, chain, monkeypatch, status):
    monkeypatch.setattr(web, "MAX_ANSWER_BYTES", 1 << 20)
    pieces = (b"a" * (1 << 16) for _ in range(10_000))
    chain.broken[TIP] = Response(pieces, status, {"Location": "http://localhost:1/"})
    with pytest.raises(SourceError, match="more than 1 MiB"):
        poll(run, 0)
    assert len(chain.asked) == 1


def test_a_block_of_too_many_large_ones_is_refused(run, chain, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LARGE", 3)
    chain.add(NOON, *(whale(i) for i in range(4)))
    with pytest.raises(SourceError, match="4 large transactions"):
        poll(run, 0)


@pytest.mark.parametrize("habit", ["silent", "dripping", "truncated", "gone"])
def test_a_bad_line_is_bounded_in_time(tmp_path, waits, habit):
    """A server of our own on a bare socket: one that never answers, answers a byte at a time, or hangs up."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.05)
    port = server.getsockname()[1]
    over = threading.Event()

    def serve():
        while not over.is_set():
            try:
                line, _ = server.accept()
            except TimeoutError:
                continue
            with line:
                if habit == "gone":
                    continue
                line.recv(4096)
                if habit == "silent":
                    over.wait(2)
                    continue
                try:
                    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + b"a" * 10)
                    while habit == "dripping" and not over.wait(0.05):
                        line.sendall(b"a")
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started = time.perf_counter()
    run = run_in(tmp_path, source="mempool", mempool_url=f"http://127.0.0.1:{port}", timeout_s=0.2)
    with pytest.raises(SourceError, match=r"did not answer within|broke off|no connection"):
        poll(run, 0)
    assert time.perf_counter() - started < 3
    over.set()
    thread.join()
    server.close()


@pytest.mark.parametrize("summaries", [True, False])
def test_what_a_minute_has_no_time_for_is_read_in_the_next_ones(run, chain, monkeypatch, summaries):
    """A server that takes a quarter of a second for each answer, and five seconds a minute: blocks of sixty large
    transactions, and a reorganisation in the midst of one, are read in the end, each once."""
    chain.summaries, chain.page = summaries, 3
    monkeypatch.setattr(sources, "PAGE", chain.page)
    poll(run, 0)
    for minute in range(1, 4):
        chain.add(NOON + minute * MINUTE, *(whale((minute, i)) for i in range(60)))
    wanted = {t["txid"] for block in chain.blocks[-2:] for t in block["transactions"][1:]}
    seconds = [0.0]
    chain.after_each = lambda: seconds.append(seconds.pop() + 0.25)
    minute, kept = 4, []
    while (rows := polled(run, minute, seconds)) is None or np.isnan(rows["gone"]).sum() < 180:
        kept.append(0 if rows is None else len(rows["txid"]))
        if len(kept) == 3:
            chain.orphan(3)
            for again in range(2, 4):
                chain.add(NOON + again * MINUTE, *(whale((again, i)) for i in range(60)), branch="b")
            chain.add(NOON + 5 * MINUTE, *(whale((5, i)) for i in range(60)), branch="b")
        minute += 1
        assert minute < 400
    counting = rows["txid"][np.isnan(rows["gone"])].tolist()
    assert len(counting) == len(set(counting)) == 180
    assert wanted < set(counting)
    assert len(kept) > 4
    assert kept[2] % 60 > 0
    assert polled(run, minute + 1, seconds)["txid"].tolist() == rows["txid"].tolist()


def polled(run, minute, seconds):
    """A poll by a clock of the test's own; None where there was no time for anything."""
    source = sources.configured(run)
    source.web.monotonic = lambda: seconds[0]
    source.web.deadline = seconds[0] + source.web.budget_s
    NOW[0] = NOON + (minute + 1) * MINUTE + 2_000
    try:
        transactions.poll(run, source, NOON + minute * MINUTE)
    except web.Spent:
        return None
    return transactions.live(run.workspace)


def test_a_budget_that_is_over_is_told(run, chain):
    chain.add(NOON, whale(1))
    source = sources.configured(run)
    source.web.deadline = 0
    with pytest.raises(SourceError, match="longer than the 5 s"):
        transactions.poll(run, source, NOON)
