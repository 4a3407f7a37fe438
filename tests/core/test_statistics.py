"""Intervals that hold what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modules.core.catalog import TABLES
from modules.core.statistics import (
    DAY_MS,
    DRAWS,
    Figures,
    block_days,
    by_day,
    day_bootstrap,
    interval,
    log_loss,
    mean,
    regime_figures,
    share,
    stationary,
    student,
    warning_figures,
)
from modules.core.tables import Workspace
from modules.core.words import DAY_MINUTES, MINUTE_MS

DAYS, A_DAY = 40, 24


def ratio(sums):
    with np.errstate(all="ignore"):
        return sums[:, 0] / sums[:, 1]


def stamps(days=DAYS, a_day=A_DAY):
    return np.arange(days * a_day) * (DAY_MINUTES // a_day) * MINUTE_MS


def test_the_interval_covers_where_minutes_of_a_day_belong_together():
    random = np.random.default_rng(3)
    runs, truth, day_hits, row_hits = 300, 0.5, 0, 0
    for run in range(runs):
        day_rate = random.beta(3, 3, DAYS)
        hits = random.random(DAYS * A_DAY) < np.repeat(day_rate, A_DAY)
        found, low, high = share(hits, stamps(), seed=run)
        assert low <= found <= high
        day_hits += low <= truth <= high
        row_error = 1.96 * np.sqrt(found * (1 - found) / len(hits))
        row_hits += abs(found - truth) <= row_error
    assert 0.90 < day_hits / runs < 0.985
    assert row_hits / runs < 0.75  # as if every minute were news of its own: far too sure


@pytest.mark.parametrize("days", [3, 5, 7])
def test_few_days_are_said_to_be_few(days):
    random = np.random.default_rng(days)
    runs, covered = 300, 0
    for run in range(runs):
        values = np.repeat(random.normal(size=days), A_DAY) + random.normal(size=days * A_DAY)
        _, low, high = mean(values, stamps(days), seed=run)
        covered += low <= 0 <= high
    assert covered / runs > 0.89


def test_students_quantile():
    for freedom, known in ((2, 4.303), (3, 3.182), (6, 2.447), (30, 2.042)):
        assert student(freedom) == pytest.approx(known, rel=0.035)


def test_no_hit_in_few_rows_is_not_certainty():
    value, low, high = share(np.zeros(25, bool), stamps(5, 5), 1)
    assert (value, low) == (0, 0)
    assert high == pytest.approx(0.133, abs=0.01)  # Wilson (1927) for 0 of 25


def test_a_ratio_of_sums():
    random = np.random.default_rng(1)
    parts = random.gamma(2, size=(DAYS * A_DAY, 2)) * [3, 1]
    low, high = day_bootstrap(ratio, parts, stamps(), 5)
    assert low < parts[:, 0].sum() / parts[:, 1].sum() < high
    assert high - low < 0.5
    assert (low, high) == day_bootstrap(ratio, parts, stamps(), 5)
    assert (low, high) != day_bootstrap(ratio, parts, stamps(), 6)


def test_the_order_of_rows_does_not_matter():
    hits = np.random.default_rng(2).random(DAYS * A_DAY) < 0.3
    order = np.random.default_rng(4).permutation(len(hits))
    assert share(hits, stamps(), 7) == pytest.approx(share(hits[order], stamps()[order], 7))


def test_too_little_to_say():
    assert np.isnan(share(np.zeros(0), np.zeros(0), 1)).all()
    found, low, high = share(np.array([1, 0]), np.array([0, MINUTE_MS]), 1)
    assert found == 0.5
    assert np.isnan([low, high]).all()
    nothing = np.zeros((2 * A_DAY, 2))
    assert np.isnan(day_bootstrap(ratio, nothing, stamps(2), 1)).all()


def persistent(days: int, persistence: float, seed: int) -> np.ndarray:
    """(days,) an autoregression of first order with fat tails and a mean of zero."""
    shocks = np.random.default_rng(seed).standard_t(4, days + 50)
    for i in range(1, len(shocks)):
        shocks[i] += persistence * shocks[i - 1]
    return shocks[50:]


def of_mean(values: np.ndarray, seed: int) -> tuple[float, float]:
    return interval(ratio, np.stack([values, np.ones(len(values))], 1), seed)


def test_days_without_a_row_count_as_nothing() -> None:
    stamps = np.array([7 * DAY_MS, 7 * DAY_MS + 5, 9 * DAY_MS])
    days = by_day(np.array([[1, 1], [2, 1], [5, 1]]), stamps)
    assert days.tolist() == [[3, 2], [0, 0], [5, 1]]
    assert by_day(np.zeros((0, 2)), np.zeros(0, int)).shape == (0, 2)


def test_the_interval_covers_where_days_follow_one_another() -> None:
    runs, days = 200, 150
    held = {0.0: 0, 0.4: 0}
    days_apart = 0
    for run in range(runs):
        for persistence in held:
            values = persistent(days, persistence, run)
            low, high = of_mean(values, run)
            assert low < values.mean() < high
            held[persistence] += low <= 0 <= high
        days_apart += abs(values.mean()) <= 1.96 * values.std(ddof=1) / np.sqrt(days)
    # Of 1,000 runs it covers 0.938 and 0.899: a block of finite length misses some of what days have in common.
    assert 0.90 < held[0.0] / runs < 0.985
    assert 0.86 < held[0.4] / runs < 0.985
    assert days_apart / runs < 0.84  # as if days were independent: far too sure


def test_blocks_are_as_long_as_the_theory_of_an_autoregression_asks_for() -> None:
    days, persistence = 4_000, 0.5
    wanted = np.cbrt((2 * persistence / (1 - persistence**2)) ** 2 * days)
    found = [block_days(persistent(days, persistence, seed)) for seed in range(20)]
    assert np.mean(found) == pytest.approx(wanted, rel=0.15)
    independent = [block_days(persistent(days, 0, seed)) for seed in range(20)]
    assert np.median(independent) < wanted / 3


@given(arrays(float, st.tuples(st.integers(0, 60), st.just(2)), elements=st.floats(-1e3, 1e3)))
@settings(max_examples=50)
def test_a_block_lasts_a_day_at_least_and_a_third_of_the_record_at_most(days: np.ndarray) -> None:
    assert all(1 <= block_days(column) <= max(1, np.ceil(len(days) / 3)) for column in days.T)
    low, high = interval(ratio, np.abs(days), 1)
    assert np.isnan(low) == np.isnan(high)
    assert not low > high


def test_resampled_days_run_on_and_come_equally_often() -> None:
    rows = stationary(50, 5.0, np.random.default_rng(1))
    assert rows.shape == (DRAWS, 50)
    follows = (np.diff(rows, axis=1) % 50 == 1).mean()
    assert follows == pytest.approx(1 - 1 / 5 * 49 / 50, abs=0.01)
    assert np.bincount(rows.ravel()) / DRAWS == pytest.approx(np.ones(50), abs=0.25)


def test_the_same_seed_gives_the_same_interval_and_few_days_none() -> None:
    values = persistent(40, 0, 1)
    assert of_mean(values, 3) == of_mean(values, 3) != of_mean(values, 4)
    assert np.isnan(of_mean(values[:2], 3)).all()
    low, high = of_mean(values[:4] + 10, 3)
    assert high - low > 2 * 1.96 * values[:4].std(ddof=1) / 2  # Student's, not the normal quantile


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 1)), min_size=1, max_size=20))
def test_log_loss(rows):
    p, label = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    wanted = -np.mean([np.log(x if y else 1 - x) for x, y in rows])
    assert log_loss(np.stack([1 - p, p], 1), label) == pytest.approx(wanted)


def test_log_loss_at_its_ends():
    assert np.isnan(log_loss(np.zeros((0, 3)), np.zeros(0, int)))
    assert 27 < log_loss(np.array([[1.0, 0.0]]), np.array([1])) < 28


def test_figures_are_a_table(tmp_path):
    figures = Figures()
    figures.add("out of sample", "win_rate", 0.5, 12, 0.3, 0.7, 0.45, "always BUY")
    figures.add("out of sample", "profit_factor", np.nan, 0)
    workspace = Workspace(tmp_path)
    workspace.write("fusion_stats", figures.columns())
    back = workspace.read("fusion_stats")
    assert [column.name for column in TABLES["fusion_stats"].columns] == list(back)
    assert back["n"].tolist() == [12, 0]
    assert np.isnan([back["value"][1], back["low"][1], back["baseline"][1]]).all()
    workspace.write("reports", Figures().columns())
    assert len(workspace.read("reports")["n"]) == 0


def test_regimes_ahead_and_at_their_change_by_hand():
    hindsight = np.array(list("AAAABBBBAAAA"))
    label = np.array(list("AAAAABBBBAAA"))
    coming = np.array(list("AAABBBAAAAAA"))
    figures = Figures()
    regime_figures(figures, "here", np.arange(12) * MINUTE_MS, label, coming, hindsight, 2, 1)
    found = {figure: (value, n, baseline) for _, figure, value, _, _, n, baseline, _ in figures.rows}
    assert found["regime accuracy"] == (pytest.approx(10 / 12), 12, pytest.approx(7 / 11))
    assert found["regime accuracy in the minute of a change"] == (0, 2, 0)
    assert found["regime 2 minutes ahead, accuracy"] == (pytest.approx(9 / 10), 10, pytest.approx(4 / 10))
    assert found["regime 2 minutes ahead where it changes, accuracy"] == (pytest.approx(3 / 4), 4, 0)
    figures = Figures()
    regime_figures(figures, "here", np.arange(12) * MINUTE_MS, hindsight, coming, hindsight, 2, 1)
    at_once = next(row for row in figures.rows if row[1] == "regime accuracy in the minute of a change")
    assert (at_once[2], at_once[6]) == (1, 0)


def test_warnings_stand_beside_as_many_of_the_atr_alone() -> None:
    rows = 10 * DAY_MINUTES
    random, stamps = np.random.default_rng(1), np.arange(rows) * MINUTE_MS
    atr, happened = random.permutation(rows).astype(float), random.random(rows) < 0.2
    given = random.random(rows) < 0.1
    happened[given] |= random.random(int(given.sum())) < 0.5
    loud = atr >= rows - given.sum()
    figures = Figures()
    warning_figures(figures, "scope", stamps, random.random(rows), given, happened, atr, seed=1)
    rows_of = {row[1]: row for row in figures.rows}
    hits, count = (given & happened).sum(), given.sum()
    for name, value, n, baseline in (
        ("early warning precision", hits / count, count, happened.mean()),
        ("early warning precision, against the ATR", hits / count, count, (loud & happened).sum() / count),
        ("early warning recall", hits / happened.sum(), happened.sum(), (loud & happened).sum() / happened.sum()),
    ):
        found = rows_of[name]
        assert found[2] == pytest.approx(value)
        assert (found[5], found[6]) == (n, pytest.approx(baseline))
        assert found[3] < found[2] < found[4]
    assert "picked in hindsight" in rows_of["early warning recall"][7]


def test_without_a_warning_there_is_nothing_to_beat() -> None:
    figures, rows = Figures(), 100
    happened, nothing = np.arange(rows) % 3 == 0, np.zeros(rows, bool)
    warning_figures(figures, "scope", np.arange(rows) * MINUTE_MS, np.zeros(rows), nothing, happened, np.ones(rows), seed=1)
    found = {row[1]: row for row in figures.rows}
    assert np.isnan([found["early warning precision, against the ATR"][at] for at in (2, 6)]).all()
    assert (found["early warning recall"][2], found["early warning recall"][6]) == (0, 0)
