"""Valid rows for every table of the catalog, made from its declarations."""

import numpy as np
from hypothesis import strategies as st

from modules.core.catalog import CHOICE, INTEGER, NUMBER, Column, Table
from modules.core.words import MINUTE_MS

START = 1_711_929_600_000
"""2024-04-01 00:00 UTC."""

ANY_TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        'a "b", c',
        ",",
        '"',
        "a\r\nb",
        "\x00=1",
        "\ud800",
        "＝1",
    ]
)
MORE = ("rsi_14", "flow_5")


def columns_of(table: Table) -> tuple[Column, ...]:
    return table.columns + tuple(Column(name) for name in MORE if table.more)


@st.composite
def rows_of(draw, table: Table, most: int = 4):
    """Columns of up to ``most`` rows that the catalog accepts."""
    count = draw(st.integers(1, most))
    columns = {}
    for column in columns_of(table):
        cells = draw(st.lists(_cell(column), min_size=count, max_size=count))
        kind = {NUMBER: float, INTEGER: np.int64}.get(column.kind, object)
        columns[column.name] = np.array(cells, dtype=kind)
    if table.stamped:
        steps = draw(st.lists(st.integers(1, 3000), min_size=count, max_size=count))
        columns["timestamp"] = START + np.cumsum(steps) * MINUTE_MS
    return columns


def _cell(column: Column):
    if column.kind == CHOICE:
        return st.sampled_from(column.choices)
    if column.kind == INTEGER:
        high = 2**50 if column.high is None else int(column.high)
        return st.integers(-(2**50) if column.low is None else int(column.low), high)
    if column.kind != NUMBER:
        return ANY_TEXT
    low = -1e9 if column.low is None else column.low
    number = st.floats(low, 1e9 if column.high is None else column.high, allow_nan=False)
    return number | st.just(np.nan) if column.empty else number


def plain(table: Table, count: int, start: int = START) -> dict[str, np.ndarray]:
    """``count`` minutes of a table, each its own numbers and none at its bounds."""
    columns = {}
    for column in columns_of(table):
        if column.kind == CHOICE:
            columns[column.name] = np.array([column.choices[i % len(column.choices)] for i in range(count)], object)
        elif column.kind in (NUMBER, INTEGER):
            scale = 1 if column.high == 1 else 100
            columns[column.name] = scale * (1 + np.arange(count) % 97) / 100
        else:
            columns[column.name] = np.array(["ok"] * count, object)
        if column.kind == INTEGER or not column.decimals:
            columns[column.name] = np.ones(count, np.int64 if column.kind == INTEGER else float)
    if table.stamped:
        columns["timestamp"] = start + MINUTE_MS * np.arange(count)
    return columns


def part(columns, start, end):
    return {name: values[start:end] for name, values in columns.items()}


def same(left, right) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name], equal_nan=left[name].dtype == float)
        for name in left
    )
