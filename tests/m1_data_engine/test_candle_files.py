"""Candle files: every format they come in, every fault they may have, and none that slips through."""

import gzip
import io
import os
import random
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modules.core.errors import PipelineError, TableError
from modules.m1_data_engine import candle_files
from modules.m1_data_engine.candle_files import COLUMNS, empty_columns, parse_kline_rows, read_candles

MINUTE = 60_000
START = 1_711_929_600_000  # 2024-04-01 00:00 UTC
HEADER = ",".join(COLUMNS)
BINANCE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def candle(minute, **changes):
    """A valid candle as a dict of texts; ``changes`` spoil it."""
    base = {
        "timestamp": START + minute * MINUTE,
        "open": 100 + minute,
        "high": 103.5 + minute,
        "low": 99.25 + minute,
        "close": 101 + minute,
        "volume": 10,
        "quote_volume": 1_000,
        "trades": 7,
        "taker_buy_base": 4,
        "taker_buy_quote": 400,
    }
    return {name: str(value) for name, value in (base | changes).items()}


def csv_text(candles, columns=COLUMNS, end="\n"):
    return end.join([",".join(columns), *(",".join(row[name] for name in columns) for row in candles)]) + end


def binance_fields(row, per_ms=1.0):
    stamp = int(row["timestamp"])
    times = [str(int(stamp * per_ms)), str(int((stamp + MINUTE) * per_ms) - 1)]
    prices = [row[name] for name in ("open", "high", "low", "close", "volume")]
    rest = [row[name] for name in ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")]
    return [times[0], *prices, times[1], *rest, "0"]


def binance_text(candles, per_ms=1.0):
    return "".join(",".join(binance_fields(row, per_ms)) + "\n" for row in candles)


def spoilt(data, place):
    return data[:place] + b"\xaa\xaa" + data[place + 2 :]


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
    """Write the text or the bytes to a file and read it as candles."""

    def written_and_read(content, **options):
        path = tmp_path / "candles"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_candles(path, **options)

    return written_and_read


@pytest.fixture
def faults(read):
    """The faults that reading a content raises."""

    def found(content, **options):
        with pytest.raises(TableError) as caught:
            read(content, **options)
        assert caught.value.path.endswith("candles")
        return caught.value.faults

    return found


def assert_valid(columns):
    assert tuple(columns) == COLUMNS
    stamps = columns["timestamp"]
    assert stamps.dtype == np.int64
    assert len(stamps) > 0
    assert (stamps % MINUTE == 0).all()
    assert (np.diff(stamps) == MINUTE).all()
    for name in COLUMNS[1:]:
        assert columns[name].dtype == np.float64
        assert columns[name].shape == stamps.shape
        assert columns[name].flags.c_contiguous
        assert np.isfinite(columns[name]).all()
        assert (columns[name] >= 0).all()
    assert (columns["low"] > 0).all()
    for name in ("open", "close"):
        assert (columns[name] <= columns["high"]).all()
        assert (columns[name] >= columns["low"]).all()
    assert (columns["taker_buy_base"] <= columns["volume"] * (1 + 1e-9) + 1e-6).all()


def assert_holds(columns, candles):
    assert_valid(columns)
    for name in COLUMNS:
        np.testing.assert_array_equal(columns[name], [float(row[name]) for row in candles])


GOOD = [candle(minute) for minute in range(5)]
SHUFFLED = (*COLUMNS[::-1], "note")
FORMATS = {
    "ours": csv_text(GOOD),
    "other order and a further column": csv_text([row | {"note": "fine"} for row in GOOD], SHUFFLED),
    "empty further column": csv_text([row | {"note": ""} for row in GOOD], SHUFFLED)[:-1],
    "quoted comma in a further column": csv_text([row | {"note": '"a, b"'} for row in GOOD], SHUFFLED),
    "everything quoted": csv_text(GOOD).replace(",", '","').replace("\n", '"\n"')[:-1].join(['"', ""]),
    "names in capitals, blanks after commas": csv_text(GOOD).replace(",", ", ").replace("open", "Open"),
    "CRLF": csv_text(GOOD, end="\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + csv_text(GOOD).encode(),
    "blank lines": "\n" + csv_text(GOOD) + "\n  \n\r\n",
    "blank lines between": csv_text(GOOD).replace("\n", "\n\n"),
    "no line end at the end": csv_text(GOOD).rstrip(),
    "gzip": gzip.compress(csv_text(GOOD).encode()),
    "zip": zipped(("x.csv", csv_text(GOOD))),
    "Binance": binance_text(GOOD),
    "Binance, one line end less": binance_text(GOOD)[:-1],
    "Binance with header": BINANCE_HEADER + "\n" + binance_text(GOOD),
    "Binance in microseconds": binance_text(GOOD, per_ms=1_000),
    "Binance in seconds": binance_text(GOOD, per_ms=0.001),
    "Binance, units mixed": binance_text(GOOD[:2]) + binance_text(GOOD[2:], per_ms=1_000),
    "Binance zip": zipped(("BTCUSDT-1m-2024-04.csv", binance_text(GOOD, per_ms=1_000))),
    "Binance zip, stored, in a folder": zipped(("d/", ""), ("d/x.csv", binance_text(GOOD)), method=zipfile.ZIP_STORED),
    "Binance gzip": gzip.compress(binance_text(GOOD).encode()),
}


@pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_gives_the_same_candles(read, content):
    columns, repairs = read(content)
    assert_holds(columns, GOOD)
    assert repairs == []


@pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS.keys())
def test_both_ways_of_reading_agree(tmp_path, content):
    path = tmp_path / "candles"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    columns, _ = candle_files._validated(path, candle_files._read_slow(path), 60)
    assert_holds(columns, GOOD)


def test_one_candle_is_enough(read):
    assert_holds(read(csv_text(GOOD[:1]))[0], GOOD[:1])


# Repairs


def test_exact_duplicates_are_dropped_and_counted(read):
    columns, repairs = read(csv_text([GOOD[0], GOOD[1], GOOD[1], GOOD[1], *GOOD[2:]]))
    assert_holds(columns, GOOD)
    assert repairs == ["2 duplicate rows dropped"]


def test_rows_out_of_order_are_sorted_and_counted(read):
    columns, repairs = read(csv_text([GOOD[0], GOOD[2], GOOD[1], GOOD[4], GOOD[3]]))
    assert_holds(columns, GOOD)
    assert repairs == ["2 rows out of order sorted"]


def test_a_gap_is_filled_with_flat_candles(read):
    columns, repairs = read(csv_text([GOOD[0], GOOD[1], GOOD[4]]))
    assert_valid(columns)
    assert repairs == ["gap of 2 minutes after 2024-04-01 00:01 UTC filled with flat candles"]
    for name in ("open", "high", "low", "close"):
        assert columns[name][2:4].tolist() == [102, 102]
    for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        assert columns[name][2:4].tolist() == [0, 0]
    assert columns["close"][4] == 105


def test_many_gaps_are_summed_up(read):
    _, repairs = read(csv_text([candle(2 * minute) for minute in range(31)]))
    assert len(repairs) == 21
    assert repairs[0] == "gap of 1 minute after 2024-04-01 00:00 UTC filled with flat candles"
    assert repairs[-1] == "10 further gaps of 10 minutes in all filled with flat candles"


@pytest.mark.parametrize("cut", ["1711929900000,105,108", "1711929900000", "1711929900000,1,1,1,1,1,1,1,1,"])
def test_half_a_line_at_the_end_is_dropped(read, cut):
    columns, repairs = read(csv_text(GOOD) + cut)
    assert_holds(columns, GOOD)
    assert repairs == ["half a line at the end (row 7) dropped"]


def test_all_repairs_of_a_file_are_told(read):
    text = csv_text([GOOD[0], GOOD[3], GOOD[1], GOOD[1]]) + "17119"
    assert read(text)[1] == [
        "half a line at the end (row 6) dropped",
        "2 rows out of order sorted",
        "1 duplicate row dropped",
        "gap of 1 minute after 2024-04-01 00:01 UTC filled with flat candles",
    ]


# Faults

CELL_FAULTS = [
    ({"high": "abc"}, "row 4, column high: 'abc' is not a finite number"),
    ({"high": ""}, "row 4, column high: '' is not a finite number"),
    ({"high": "1_000"}, "row 4, column high: '1_000' is not a finite number"),
    ({"high": "x" * 500}, f"row 4, column high: '{'x' * 57}...' is not a finite number"),
    ({"volume": "NaN"}, "row 4, column volume: 'NaN' is not a finite number"),
    ({"trades": "inf"}, "row 4, column trades: 'inf' is not a finite number"),
    ({"quote_volume": "1e999"}, "row 4, column quote_volume: '1e999' is not a finite number"),
    ({"timestamp": "2024-04-01"}, "row 4, column timestamp: '2024-04-01' is not a finite number"),
    ({"timestamp": "12"}, "row 4, column timestamp: 12 is no time in Unix seconds, milliseconds or microseconds"),
    ({"timestamp": START + 1}, f"row 4, column timestamp: {START + 1} is not on a whole minute"),
    ({"timestamp": f"{START}.5"}, f"row 4, column timestamp: {START}.5 is not on a whole minute"),
    ({"open": "0"}, "row 4, column open: 0 is not above zero"),
    ({"close": "-1.5"}, "row 4, column close: -1.5 is not above zero"),
    ({"volume": "-1", "taker_buy_base": "0"}, "row 4, column volume: -1 is negative"),
    ({"taker_buy_quote": "-0.1"}, "row 4, column taker_buy_quote: -0.1 is negative"),
    ({"high": "99.5"}, "row 4, column high: 99.5 is below the low 101.25"),
    ({"open": "200"}, "row 4, column open: 200 is outside low 101.25 to high 105.5"),
    ({"close": "100.1"}, "row 4, column close: 100.1 is outside low 101.25 to high 105.5"),
    ({"taker_buy_base": "10.1"}, "row 4, column taker_buy_base: 10.1 is more than volume 10"),
    ({"taker_buy_quote": "1001"}, "row 4, column taker_buy_quote: 1001 is more than quote_volume 1000"),
]


@pytest.mark.parametrize(("changes", "sentence"), CELL_FAULTS, ids=[sentence[:60] for _, sentence in CELL_FAULTS])
def test_a_bad_cell_is_named_by_row_and_column(faults, changes, sentence):
    assert faults(csv_text([*GOOD[:2], candle(2, **changes), *GOOD[3:]])) == [sentence]


def test_all_faults_are_listed_at_once_in_the_order_of_the_file(faults):
    rows = [GOOD[0], candle(1, high="?"), candle(2, low="-1", close="x"), GOOD[3]]
    text = csv_text(rows) + "1,2\n" + csv_text([candle(5, volume="nan")]).split("\n", 1)[1]
    assert faults(text) == [
        "row 3, column high: '?' is not a finite number",
        "row 4, column close: 'x' is not a finite number",
        "row 4, column low: -1 is not above zero",
        "row 6: 2 fields instead of 10: '1,2'",
        "row 7, column volume: 'nan' is not a finite number",
    ]


def test_the_message_names_file_and_row(read):
    with pytest.raises(TableError, match=r"candles: 1 fault\n  - row 3, column high: 'abc'"):
        read(csv_text([GOOD[0], candle(1, high="abc")]))


def test_rows_are_counted_as_the_file_numbers_its_lines(faults):
    text = "\n\n" + csv_text([GOOD[0]]) + "\n" + csv_text([candle(1, high="abc")]).split("\n", 1)[1]
    assert faults(text) == ["row 6, column high: 'abc' is not a finite number"]
    text = binance_text([GOOD[0], candle(1, high="abc")])
    assert faults(text) == ["row 2, column high: 'abc' is not a finite number"]


def test_a_minute_with_two_truths_is_a_fault(faults):
    assert faults(csv_text([*GOOD[:3], candle(1, volume=11)])) == [
        "row 5: 2024-04-01 00:01 UTC stands in row 3 with different values"
    ]


def test_a_long_gap_is_a_fault_that_names_the_setting(faults, read):
    text = csv_text([GOOD[0], GOOD[1], candle(63)])
    assert faults(text) == [
        "row 4: gap of 61 minutes after 2024-04-01 00:01 UTC, more than the 60 that the setting data.max_gap_minutes allows"
    ]
    assert_valid(read(text, max_gap_minutes=61)[0])
    assert len(faults(csv_text([GOOD[0], GOOD[2]]), max_gap_minutes=0)) == 1


def test_missing_columns_are_named(faults):
    columns = [name for name in COLUMNS if name not in ("low", "trades")]
    assert faults(csv_text(GOOD, columns)) == [
        "row 1: column low is missing",
        "row 1: column trades is missing; the header line reads 'timestamp,open,high,close,volume,quote_volume,taker_buy_b...'",
    ]


def test_a_column_that_stands_twice(faults):
    text = "\n".join(line + ",1" for line in csv_text(GOOD).splitlines()).replace(",1\n", ",open\n", 1)
    assert faults(text)[0].startswith("row 1: column open stands 2 times; the header line reads 'timestamp,open,")


def test_a_surplus_field_is_a_fault(faults):
    lines = csv_text(GOOD).splitlines(keepends=True)
    lines[3] = lines[3].replace("105.5", "105,5")
    assert faults("".join(lines))[0].startswith("row 4: 11 fields instead of 10: '1711929720000,102,105,5,")


def test_no_header_and_not_binance(faults):
    assert faults(csv_text(GOOD).split("\n", 1)[1])[0].startswith(
        "row 1: no header line, and 10 fields instead of the 12 of Binance's files; begin the file with the line time"
    )


def test_garbage_is_told_in_bounds(faults):
    found = faults(HEADER + "\n" + "a,b\n" * 5_000)
    assert len(found) == 1_001
    assert found[-1] == "row 1002: not checked from here on, after 1000 faults"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"\n \r\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (HEADER.encode(), "there are no candles in it"),
        (HEADER.encode() + b"\r\n\r\n", "there are no candles in it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "the file is not a text file in UTF-8"),
        (csv_text(GOOD).encode() + b"\xff", "the file is not a text file in UTF-8"),
        (csv_text(GOOD).encode("utf-16"), "the file is not a text file in UTF-8"),
        (b"a" * (3 << 20), "the file is not a text file in UTF-8"),
        (gzip.compress(b"\0" * (3 << 20)), "the file is not a text file in UTF-8"),
        (FORMATS["gzip"][:-12], "the archive is damaged or was cut off: fetch the file again"),
        (spoilt(FORMATS["gzip"], 40), "the archive is damaged or was cut off: fetch the file again"),
        (FORMATS["gzip"] + b"tail", "the file cannot be read: the archive is damaged"),
        (b"\x1f\x8b nonsense", "the file cannot be read: the archive is damaged"),
        (FORMATS["zip"][:-30], "the zip archive is damaged or was cut off: fetch the file again"),
        (b"PK\x03\x04 nonsense", "the zip archive is damaged or was cut off: fetch the file again"),
        (zipped(), "the zip archive holds 0 files, it must hold one CSV file"),
        (zipped(("a", "1"), ("b", "2")), "the zip archive holds 2 files, it must hold one CSV file"),
        (
            zipped(("a", "1"), method=zipfile.ZIP_BZIP2),
            "the zip archive is packed by an unusual method: unpack it first",
        ),
    ],
)
def test_what_is_no_candle_file_is_told_in_plain_words(faults, content, sentence):
    assert faults(content) == [sentence]


