"""One page that says what was measured: ``performance/report.html``, whole in itself, for any browser without a network.

Every number comes from a table of the workspace, with its n, its interval and what it must beat; what has no number says
why. Text of a table is escaped where it enters the page, and the page forbids any script but its own.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from modules.core.catalog import CHOICE, FIGURES, INTEGER, TABLES, TEXT, Column
from modules.core.errors import PipelineError
from modules.core.module import Run
from modules.core.tables import Columns, datetime_ist, write_atomically
from modules.evaluation.findings import FAIL, NOTE, PASS
from modules.evaluation.measure import JUDGED, ROUND_TRIP, TRIED
from modules.evaluation.report_page.markup import Html, absent, folded, join, missing, script_data, small, table, tag
from modules.evaluation.report_page.numbers import (
    Figure,
    by_scope,
    figures_of,
    figures_table,
    found,
    interval,
    named,
    plain,
    shown,
    signed,
    why_missing,
)
from modules.evaluation.report_page.plots import Plots, curves_in
from modules.evaluation.strategies import OURS
from modules.evaluation.verdict import EDGE, LOSES

PATH = "performance/report.html"
PAGE = Path(__file__).parent / "report_page"
HOW = {
    "walk_forward": ("Walk-forward", "Trained on a window, tested on the candles after it, then rolled on and trained again."),
    "backtest": ("Backtest", "Trained once, tested on candles that no model was fitted on."),
}
"""The modes in the order of the page: what was trained again and again says more than what was trained once."""
ROOMS = (
    "data_stats",
    "regime_stats",
    "specialist_stats",
    "whale_stats",
    "sentiment_stats",
    "fusion_stats",
    "live_stats",
    "reports",
)
ANALYSIS, TRIES = "analysis_stats", "tries"
LISTED = 100
"""Failed checks and notes that are shown; the table has all."""
FIRST = ("trades", "mean_net_bps_a_trade", "mean_net_bps_of_equity_a_day", "total_return", "deflated_sharpe")
MAIN = (
    "trades",
    "win_rate",
    "profit_factor",
    "mean_net_bps_a_trade",
    "total_return",
    "sharpe_of_daily_returns_annualised",
    "deflated_sharpe",
    "max_drawdown",
)
"""Figures at the top, and those that the table of strategies has room for; the others stand under it."""
VERDICT = "verdict: "
TONES = {EDGE: "good", LOSES: "bad"}


@dataclass(frozen=True)
class Chapter:
    """A part of a mode: its heading, what it says, and words in the name of a plot or a figure that belongs to it."""

    title: str
    words: tuple[str, ...]
    says: str


CHAPTERS = {
    "calibration": Chapter(
        "Do the probabilities keep their word?",
        ("calibration",),
        "A probability that keeps its word lies on the dotted line: of all the times it said 0.3, the thing happened in 30 of"
        " 100. Below the line it promised too much.",
    ),
    "selectivity": Chapter(
        "Does it do better when it is choosier?",
        ("selectiv",),
        "On the right every minute is traded, on the left only the surest ones. A score that knows something climbs to the left."
        " Which minutes are the surest is known only from all that are judged here: this tells what the score is worth, and not"
        " what a threshold that had to be chosen beforehand would have earned.",
    ),
    "luck": Chapter(
        "What might have happened",
        ("monte carlo", "overfit", "the splits", "strategies tried"),
        "The same trades in another order or with other slippage, and how likely it is that the best row was only the luckiest.",
    ),
    "money": Chapter(
        "Money over time",
        ("equity", "drawdown"),
        "The account of each strategy beside buying and holding, and beside doing nothing. All after costs. Tap a name to draw"
        " its line or to take it away.",
    ),
    "groups": Chapter("When does it earn, and when does it lose?", (), "The trades by regime, session, month and hour."),
    "models": Chapter(
        "Regimes and early warnings",
        ("regime", "early warning", "transition"),
        "What the models know, each figure beside the simple guess that it must beat.",
    ),
    "other": Chapter("Other measurements", ("",), ""),
}
"""In the order in which a name looks for its chapter: the calibration of a warning is calibration."""
ORDER = ("money", "groups", "calibration", "selectivity", "luck", "models", "other")
SIDE_BY_SIDE = ("calibration", "selectivity", "luck")

WORDS = {
    "95 %": "The interval that the true figure lies in, 95 times of 100. A wide one means: we do not know.",
    "n": "How many trades, days or minutes stand behind the figure. Few of them prove nothing.",
    "to beat": "What a simple guess gets on the same candles. A figure that does not beat it is worth nothing.",
    "out of sample": "Measured on candles that the models had never seen when they were fitted.",
    "after costs": "Fee and slippage of both sides are taken off every trade.",
    "bps": "Basis points: 100 bps are 1 %.",
    "profit factor": "All gains over all losses. Above 1 it earns.",
    "drawdown": "The deepest fall from a peak, as a share of that peak.",
    "Sharpe, Sortino": "Mean return over its swings (Sortino: over the swings down only). Of daily returns: UTC days, idle ones"
    " too, times the root of 365.25, for crypto trades every day. Of hourly returns: idle hours too, times the root of the hours"
    " of 365.25 days. 0 is doing nothing.",
    "probabilistic Sharpe": "The chance that the true Sharpe ratio is above 0.",
    "deflated Sharpe": "The same chance, after taking off what the best of all tries shows by luck alone. Above 0.95 counts.",
    "break-even fee": "The fee a side at which the trades would end at zero. If yours is higher, they lose.",
    "exposure": "The share of minutes with an open position.",
    "turnover": "What is bought and sold in a day, as a multiple of the account.",
    "Brier score": "Mean squared error of a probability. 0 is perfect, lower is better.",
    "calibration error": "How far a probability and what happened lie apart, on average. 0 is perfect.",
    "ROC-AUC": "How well a score tells yes from no. 0.5 is a coin, 1 is perfect.",
}


def report(run: Run, quiet: bool = False) -> int:
    """Write ``performance/report.html`` from the tables that are there; print the verdict and the path.

    Raises
    ------
    PipelineError : nothing has been evaluated yet
    """
    workspace = run.workspace
    modes = [mode for mode in HOW if workspace.exists(f"{mode}_stats")]
    if not modes:
        raise PipelineError(
            f"{workspace.root}: there is nothing to report yet: run `python run_pipeline.py --backtest --candles FILE`"
            " or `--walk-forward --candles FILE` first"
        )
    wanted = [f"{mode}_{what}" for mode in modes for what in ("stats", "curves", "groups")] + [*ROOMS, ANALYSIS, TRIES]
    there = [name for name in wanted if workspace.exists(name)]
    tables = {name: workspace.read(name) for name in there}
    marks = {TABLES[name].path: hashlib.sha256(workspace.path(name).read_bytes()).hexdigest() for name in there}
    write_atomically(workspace.root / PATH, page(tables, marks).encode())
    if not quiet:
        print(verdict(figures_of(tables[f"{modes[0]}_stats"])).line)
        print(f"see {workspace.root / PATH}")
    return 0


def page(tables: dict[str, Columns], marks: dict[str, str]) -> str:
    """The whole page: the same tables give the same bytes.

    Parameters
    ----------
    tables : by catalog name: those of at least one mode, and any of ``ROOMS``, ``ANALYSIS`` and ``TRIES``
    marks : path of each table -> SHA-256 of its file
    """
    modes = [mode for mode in HOW if f"{mode}_stats" in tables]
    plots = Plots(curves_in(tables))
    first = verdict(figures_of(tables[f"{modes[0]}_stats"]))
    parts = [_mode(mode, tables, plots, mode == modes[0]) for mode in modes]
    contents = {mode: HOW[mode][0] for mode in modes}
    contents |= {"rooms": "Each module", "trust": "Can I trust the tool?", "made": "How it was made", "words": "Words"}
    body = join(
        tag("header", tag("p", "Adaptive BTC/USD trader", class_="brand"), tag("button", "Dark", id="theme", type="button")),
        tag(
            "main",
            _top(first, modes[0]),
            _contents(contents, "Contents"),
            tag("noscript", tag("p", "The plots need JavaScript; every table is here without it.", class_="missing")),
            *parts,
            _rooms(tables),
            _trust(tables),
            _made(tables, modes, marks),
            _glossary(),
        ),
    )
    scripts = [get_plotlyjs(), (PAGE / "page.js").read_text()]
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
    head = join(
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        Html('<link rel="icon" href="data:,">'),
        tag("title", f"{first.headline} Report"),
        tag("style", Html((PAGE / "page.css").read_text())),
    )
    data = tag("script", script_data(plots.data), type="application/json", id="data")
    code = join(*(tag("script", Html(text)) for text in scripts))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}\n{data}\n{code}</body></html>\n'


# The verdict


@dataclass(frozen=True)
class Strategy:
    """A strategy's figures by name, and the span of its candles."""

    span: str
    rows: dict[str, Figure]

    @property
    def verdict(self) -> Figure | None:
        return next((row for figure, row in self.rows.items() if figure.startswith(VERDICT)), None)


