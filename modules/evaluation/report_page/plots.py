"""Plots of any curves and groups table: the data for the page's script, and the places where it draws them."""

import numpy as np

from modules.core.tables import Columns
from modules.evaluation.report_page.markup import Html, folded, join, small, table, tag
from modules.evaluation.report_page.numbers import Figure, found, plain, shown
from modules.evaluation.strategies import NOTHING

AT_FIRST = ("buy and hold", NOTHING)
"""Strategies that are drawn at first beside ours, where a plot has more than ``FEW`` curves; the others wait in the legend."""
FEW = 5
BUDGET, LEAST_POINTS = 20_000, 100
"""Points of all curves together, so that the page stays light, and the fewest that a curve keeps."""
IST_MS = 19_800_000
MEASURES = (
    ("mean_net_bps", "mean net of a trade after costs, bps", 1.0),
    ("win_rate", "win rate after costs, %", 100.0),
    ("pnl", "profit and loss after costs, USD", 1.0),
)
AXES = {
    "regime": "regime when the trade was decided",
    "session": "session when the trade was decided",
    "month": "month of the decision, IST",
    "hour": "hour of the decision",
}


class Plots:
    """What the page's script draws, gathered plot by plot; each method gives the place where it is drawn."""

    def __init__(self, curves: int) -> None:
        self.points = max(LEAST_POINTS, BUDGET // max(1, curves))
        self.places: dict[str, int] = {}
        self.data: dict[str, list[dict]] = {"curves": [], "groups": []}

    def curve(self, columns: Columns, plot: str, ours: str, diagonal: bool, log: bool) -> Html:
        """One plot of a curves table: with the ``diagonal`` of a kept word, or its x axis by powers of ten. The strategy
        ``ours`` comes first.

        Every curve is a line, with a band where there are intervals. Times are drawn in IST.
        """
        here = columns["plot"] == plot
        rows = {name: values[here] for name, values in columns.items()}
        dates = "Unix ms" in rows["x_is"][0]
        x_is, y_is = "time, IST" if dates else rows["x_is"][0], rows["y_is"][0]
        first = (ours, *AT_FIRST)
        names = sorted(dict.fromkeys(rows["curve"]), key=lambda name: (*first, name).index(name))
        if dates:  # a strategy keeps the colour that it has over time
            self.places = {name: place for place, name in enumerate(dict.fromkeys([*self.places, *names]))}
        curves = []
        for place, name in enumerate(names):
            its = rows["curve"] == name
            kept = np.flatnonzero(its)[thinned(rows["y"][its], self.points)]
            # The script draws dates as UTC; moved by India's offset they read as IST.
            x = [int(stamp) + IST_MS for stamp in rows["x"][kept]] if dates else _numbers(rows["x"][kept])
            curve = {"name": name, "x": x, "y": _numbers(rows["y"][kept]), "n": rows["n"][kept].tolist()}
            for end in ("low", "high"):
                if np.isfinite(rows[end][kept]).any():
                    curve[end] = _numbers(rows[end][kept])
            curve |= {"place": self.places.get(name, place), "shown": len(names) <= FEW or name in first}
            curves.append(curve)
        where = f"plot-{len(self.data['curves'])}"
        drawn = {"id": where, "x": x_is, "y": y_is, "dates": dates, "diagonal": diagonal, "log": log, "curves": curves}
        self.data["curves"].append(drawn)
        legend = tag("div", class_="legend", id=f"{where}-legend") if len(names) > 1 else small(names[0])
        return tag(
            "figure",
            tag("figcaption", tag("h4", plot[:1].upper() + plot[1:]), legend),
            tag("div", class_="plot", id=where, role="img", aria_label=f"{plot}: {y_is} against {x_is}"),
            "" if dates else folded("The numbers behind it", _points_table(plot, x_is, y_is, rows)),
        )

    def groups(self, mode: str, columns: Columns) -> Html:
        """The bars of a groups table: a strategy and a measure can be chosen."""
        names, kinds = (list(dict.fromkeys(columns[column])) for column in ("strategy", "by"))
        strategies = {name: {kind: _bars(columns, name, kind) for kind in kinds} for name in names}
        places = {kind: f"{mode}-by-{kind}" for kind in kinds}
        measures = [(key, title) for key, title, _ in MEASURES]
        self.data["groups"].append(
            {"id": mode, "places": places, "axes": AXES, "measures": dict(measures), "strategies": strategies}
        )
        choose = tag(
            "p",
            tag("label", "Strategy ", _select(f"{mode}-strategy", [(name, name) for name in names])),
            tag("label", "Measure ", _select(f"{mode}-measure", measures)),
            class_="choose",
        )
        drawn = [
            tag(
                "figure",
                tag("figcaption", tag("h4", f"By {kind}")),
                tag("div", class_="plot", id=place, role="img", aria_label=f"trades by {kind}, bars with 95 % intervals"),
            )
            for kind, place in places.items()
        ]
        says = "Thin lines: 95 % intervals. Pale bars: too few days for one, so they prove nothing. Zero is doing nothing."
        note = tag("p", says, class_="note")
        tables = [folded(f"The numbers behind it: {name}", _group_table(columns, name)) for name in names]
        return join(choose, tag("div", *drawn, class_="grid"), note, *tables)


def curves_in(tables: dict[str, Columns]) -> int:
    """How many curves all curves tables have together."""
    told = (zip(columns["plot"], columns["curve"], strict=True) for name, columns in tables.items() if name.endswith("_curves"))
    return sum(len(set(names)) for names in told)


def thinned(y: np.ndarray, most: int) -> np.ndarray:
    """Places of about ``most`` of (N,) points that draw the same picture: the ends, and the lowest and the highest of each
    stretch, so that no fall is lost."""
    if len(y) <= most:
        return np.arange(len(y))
    kept = {0, len(y) - 1}
    for part in np.array_split(np.arange(len(y)), most // 2):
        known = part[np.isfinite(y[part])]
        kept |= {known[y[known].argmin()], known[y[known].argmax()]} if len(known) else {part[0]}
    return np.array(sorted(kept))


def _bars(columns: Columns, name: str, kind: str) -> dict[str, list]:
    rows = (columns["strategy"] == name) & (columns["by"] == kind)
    bars: dict[str, list] = {"group": columns["group"][rows].tolist(), "n": columns["trades"][rows].tolist()}
    for key, _, scale in MEASURES:
        for column in (key, f"{key}_low", f"{key}_high"):
            if column in columns:
                bars[column] = _numbers(scale * columns[column][rows])
    return bars


def _numbers(values: np.ndarray) -> list[float | None]:
    """Six significant digits; None where there is no number."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _select(place: str, options: list[tuple[str, str]]) -> Html:
    # Without autocomplete="off" some browsers restore what was chosen before the page was loaded again.
    return tag("select", *(tag("option", title, value=value) for value, title in options), id=place, autocomplete="off")


def _points_table(plot: str, x_is: str, y_is: str, rows: Columns) -> Html:
    lines: list[list[object]] = []
    for curve, x, y, low, high, n in zip(*(rows[name] for name in ("curve", "x", "y", "low", "high", "n")), strict=True):
        sure = f"{plain(low)} to {plain(high)}" if np.isfinite(low) and np.isfinite(high) else "no interval"
        lines.append([curve, plain(x), plain(y) if np.isfinite(y) else "not measured", sure, f"{n:,}"])
    return table(["Curve", x_is, y_is, "95 %", "n"], lines, plot)


def _group_table(columns: Columns, name: str) -> Html:
    lines: list[list[object]] = []
    for i in np.flatnonzero(columns["strategy"] == name):
        count, cells = columns["trades"][i], []
        for key in ("win_rate", "mean_net_bps"):
            value, low, high = (columns[column][i] for column in (key, f"{key}_low", f"{key}_high"))
            cells.append(found(Figure(name, key, value, low, high, count, np.nan, "")))
        group = f"{columns['by'][i]}: {columns['group'][i]}"
        lines.append([group, f"{count:,}", *cells, shown("pnl", columns["pnl"][i])])
    return table(["Group", "Trades", "Win rate", "Mean net a trade, after costs", "Profit and loss"], lines, name)