def test_an_encrypted_zip(faults):
    data = bytearray(FORMATS["zip"])
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    assert faults(bytes(data)) == ["the zip archive is encrypted: unpack it first"]


def test_a_zip_with_a_wrong_checksum(faults):
    data = bytearray(zipped(("x.csv", csv_text(GOOD)), method=zipfile.ZIP_STORED))
    data[data.index(b"103.5")] ^= 1
    assert faults(bytes(data)) == ["the zip archive is damaged or was cut off: fetch the file again"]


def test_an_archive_that_unpacks_to_too_much_is_refused(faults, monkeypatch):
    monkeypatch.setattr(candle_files, "MAX_BYTES", 1 << 20)
    text = csv_text([candle(minute) for minute in range(30_000)]).encode()
    for packed in (gzip.compress(text), zipped(("x.csv", text))):
        assert faults(packed) == ["the file holds more than 1 MiB of text"]


def test_a_zip_that_lies_about_its_size(faults, monkeypatch):
    monkeypatch.setattr(candle_files, "MAX_BYTES", 1 << 20)
    text = csv_text([candle(minute) for minute in range(30_000)]).encode()
    data = bytearray(zipped(("x.csv", text)))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        data[data.index(mark) + offset : data.index(mark) + offset + 4] = struct.pack("<I", 1_000)
    assert len(faults(bytes(data))) == 1