@dataclass(frozen=True)
class Verdict:
    """What the rules say of our own strategy, in their words, and why; no words where they have not been asked."""

    name: str
    words: str
    why: str
    of: Strategy

    @property
    def headline(self) -> str:
        return f"The {self.name} {self.words}." if self.words else f"The {self.name}: no verdict yet."

    @property
    def line(self) -> str:
        return f"{self.headline} {self.why}"


def verdict(figures: list[Figure]) -> Verdict:
    """The verdict on the strategy that is judged, as it stands in the stats of a mode."""
    name = _judged(figures)
    ours = _strategies(figures).get(name, Strategy("", {}))
    if ours.verdict is None:
        return Verdict(name, "", "Not measured: the table of this run has no verdict on it. Run the evaluation again.", ours)
    return Verdict(name, ours.verdict.figure.removeprefix(VERDICT), ours.verdict.baseline_is, ours)


def _judged(figures: list[Figure]) -> str:
    """The strategy of the rule that was set; tables of older runs do not name it and judge the fused rule."""
    return next((row.figure.removeprefix(JUDGED) for row in figures if row.figure.startswith(JUDGED)), OURS)


def _strategies(figures: list[Figure]) -> dict[str, Strategy]:
    """By name, in their order. A scope that counts trades is a strategy's."""
    scopes: dict[str, Strategy] = {}
    for row in figures:
        name, _, rest = row.scope.partition(", ")
        scopes.setdefault(name, Strategy(rest.partition(" IST")[0], {})).rows[row.figure] = row
    return {name: its for name, its in scopes.items() if "trades" in its.rows}


