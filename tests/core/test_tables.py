"""One table: what is written comes back, what is no table is refused, and a person can open it in a spreadsheet."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import ANY_TEXT, START, columns_of, part, plain, rows_of

from modules.core.catalog import NUMBER, TABLES, TEXT
from modules.core.errors import TableError
from modules.core.tables import Workspace, datetime_ist, parse, render, safe_text

ALL = sorted(TABLES)
REGIMES = TABLES["current_regime"]
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|\t|\r")


def on_disk(table, columns):
    header, lines = render(table, "here", columns)
    return parse(table, "here", header, lines)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_round_trip(name, data):
    table = TABLES[name]
    columns = data.draw(rows_of(table))
    back = on_disk(table, columns)
    for column in columns_of(table):
        wanted, got = columns[column.name], back[column.name]
        if column.kind == NUMBER:
            np.testing.assert_allclose(got, wanted, rtol=1e-15, atol=0.5000001 * 10.0**-column.decimals)
        elif column.kind == TEXT:
            assert [safe_text(text) for text in wanted] == list(got)
        else:
            assert list(wanted) == list(got)
    once_more = on_disk(table, back)
    assert render(table, "here", once_more) == render(table, "here", back)


@pytest.mark.parametrize("name", ALL)
def test_through_a_file(name, tmp_path):
    table, k = TABLES[name], 3 if TABLES[name].numbered else None
    columns = plain(table, 5)
    Workspace(tmp_path).write(name, columns, k)
    back = Workspace(tmp_path).read(name, k)
    assert {column.name for column in columns_of(table)} == set(back)
    for key in columns:
        assert list(columns[key]) == list(back[key])
    assert list(tmp_path.rglob("*.tmp")) == []


@given(ANY_TEXT)
def test_text_is_one_cell_and_starts_no_formula(text):
    columns = plain(REGIMES, 2) | {"status": np.array([text, "ok"], object)}
    header, lines = render(REGIMES, "here", columns)
    rows = list(csv.reader(io.StringIO("\n".join([",".join(header), *lines]).encode().decode("utf-8"), newline="")))
    assert [len(row) for row in rows] == [len(header)] * 3
    cell = rows[1][-1]
    assert not FORMULA.match(cell)
    assert "\n" not in cell
    letters = [c for c in text if c.isalnum()]
    assert [c for c in cell if c.isalnum()] == letters


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "  =1", "\n=1", "\x00=1", "＝1"])
def test_formulas_are_neutralised(text):
    assert not FORMULA.match(safe_text(text))
    assert safe_text(safe_text(text)) == safe_text(text)


@pytest.mark.parametrize("text", ["a - b", "BUY, then SELL", "5 % = much", "'quoted'", "", "fallback: why"])
def test_harmless_text_stays(text):
    assert safe_text(text) == text


@given(st.floats(-1e12, 1e12) | st.sampled_from([-0.0, 1e-11, -1e-11, 1e-10, 1e12, -0.4]))
def test_numbers_are_plain_decimals(value):
    columns = plain(TABLES["equity"], 1) | {"cash": np.array([value])}
    cell = render(TABLES["equity"], "here", columns)[1][0].split(",")[2]
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", cell)
    assert cell != "-0"
    assert abs(float(cell) - value) <= 0.5000001e-8 + abs(value) * 1e-15


def test_a_negative_zero_without_decimals():
    columns = plain(TABLES["candles_history"], 1) | {"trades": np.array([-0.0])}
    assert render(TABLES["candles_history"], "here", columns)[1][0].split(",")[7] == "0"


def test_datetime_ist():
    assert datetime_ist(START) == "2024-04-01 05:30:00"
    header, lines = render(REGIMES, "here", plain(REGIMES, 1, START + 18 * 3_600_000 + 1_800_000))
    assert header[:2] == ["timestamp", "datetime_ist"]
    assert lines[0].split(",")[1] == "2024-04-02 00:00:00"


# What is refused

HEADER = "timestamp,datetime_ist,regime,confidence,status"


def refused(tmp_path, content, **how):
    workspace = Workspace(tmp_path)
    path = workspace.path("current_regime")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TableError) as caught:
        workspace.read("current_regime", **how)
    assert str(path) in str(caught.value)
    return caught.value.faults


BAD = [
    f"{START},x,TREND_UP,0.5,ok",
    f"{START + 60_000},x,UP,1.5,ok",
    f"{START + 60_000},x,TREND_UP,,ok",
    "noon,x,TREND_UP,-1,ok",
    f"{START + 180_000},x,TREND_UP,nan,ok",
    f"{START + 240_000},x,TREND_UP,inf,ok",
    f"{START + 300_000},x,TREND_UP,0.5",
    f"{10**30},x,TREND_UP,much,ok",
    "",
]
FAULTS = {
    "row 3: regime is 'UP', must be one of",
    "row 3: confidence is 1.5, above 1",
    f"row 4: timestamp {START + 60_000} does not follow the row before it",
    "row 4: confidence is empty",
    "row 5: timestamp is 'noon', not a number",
    "row 5: confidence is -1.0, below 0",
    "row 6: confidence is 'nan', not a number",
    "row 7: confidence is not finite",
    "row 8: 4 cells, the header has 5",
    f"row 9: timestamp is '{10**30}', not a number",
    "row 9: confidence is 'much', not a number",
    "row 10: 0 cells, the header has 5",
}


@pytest.mark.parametrize("last", [None, 9, 8, 6, 4, 1])
def test_every_fault_at_once_by_its_row(tmp_path, last):
    faults = refused(tmp_path, "\n".join([HEADER, *BAD, ""]), last=last)
    wanted = {fault for fault in FAULTS if int(fault.split()[1].rstrip(":")) >= (2 if last is None else 11 - last)}
    assert len(faults) == len(wanted)
    assert all(any(fault.startswith(start) for fault in faults) for start in wanted), faults


def test_row_numbers_of_a_table_that_is_not_live(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.write("whale_history", plain(TABLES["whale_history"], 20))
    path = workspace.path("whale_history")
    lines = path.read_text().split("\n")
    lines[18] = lines[18].replace("none", "nothing").replace("pressure", "pleasure")
    path.write_text("\n".join(lines))
    assert len(workspace.read("whale_history", last=2)["timestamp"]) == 2
    with pytest.raises(TableError, match="1 fault\n  - row 19: impact_type is "):
        workspace.read("whale_history", last=3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n", "column timestamp is missing"),
        (f"{HEADER}\n{START},x,TREND_UP,0.5,ok\n{START + 60_000},x,TREN", "row 3 has no end"),
        (HEADER.encode() + b"\n1,\xff\xfe,a,b,c\n", "is not UTF-8 text"),
        ("timestamp,regime,confidence\n", "column status is missing"),
        (HEADER + ",extra\n", "column extra is not in the catalog"),
        (HEADER + ",status\n", "stands twice"),
        (f'{HEADER}\n{START},x,TREND_UP,0.5,"open\n{START + 60_000},x,TREND_UP,0.5,ok\n', "row 2: cannot be split"),
        (f"{HEADER}\n{START},x,TREND\rUP,0.5,ok\n", "row 2: cannot be split"),
        (f"{HEADER}\n{START * 1000},x,TREND_UP,0.5,ok\n", "row 2: timestamp is 1711929600000000.0, above"),
    ],
)
def test_what_is_no_table_is_told_in_plain_words(tmp_path, content, told):
    assert any(told in fault for fault in refused(tmp_path, content))


def test_many_faults_are_counted_and_twenty_shown(tmp_path):
    faults = refused(tmp_path, "\n".join([HEADER, *[f"{START + i},x,UP,0.5,ok" for i in range(50)], ""]))
    assert len(faults) == 50
    assert str(TableError("here", faults)).count("\n") == 21


def test_a_byte_order_mark_and_other_line_ends_are_no_fault(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.write("current_regime", plain(REGIMES, 3))
    path = workspace.path("current_regime")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(Workspace(tmp_path).read("current_regime")["status"]) == ["ok"] * 3


@pytest.mark.parametrize("name", ["current_regime", "candles_history"])
def test_a_missing_table(tmp_path, name):
    with pytest.raises(TableError, match="cannot be read"):
        Workspace(tmp_path).read(name)
    assert not Workspace(tmp_path).exists(name)
    assert Workspace(tmp_path).newest(name) is None


@pytest.mark.parametrize("act", [lambda w: w.newest("current_regime"), lambda w: w.append("current_regime", plain(REGIMES, 1))])
def test_a_line_without_a_stamp(tmp_path, act):
    workspace = Workspace(tmp_path)
    workspace.write("current_regime", plain(REGIMES, 1))
    path = workspace.path("current_regime")
    path.write_text(path.read_text() + "\n")
    with pytest.raises(TableError, match="does not begin with a timestamp"):
        act(workspace)


def test_nothing_wrong_is_written(tmp_path):
    workspace = Workspace(tmp_path)
    good = plain(REGIMES, 3)
    workspace.write("current_regime", good)
    before = workspace.path("current_regime").read_bytes()
    wrong = good | {
        "confidence": np.array([0.5, np.nan, 2.0]),
        "regime": np.array(["UP", "TREND_UP", "TREND_UP"], object),
    }
    for act in (workspace.write, workspace.append):
        with pytest.raises(TableError) as caught:
            act("current_regime", wrong)
        assert len(caught.value.faults) == 3
        for other in (good | {"more": good["confidence"]}, part(good, 0, 2) | {"status": good["status"]}, {}):
            with pytest.raises(TableError):
                act("current_regime", other)
    assert workspace.path("current_regime").read_bytes() == before