def test_paths_that_are_no_files(tmp_path, monkeypatch):
    with pytest.raises(TableError, match="the file does not exist"):
        read_candles(tmp_path / "none.csv")
    with pytest.raises(TableError, match="this is a directory, not a file"):
        read_candles(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TableError, match="this is a device or a pipe, not a file"):
        read_candles(tmp_path / "pipe")

    (tmp_path / "secret.csv").write_text(csv_text(GOOD))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not bind root, under which tests may run
    with pytest.raises(TableError, match=r"secret.csv: 1 fault\n  - no permission to read the file"):
        read_candles(tmp_path / "secret.csv")


# The exchange's rows


def kline_row(row):
    fields = binance_fields(row)
    return [int(fields[0]), *fields[1:6], int(fields[6]), fields[7], int(fields[8]), *fields[9:]]


def test_kline_rows_give_the_same_candles():
    assert_holds(parse_kline_rows([kline_row(row) for row in GOOD]), GOOD)


def test_kline_rows_are_repaired_like_files():
    repairs = []
    columns = parse_kline_rows([kline_row(GOOD[index]) for index in (2, 0, 0, 4)], repairs=repairs)
    assert_valid(columns)
    assert [repair.split(" after")[0] for repair in repairs] == [
        "2 rows out of order sorted",
        "1 duplicate row dropped",
        "gap of 1 minute",
        "gap of 1 minute",
    ]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda rows: rows.__setitem__(1, rows[1][:5]), "row 2: \"[1711929660000, '101', "),
        (lambda rows: rows.__setitem__(1, None), "row 2: 'None' is not a row of 12 fields"),
        (lambda rows: rows.__setitem__(1, "abcdefghijklm"), "row 2: 'abcdefghijklm' is not a row of 12 fields"),
        (lambda rows: rows[1].__setitem__(2, None), "row 2, column high: 'None' is not a finite number"),
        (lambda rows: rows[1].__setitem__(2, True), "row 2, column high: 'True' is not a finite number"),
        (lambda rows: rows[1].__setitem__(2, float("nan")), "row 2, column high: 'nan' is not a finite number"),
        (lambda rows: rows[1].__setitem__(2, ["1"]), "row 2, column high: \"['1']\" is not a finite number"),
        (lambda rows: rows[1].__setitem__(3, "-3"), "row 2, column low: -3 is not above zero"),
        (list.clear, "there are no candles in it"),
    ],
)
def test_bad_kline_rows_are_named(spoil, sentence):
    rows = [kline_row(row) for row in GOOD]
    spoil(rows)
    with pytest.raises(TableError) as caught:
        parse_kline_rows(rows)
    assert caught.value.faults[0].startswith(sentence)