def _top(told: Verdict, mode: str, heading: str = "h1") -> Html:
    title, how = HOW[mode]
    tiles = []
    for name in FIRST:
        row = told.of.rows.get(name)
        if row is None:
            tiles.append(tag("div", tag("h3", named(name)), missing(_unrowed(told.of))))
            continue
        beat = f"to beat: {shown(name, row.baseline)}, {row.baseline_is}" if np.isfinite(row.baseline) else row.baseline_is
        tiles.append(tag("div", tag("h3", named(name)), found(row), small(f"n {row.n:,}"), small(beat)))
    return tag(
        "section",
        tag(heading, told.headline),
        tag("p", told.why, class_="why"),
        tag("div", *tiles, class_="tiles"),
        tag("p", f"{title}, {told.of.span or 'span unknown'} IST. {how} Money in USD, times in IST.", class_="note"),
        class_=f"verdict {TONES.get(told.words, 'unsure')}",
    )


# One mode


def _mode(mode: str, tables: dict[str, Columns], plots: Plots, first: bool) -> Html:
    """All chapters of a mode; the verdict of the first one stands at the top of the page already."""
    figures = figures_of(tables[f"{mode}_stats"])
    strategies, ours = _strategies(figures), _judged(figures)
    hoped = [row for row in figures if row.scope.startswith("hoped for")]
    told = {row.scope for its in strategies.values() for row in its.rows.values()} | {row.scope for row in hoped}
    others: dict[str, list[Figure]] = {key: [] for key in CHAPTERS}
    for row in figures:
        if row.scope not in told and not row.figure.startswith(JUDGED):
            others[_chapter_of(f"{row.scope}: {row.figure}")].append(row)
    curves = tables.get(f"{mode}_curves", {})
    names: dict[str, list[str]] = {key: [] for key in CHAPTERS}
    for plot in dict.fromkeys(curves.get("plot", ())):
        names[_chapter_of(plot)].append(plot)
    hopes, rows = "What was hoped for, and what was found", "Strategies"
    chapters = [
        _chapter(f"{mode}-hoped", hopes, "", _hoped(hoped)),
        _chapter(
            f"{mode}-strategies",
            rows,
            "All on the same candles, after costs. “To beat” is what a simple guess gets on the same trades or candles.",
            _strategy_table(strategies),
            folded(
                "All figures, strategy by strategy",
                *(join(tag("h4", name), figures_table(_measured(its), name)) for name, its in strategies.items()),
            ),
        ),
    ]
    contents = {f"{mode}-hoped": hopes, f"{mode}-strategies": rows}
    for key in ORDER:
        place, chapter = f"{mode}-{key}", CHAPTERS[key]
        if key == "groups":
            inside = [_groups(mode, tables.get(f"{mode}_groups", {}), strategies, plots, ours)]
        elif names[key] or others[key]:
            drawn = [plots.curve(curves, plot, ours, key == "calibration", key == "selectivity") for plot in names[key]]
            grid = tag("div", *drawn, class_="grid" if key in SIDE_BY_SIDE else None)
            figured = by_scope(others[key])
            # A table below many plots is long and says again what they show.
            inside = [grid, folded("The figures", figured) if drawn and others[key] else figured]
        elif key != "other":
            paths = " and ".join(TABLES[f"{mode}_{what}"].path for what in ("curves", "stats"))
            inside = [absent(f"{paths} have nothing of this kind.")]
        else:
            continue
        chapters.append(_chapter(place, chapter.title, chapter.says, *inside))
        contents[place] = chapter.title
    return tag(
        "section",
        tag("h2", HOW[mode][0]),
        "" if first else _top(verdict(figures), mode, "h3"),
        _contents(contents, f"Contents of {HOW[mode][0]}"),
        *chapters,
        id=mode,
    )


