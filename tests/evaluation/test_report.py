"""The report: what it says of tables whose content is known, and, where there is a browser, that it works in one."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.errors import PipelineError
from modules.core.module import REPOSITORY, Run
from modules.core.settings import load_settings
from modules.core.tables import Workspace
from modules.evaluation import luck
from modules.evaluation.report import HOW, PATH, outcome, report, verdict
from modules.evaluation.report import page as page_from
from modules.evaluation.report_page.markup import script_data, tag
from modules.evaluation.report_page.numbers import Figure, figures_of, plain, shown
from modules.evaluation.report_page.plots import IST_MS, thinned
from modules.evaluation.verdict import EDGE, IDLE, LOSES, LUCK
from tests.conftest import SYNCED
from tests.evaluation import tables_for_report as tables

MEGABYTE = 1_000_000
SCREENS = {"laptop": {"width": 1366, "height": 768}, "phone": {"width": 390, "height": 844}}


class Reader(HTMLParser):
    """What a browser would take from a page: the text outside scripts, and how often each element stands in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.elements, self.attributes, self.inside = "", {}, [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.attributes += attrs
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += f"{data}\n".replace("\u00a0", " ")


def opened(root: Path) -> Run:
    return Run.open(root, load_settings(None))


def page_of(root: Path) -> str:
    assert report(opened(root), quiet=True) == 0
    return (root / PATH).read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a walk-forward, rooms, an analysis, and its report."""
    root = tmp_path_factory.mktemp("report")
    tables.write(Workspace(root))
    page_of(root)
    return root


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return (written / PATH).read_text()


# What it says


def test_without_an_evaluation_it_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"--backtest --candles FILE` or `--walk-forward"):
        report(opened(tmp_path))
    assert not (tmp_path / PATH).exists()


def test_the_front_door_prints_the_verdict_and_the_path(written: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "run_pipeline.py"), "--report", "--workspace", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, env=SYNCED, check=True)
    assert done.stdout == f"The fused rule cannot be told apart from luck. {tables.WHY}\nsee {written / PATH}\n"


def test_the_verdict_stands_first_with_its_numbers_intervals_n_and_baseline(page: str) -> None:
    text = Reader(page).text
    top = text[text.index("The fused rule cannot") : text.index("What was hoped for")]
    assert tables.WHY in top
    for said in ("412", "-7.9 bps", "95 %: -19.2 to 3.4 bps", "-1.0 %", "n 43,200", "to beat: 14.1 %, buy and hold", "0.041"):
        assert said in top


@pytest.mark.parametrize("words", [EDGE, LOSES, LUCK, IDLE])
def test_the_verdict_is_the_tables_own(words: str) -> None:
    told = verdict(figures_of(tables.stats(words)))
    assert told.line == f"The fused rule {words}. {tables.WHY}"


def test_the_page_is_about_the_rule_that_was_judged(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    tables.write(workspace)
    workspace.write("walk_forward_stats", tables.stats(judged="strict rule"))
    page = page_of(tmp_path)
    text = Reader(page).text
    assert "The strict rule cannot be told apart from luck." in text
    assert "It made no trade." in text[: text.index("What was hoped for")]
    assert "the strict rule made no trade; these are others." in text
    equity = next(plot for plot in data_of(page)["curves"] if plot["y"] == "equity at the close, USD")
    assert [curve["name"] for curve in equity["curves"] if curve["shown"]] == ["strict rule", "buy and hold", "always NEUTRAL"]
    assert "Judged: " not in text


def test_a_table_without_a_verdict_gets_none(tmp_path: Path) -> None:
    columns = tables.stats()
    told = np.array([not figure.startswith("verdict") for figure in columns["figure"]])
    Workspace(tmp_path).write("backtest_stats", {name: values[told] for name, values in columns.items()})
    text = Reader(page_of(tmp_path)).text
    assert "The fused rule: no verdict yet." in text
    assert "performance/backtest_groups.csv has no row" in text
    assert "Walk-forward" not in text


def test_the_walk_forward_comes_before_the_backtest(tmp_path: Path) -> None:
    tables.write(Workspace(tmp_path), "backtest")
    alone = page_of(tmp_path)
    tables.write(Workspace(tmp_path))
    both = page_of(tmp_path)
    assert 'id="walk_forward"' not in alone
    assert 0 < both.index('id="walk_forward"') < both.index('id="backtest"')


def test_hoped_for_and_found_stand_side_by_side(page: str) -> None:
    text = Reader(page).text
    part = text[text.index("What was hoped for") : text.index("All on the same candles")].split("\n")
    assert part[part.index("Win rate") :][:5] == ["Win rate", "85 to 90 %", "46.3 %", "95 %: 41.0 to 51.7 %", "not reached"]
    assert part[part.index("Profit factor") :][:4] == ["Profit factor", "at least 2.00", "not measured", "no trade"]


@pytest.mark.parametrize(
    ("value", "low", "high", "hoped", "words", "came"),
    [
        (0.9, 0.86, 0.94, 0.85, "hoped for: 85 to 90 %", "reached"),
        (0.9, 0.80, 0.94, 0.85, "hoped for", "reached, but not for sure"),
        (0.8, 0.70, 0.94, 0.85, "hoped for", "not reached"),
        (0.1, 0.05, 0.14, 0.15, "hoped for: at most", "reached"),
        (0.1, 0.05, 0.20, 0.15, "hoped for: at most", "reached, but not for sure"),
        (0.2, np.nan, np.nan, 0.15, "hoped for: at most", "not reached"),
        (12.0, np.nan, np.nan, 8, "hoped for: 8 to 15 minutes", "reached, but no interval says how surely"),
        (12.0, 11.0, 13.0, 8, "hoped for: 8 to 15 minutes", "reached"),
        (0.1, np.nan, np.nan, 0.15, "hoped for: at most", "reached, but no interval says how surely"),
        (16.0, 15.5, 17.0, 8, "hoped for: 8 to 15 minutes", "not reached"),
        (np.nan, np.nan, np.nan, 2, "hoped for", "not measured"),
    ],
)
def test_what_was_hoped_for_came_true_only_where_the_interval_agrees(value, low, high, hoped, words, came) -> None:
    assert outcome(Figure("hoped for", "figure", value, low, high, 9, hoped, words)) == came


def test_every_part_is_there_or_says_that_it_was_not_measured(page: str) -> None:
    text = Reader(page).text
    for title in (
        "Money over time",
        "When does it earn",
        "keep their word",
        "choosier",
        "might have happened",
        "A plot of tomorrow",
    ):
        assert title in text
    assert "3 strategies evaluated in this workspace, the newest on 2024-03-01 07:30:00 IST" in text
    assert "run \npython run_pipeline.py --analyze --candles FILE" in text
    assert "performance/whale_stats.csv" in text
    assert "\nStrategies tried, walk-forward\n1,037\n" in text
    assert "\nCosts, walk-forward\nfee 0.00123, slippage 0.0005\n" in text


def test_it_says_how_ratios_are_annualised_and_whose_thresholds_the_choosy_ones_are(page: str) -> None:
    text = Reader(page).text
    words = text[text.index("Sharpe, Sortino") :]
    assert "UTC days, idle ones too, times the root of 365.25" in words[:250]
    assert "not what a threshold that had to be chosen beforehand would have earned" in text
    assert np.square(luck.ANNUAL) == pytest.approx(365.25)


def test_failed_checks_and_notes_are_listed_and_passed_ones_counted(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    tables.write(workspace)
    workspace.write("analysis_stats", tables.analysis())
    text = Reader(page_of(tmp_path)).text
    assert "1 of 2 checks failed." in text
    assert "\nwarm-up\n1\n0\n0\n" in text
    assert 0 < text.index("cheating_feature") < text.index("predicts rather well")
    assert "warm-up of m1" not in text


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("win_rate", 0.4634, "46.3 %"),
        ("total_return", -0.05236, "-5.2 %"),
        ("total_return", 0.00004394, "0.0044 %"),
        ("max_drawdown", 0.0, "0.0 %"),
        ("mean_net_bps_a_trade", -28.94, "-28.9 bps"),
        ("costs_paid_usd", 12471.355, "12,471.35 USD"),
        ("break_even_fee", 0.0006, "0.0600 % a side"),
        ("trades", 1383.0, "1,383"),
        ("early warning Brier score", 0.14503, "0.145"),
        ("deflated_sharpe", 0.04133, "0.041"),
    ],
)
def test_values_are_told_in_their_units(figure: str, value: float, said: str) -> None:
    assert shown(figure, value).replace("\u00a0", " ") == said


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_plain_number_keeps_its_sign_and_four_digits(value: float) -> None:
    read = float(plain(value).replace(",", ""))
    assert read == pytest.approx(value, rel=5e-4)
    assert np.sign(read) == np.sign(value)


# The plots


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_every_curve_of_the_table_is_drawn_as_it_is_and_times_in_ist(page: str) -> None:
    plots = {plot["id"]: plot for plot in data_of(page)["curves"]}
    columns = tables.curves()
    assert sum(len(plot["curves"]) for plot in plots.values()) == len(set(zip(columns["plot"], columns["curve"], strict=True)))
    equity = next(plot for plot in plots.values() if plot["y"] == "equity at the close, USD")
    assert [curve["name"] for curve in equity["curves"] if curve["shown"]] == ["fused rule", "buy and hold", "always NEUTRAL"]
    ours = (columns["plot"] == "equity") & (columns["curve"] == "fused rule")
    assert equity["x"] == "time, IST"
    assert equity["curves"][0]["x"] == (columns["x"][ours].astype(int) + IST_MS).tolist()
    np.testing.assert_allclose(equity["curves"][0]["y"], columns["y"][ours], rtol=1e-5)
    assert [plot["y"] for plot in plots.values() if plot["diagonal"]] == ["share that happened, 0..1"] * 2
    banded = next(plot for plot in plots.values() if plot["y"] == "litres")["curves"][0]
    assert (banded["y"], banded["low"], banded["high"]) == ([None, 2], [None, 1], [None, 3])


def test_every_place_of_a_plot_is_on_the_page_and_every_axis_has_a_name(page: str) -> None:
    data = data_of(page)
    places = [plot["id"] for plot in data["curves"]] + [place for chosen in data["groups"] for place in chosen["places"].values()]
    for place in places:
        assert page.count(f'id="{place}"') == 1
    assert all(plot["x"] and plot["y"] for plot in data["curves"])
    assert data["groups"][0]["strategies"]["fused rule"]["hour"]["mean_net_bps"][23] is None


@given(st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), min_size=1, max_size=400), st.integers(min_value=2, max_value=60))
def test_thinning_keeps_the_ends_the_lowest_and_the_highest(values: list[float], most: int) -> None:
    y = np.array(values)
    kept = thinned(y, most)
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, len(y) - 1)
    assert len(kept) <= max(most, 2) + 2
    if np.isfinite(y).any():
        assert (np.nanmin(y[kept]), np.nanmax(y[kept])) == (np.nanmin(y), np.nanmax(y))


def test_a_year_of_hours_twice_stays_light() -> None:
    curves = tables.curves(hours=9_000)
    whole = {f"{mode}_{what}": its for mode in HOW for what, its in (("stats", tables.stats()), ("curves", curves))}
    assert len(page_from(whole, {}).encode()) < 6 * MEGABYTE


# Safe, whole and the same


def test_text_of_a_table_is_never_markup(page: str) -> None:
    reader = Reader(page)
    assert tables.HOSTILE in reader.text
    assert reader.elements["script"] == 3
    assert "img" not in reader.elements
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert any(tables.HOSTILE in plot["curves"][0]["name"] for plot in data_of(page)["curves"])


@given(st.text())
def test_any_text_comes_back_as_text(text: str) -> None:
    inside = tag("p", text, title=text)
    assert html.unescape(inside) == f'<p title="{text}">{text}</p>'
    assert inside.count("<") == 2
    assert json.loads(script_data([text])) == [text]
    assert not set("<>&") & set(script_data([text]))


def test_nothing_is_fetched_and_no_other_script_may_run(page: str) -> None:
    reader = Reader(page)
    assert not [value for name, value in reader.attributes if name in ("src", "href") and not value.startswith(("#", "data:"))]
    policy = next(value for name, value in reader.attributes if value and value.startswith("default-src"))
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy[: policy.index("style-src")]


def test_the_same_tables_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    other = shutil.copytree(written / "performance", tmp_path / "performance").parent
    (tmp_path / PATH).unlink()
    assert page_of(other) == (written / PATH).read_text()


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: the report was not opened in a browser")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: the report was not opened in a browser")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser, written: Path):
    """Open the report from the file system; the page, and all that it complained of or asked for."""
    contexts = []

    def go(screen: str = "laptop", scheme: str = "light"):
        context = browser.new_context(viewport=SCREENS[screen], color_scheme=scheme, has_touch=screen == "phone")
        contexts.append(context)
        seen, told = context.new_page(), []
        seen.on("console", lambda message: told.append(message.text))
        seen.on("pageerror", lambda error: told.append(str(error)))
        seen.on("request", lambda request: told.append(request.url))
        address = (written / PATH).as_uri()
        seen.goto(address)
        seen.wait_for_function("document.querySelectorAll('.plot').length == document.querySelectorAll('.plot .xtitle').length")
        assert told == [address]
        return seen

    yield go
    for context in contexts:
        context.close()


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_it_opens_without_a_word_and_fits_the_screen(visit, screen: str, scheme: str) -> None:
    seen = visit(screen, scheme)
    assert seen.evaluate("document.documentElement.scrollWidth") == SCREENS[screen]["width"]
    assert (seen.evaluate(BACKGROUND) == "rgb(255, 255, 255)") == (scheme == "light")
    assert seen.evaluate("window.hacked") is None
    # A wide table scrolls in its own box.
    boxes = seen.evaluate("[...document.querySelectorAll('.scroll')].map(b => b.getBoundingClientRect().right)")
    assert max(boxes) <= SCREENS[screen]["width"]


@pytest.mark.slow
def test_every_plot_is_labelled_on_both_axes_with_the_words_of_the_table(visit, page: str) -> None:
    shown_titles = """[...document.querySelectorAll('.plot')].map(plot => [plot.id,
        ...['.xtitle', '.ytitle'].map(title => plot.querySelector(title).textContent.replaceAll(/\\s+/g, ''))])"""
    titles = {place: axes for place, *axes in visit().evaluate(shown_titles)}
    for plot in data_of(page)["curves"]:
        assert titles[plot["id"]] == [plot[axis].replace(" ", "") for axis in ("x", "y")]
    assert titles["walk_forward-by-hour"] == ["hourofthedecision", "meannetofatradeaftercosts,bps"]


@pytest.mark.slow
def test_the_toggle_the_legend_and_the_choices_work(visit) -> None:
    seen = visit("phone", "dark")
    seen.locator("#theme").tap()
    assert seen.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    drawn = "document.querySelectorAll('#plot-0 .scatterlayer .trace').length"
    before = seen.evaluate(drawn)
    seen.locator("#plot-0-legend button", has_text="ATR breakout").tap()
    assert seen.evaluate(drawn) == before + 1
    bars = "document.getElementById('walk_forward-by-regime').data[0].y[0]"
    ours = seen.evaluate(bars)
    seen.locator("#walk_forward-strategy").select_option("plain LightGBM")
    assert seen.evaluate(bars) == pytest.approx(ours - 12)
    pale = "document.getElementById('walk_forward-by-month').data[0].marker.opacity"
    assert seen.evaluate(pale) == [1, 0.3]
    assert seen.locator("#walk_forward-by-month path.yerror").count() == 1
    seen.locator("#walk_forward-measure").select_option("win_rate")
    assert seen.evaluate(bars) == 45
