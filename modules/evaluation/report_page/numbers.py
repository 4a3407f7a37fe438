"""Figures as people read them: in their unit, with their interval, n and what they must beat."""

import re
from dataclasses import dataclass

import numpy as np

from modules.core.catalog import FIGURES
from modules.core.tables import Columns
from modules.evaluation.report_page.markup import Html, join, missing, small, table, tag

UNITS = (
    (("probabilistic_sharpe", "deflated_sharpe"), 1, 3, ""),
    (("sharpe", "sortino", "profit_factor", "profit factor"), 1, 2, ""),
    (("bps",), 1, 1, "\u00a0bps"),
    (("usd", "pnl"), 1, 2, "\u00a0USD"),
    (("hold_minutes",), 1, 1, "\u00a0min"),
    (("break_even_fee",), 100, 4, "\u00a0% a side"),
    (("turnover_a_day",), 1, 2, "\u00a0× equity"),
    (("win_rate", "win rate", "accuracy", "precision", "recall", "share of", "base rate", "probability of"), 100, 1, "\u00a0%"),
    (("drawdown", "total_return", "exposure"), 100, 1, "\u00a0%"),
)
"""Words of a figure's name -> what its value is multiplied by, its decimals and its unit, which stays on the line of its
number; the first that fits counts."""
OF_TRADES = (
    "trade",
    "sharpe",
    "sortino",
    "win_rate",
    "profit_factor",
    "total_return",
    "max_drawdown",
    "hold",
    "exposure",
    "costs",
)
"""Words of figures that nothing but trades can give."""


@dataclass(frozen=True)
class Figure:
    """A row of a figures table (see ``catalog.FIGURES``)."""

    scope: str
    figure: str
    value: float
    low: float
    high: float
    n: int
    baseline: float
    baseline_is: str


def figures_of(columns: Columns) -> list[Figure]:
    """The rows of a figures table; times in a scope without their seconds."""
    rows = zip(*(columns[column.name] for column in FIGURES), strict=True)
    return [Figure(re.sub(r"(\d\d:\d\d):\d\d", r"\1", row[0]), *row[1:]) for row in rows]


def shown(figure: str, value: float) -> str:
    """A value in the unit that the figure's name asks for."""
    scale, decimals, unit = _unit(figure)
    if figure == "trades":
        return f"{value:,.0f}"
    if not (unit or decimals):
        return plain(value)
    text = f"{scale * value:,.{decimals}f}"
    # A number that is not zero must not look like one.
    return f"{plain(scale * value, 2) if value and not float(text.replace(',', '')) else text}{unit}"


def plain(value: float, digits: int = 4) -> str:
    """A number without a unit, without an exponent where people can do without it."""
    if value and not 1e-6 <= abs(value) < 1e15:
        return f"{value:.{digits}g}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value))))) if value else 0
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def named(figure: str) -> str:
    """A figure's name as words."""
    words = figure.replace("_", " ").replace("sharpe", "Sharpe").replace("sortino", "Sortino").replace(" usd", "\u00a0USD")
    return words[:1].upper() + words[1:]


def interval(row: Figure) -> str:
    if not (np.isfinite(row.low) and np.isfinite(row.high)):
        return "no interval"
    low = shown(row.figure, row.low).removesuffix(_unit(row.figure)[2])
    return f"95 %: {low} to {shown(row.figure, row.high)}"


def why_missing(row: Figure) -> str:
    if row.n:
        return "too few rows to say"
    return "no trade" if any(word in row.figure for word in OF_TRADES) else "nothing to measure on"


def found(row: Figure) -> Html:
    """The value with its interval, or why there is none."""
    if row.figure == "trades" and not row.n:
        return tag("span", "0", small("no trade"))
    if not np.isfinite(row.value):
        return missing(why_missing(row))
    return join(signed(row.figure, row.value), small(interval(row)))


def signed(figure: str, value: float) -> Html:
    """A value; what is below zero stands out."""
    return tag("span", shown(figure, value), class_="bad" if value < 0 else None)


def to_beat(row: Figure) -> Html:
    if np.isfinite(row.baseline):
        return join(shown(row.figure, row.baseline), small(row.baseline_is))
    return small(row.baseline_is or "no baseline")


def figures_table(rows: list[Figure], label: str, scoped: bool = False) -> Html:
    """Rows of a figures table, each with what it was measured on where ``scoped``."""
    lines: list[list[object]] = []
    for row in rows:
        name = join(named(row.figure), small(row.scope)) if scoped else named(row.figure)
        lines.append([name, found(row), to_beat(row), f"{row.n:,}"])
    return table(["Figure", "Found", "To beat", "n"], lines, label)


def by_scope(rows: list[Figure]) -> Html:
    """A table for each scope, and one for all scopes of a single row."""
    scopes: dict[str, list[Figure]] = {}
    for row in rows:
        scopes.setdefault(row.scope, []).append(row)
    whole = {scope: its for scope, its in scopes.items() if len(its) > 1}
    single = [row for its in scopes.values() if len(its) == 1 for row in its]
    tables = [join(tag("h4", scope), figures_table(its, scope)) for scope, its in whole.items()]
    return join(*tables, figures_table(single, "figures of one scope each", scoped=True) if single else "")


def _unit(figure: str) -> tuple[int, int, str]:
    name = figure.lower()
    for words, scale, decimals, unit in UNITS:
        if any(word in name for word in words):
            return scale, decimals, unit
    return 1, 0, ""