def _contents(places: dict[str, str], label: str) -> Html:
    return tag("nav", *(tag("a", title, href=f"#{place}") for place, title in places.items()), aria_label=label)


def _chapter(place: str, title: str, says: str, *inside: object) -> Html:
    return tag("section", tag("h3", title), tag("p", says, class_="note") if says else "", *inside, id=place)


def _chapter_of(name: str) -> str:
    lowered = name.lower()
    return next(key for key, chapter in CHAPTERS.items() if any(word in lowered for word in chapter.words))


def _measured(strategy: Strategy) -> list[Figure]:
    return [row for row in strategy.rows.values() if row is not strategy.verdict]


def _hoped(rows: list[Figure]) -> Html:
    if not rows:
        return absent("the table of this run has no row of what was hoped for.")
    lines: list[list[object]] = []
    for row in rows:
        words = row.baseline_is.removeprefix("hoped for").lstrip(": ")
        hoped = words if any(c.isdigit() for c in words) else f"{words or 'at least'} {shown(row.figure, row.baseline)}"
        came = outcome(row)
        mark = tag("span", came, class_={"reached": "good", "not reached": "bad"}.get(came, "missing"))
        lines.append([named(row.figure), hoped, found(row), mark, f"{row.n:,}"])
    return table(["Figure", "Hoped for", "Found", "Came true?", "n"], lines, "hoped for and found")