def test_no_candles_have_the_same_shape():
    columns = empty_columns()
    assert tuple(columns) == COLUMNS
    assert all(column.shape == (0,) for column in columns.values())
    assert columns["timestamp"].dtype == np.int64


# Properties


@st.composite
def valid_candles(draw):
    """Candles as an exchange would send them: prices in cents, amounts with eight decimals."""
    amount = st.integers(0, 10**13)
    first = draw(st.integers(16_000_000, 35_000_000)) * MINUTE
    rows = []
    for minute in range(draw(st.integers(1, 8))):
        low, opened, closed, high = sorted(draw(st.lists(st.integers(1, 10**8), min_size=4, max_size=4)))
        if draw(st.booleans()):
            opened, closed = closed, opened
        volume, quote = draw(amount), draw(amount)
        parts = draw(st.integers(0, volume)), draw(st.integers(0, quote))
        prices = [f"{price / 100:.2f}" for price in (opened, high, low, closed)]
        amounts = [f"{value / 1e8:.8f}" for value in (volume, quote)]
        taken = [f"{value / 1e8:.8f}" for value in parts]
        texts = [str(first + minute * MINUTE), *prices, *amounts, str(draw(st.integers(0, 10**6))), *taken]
        rows.append(dict(zip(COLUMNS, texts, strict=True)))
    return rows


QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
THOROUGH = settings(QUICK, max_examples=400)


@QUICK
@given(candles=valid_candles(), data=st.data())
def test_valid_candles_survive_every_format(read, candles, data):
    order = data.draw(st.permutations(COLUMNS))
    per_ms = data.draw(st.sampled_from([1.0, 1_000.0, 0.001]))
    for text in (csv_text(candles, order, data.draw(st.sampled_from(["\n", "\r\n"]))), binance_text(candles, per_ms)):
        for content in (text, gzip.compress(text.encode()), zipped(("x.csv", text))):
            columns, repairs = read(content)
            assert_holds(columns, candles)
            assert repairs == []
    assert_holds(parse_kline_rows([kline_row(row) for row in candles]), candles)


@THOROUGH
@given(seed=st.integers(0, 2**32), which=st.sampled_from(sorted(FORMATS)), changes=st.integers(1, 6))
def test_random_corruption_is_refused_or_harmless(read, seed, which, changes):
    chance = random.Random(seed)
    content = FORMATS[which]
    data = bytearray(content.encode() if isinstance(content, str) else content)
    for _ in range(changes):
        place = chance.randrange(len(data))
        action = chance.randrange(5)
        if action == 0:
            data[place] = chance.randrange(256)
        elif action == 1:
            data[place] = ord(chance.choice('0123456789.,-e\n"'))
        elif action == 2:
            del data[place : place + chance.randrange(1, 40)]
        elif action == 3:
            data[place:place] = data[place : place + chance.randrange(1, 80)]
        else:
            del data[place:]
        data = data or bytearray(b"\n")
    try:
        columns, _ = read(bytes(data))
    except PipelineError:
        return
    assert_valid(columns)


@THOROUGH
@given(
    content=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x1f\x8b\x08", b"PK\x03\x04", HEADER.encode() + b"\n"]),
)
def test_random_bytes_are_refused(read, content, start):
    with pytest.raises(PipelineError):
        read(start + content)


# The real thing


def real_file(name):
    root = Path(__file__).parents[2]
    for place in (root, root.parent):
        if (place / "shared/data/market" / name).exists():
            return place / "shared/data/market" / name
    pytest.skip(f"the real market data is not at hand: shared/data/market/{name}")


def test_the_real_history_reads_fast_and_whole():
    path = real_file("BTCUSDT_1m_history.csv.gz")
    before = time.process_time()
    columns, repairs = read_candles(path)
    assert time.process_time() - before < 10, "the fast way of reading was not taken"
    assert repairs == []
    assert len(columns["timestamp"]) == 537_120
    assert columns["close"][0] == 27455.43
    assert_valid(columns)