def outcome(row: Figure) -> str:
    """Whether what was hoped for came true; for sure only where the whole interval agrees."""
    if not np.isfinite(row.value):
        return "not measured"
    least, most = row.baseline, np.inf
    minutes = re.search(r"([\d.]+) to ([\d.]+) minutes", row.baseline_is)
    if "at most" in row.baseline_is:
        least, most = -np.inf, row.baseline
    elif minutes:
        least, most = float(minutes[1]), float(minutes[2])
    if not least <= row.value <= most:
        return "not reached"
    if not (np.isfinite(row.low) and np.isfinite(row.high)):
        return "reached, but no interval says how surely"
    return "reached, but not for sure" if row.low < least or row.high > most else "reached"


def _strategy_table(strategies: dict[str, Strategy]) -> Html:
    lines: list[list[object]] = []
    for name, its in strategies.items():
        told = its.verdict
        words = told.figure.removeprefix(VERDICT) if told else ""
        cells: list[object] = [name, tag("span", words, class_=TONES.get(words)) if words else missing("no such row")]
        cells += [_strategy_cell(its, figure) for figure in MAIN]
        lines.append(cells)
    return table(["Strategy", "Verdict", *(named(figure) for figure in MAIN)], lines, "strategies", "wide")


def _strategy_cell(strategy: Strategy, figure: str) -> Html:
    row, trades = strategy.rows.get(figure), strategy.rows["trades"]
    if figure == "trades":
        return found(row or trades) if not trades.n else tag("span", shown(figure, trades.value))
    if row is None or not np.isfinite(row.value):
        return missing(why_missing(row) if row else _unrowed(strategy))
    lines = [interval(row)] if np.isfinite(row.low) else []
    lines += [f"to beat {shown(figure, row.baseline)}"] if np.isfinite(row.baseline) else []
    return join(signed(figure, row.value), *map(small, [*lines, f"n {row.n:,}"]))


def _unrowed(strategy: Strategy) -> str:
    """Why a strategy has no row of a figure."""
    trades = strategy.rows.get("trades")
    return "no trade" if trades and not trades.n else "the table has no such row"


def _groups(mode: str, columns: Columns, strategies: dict[str, Strategy], plots: Plots, judged: str) -> Html:
    if not len(columns.get("strategy", ())):
        return absent(f"{TABLES[f'{mode}_groups'].path} has no row: no strategy of it made a trade.")
    ours = strategies.get(judged)
    idle = absent(f"the {judged} made no trade; these are others.") if ours and not ours.rows["trades"].n else ""
    return join(idle, plots.groups(mode, columns))


# The other parts


def _rooms(tables: dict[str, Columns]) -> Html:
    there = [name for name in ROOMS if name in tables]
    parts = [folded(tag("code", TABLES[name].path), _room(name, tables[name])) for name in there]
    none = [TABLES[name].path for name in ROOMS if name not in there]
    says = "What each module measured when it was trained, and what the live cycle did. Tap one to open it."
    lacking = absent(f"there is no {', '.join(none)}.") if none else ""
    return tag("section", tag("h2", "Each module"), tag("p", says, class_="note"), *parts, lacking, id="rooms")


def _room(name: str, columns: Columns) -> Html:
    rows = len(columns[TABLES[name].columns[0].name])
    if not rows:
        return absent("the table has no row.")
    return by_scope(figures_of(columns)) if TABLES[name].columns == FIGURES else _as_it_stands(name, columns, range(rows))


def _as_it_stands(name: str, columns: Columns, order: Iterable[int]) -> Html:
    """Any table, column by column, with the units of the catalog."""
    its = TABLES[name].columns
    head: list[object] = [join(column.name.replace("_", " "), small(column.unit) if column.unit else "") for column in its]
    return table(head, [[_cell(column, columns[column.name][i]) for column in its] for i in order], name)


def _cell(column: Column, value: Any) -> object:
    if column.kind in (TEXT, CHOICE):
        return value
    if column.kind == INTEGER:
        return f"{value:,}"
    return plain(value) if np.isfinite(value) else small("not measured")


def _trust(tables: dict[str, Columns]) -> Html:
    title = tag("h2", "Can I trust the tool that says so?")
    if ANALYSIS not in tables:
        how = absent("run ", tag("code", "python run_pipeline.py --analyze --candles FILE"), ", then --report again.")
        return tag("section", title, how, id="trust")
    columns = tables[ANALYSIS]
    judged = Counter(zip(columns["check"], columns["verdict"], strict=True))
    failed, passed = (sum(n for (_, verdict), n in judged.items() if verdict == word) for word in (FAIL, PASS))
    told = f"{failed:,} of {failed + passed:,} checks failed." if failed else f"All {passed:,} checks passed."
    says = (
        " They look for a peek into the future, for features that move with their warm-up, for leaks between training and test,"
        " and for differences between training and the live cycle."
    )
    head = tag("p", tag("strong", told, class_="bad" if failed else "good"), says)
    lines: list[list[object]] = [
        [check, *(f"{judged[check, word]:,}" for word in (PASS, FAIL, NOTE))] for check in dict.fromkeys(columns["check"])
    ]
    counted = table(["Check", "Passed", "Failed", "Notes"], lines, "checks")
    rest = [*np.flatnonzero(columns["verdict"] == FAIL), *np.flatnonzero(columns["verdict"] == NOTE)]
    listed = _as_it_stands(ANALYSIS, columns, rest[:LISTED]) if rest else ""
    more = f" {len(rest) - LISTED:,} more that failed or are notes are there." if len(rest) > LISTED else ""
    path = tag("p", "Every row is in ", tag("code", TABLES[ANALYSIS].path), f".{more}", class_="note")
    return tag("section", title, head, counted, listed, path, id="trust")


def _made(tables: dict[str, Columns], modes: list[str], marks: dict[str, str]) -> Html:
    lines: list[list[object]] = []
    for mode in modes:
        figures, title = figures_of(tables[f"{mode}_stats"]), HOW[mode][0].lower()
        spans = dict.fromkeys(its.span for its in _strategies(figures).values())
        lines.append([f"Candles, {title}", ", ".join(f"{span} IST" for span in spans) or "unknown"])
        costs = [row.baseline_is for row in figures if row.figure == ROUND_TRIP]
        lines.append([f"Costs, {title}", ", ".join(costs) or "not told in the table of this run"])
        tries = [f"{row.value:,.0f}" for row in figures if row.figure == TRIED]
        lines.append([f"Strategies tried, {title}", ", ".join(tries) or "not counted in the table of this run"])
    if TRIES in tables and len(tables[TRIES]["timestamp"]):
        log, newest = tables[TRIES]["timestamp"], datetime_ist(int(tables[TRIES]["timestamp"].max()))
        lines.append(["Log of tries", f"{len(log):,} strategies evaluated in this workspace, the newest on {newest} IST"])
    lines.append(["Intervals", "95 %, by drawing whole days again and again"])
    lines.append(["Command", tag("code", "python run_pipeline.py --report")])
    files: list[list[object]] = [[tag("code", path), tag("code", mark[:16])] for path, mark in marks.items()]
    says = "The same tables give the same page, to the byte; so it is dated by its tables and not by the clock."
    return tag(
        "section",
        tag("h2", "How it was made"),
        tag("p", says, class_="note"),
        table(["What", "How"], lines, "how it was made"),
        folded("Tables read", table(["Table", "SHA-256 begins"], files, "tables read")),
        id="made",
    )


def _glossary() -> Html:
    parts = [join(tag("dt", word), tag("dd", meaning)) for word, meaning in WORDS.items()]
    return tag("section", tag("h2", "Words"), tag("dl", *parts), id="words")
