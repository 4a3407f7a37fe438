"""The ablation's own parts: the whale proxy knows no future, and a gain is a gain."""

import gzip

import numpy as np
import pytest

from benchmarks.ablation import FEWER, HOPED, LEAST_WHALE_DAYS, compare, whale_proxy
from modules.core.statistics import DAY_MS, Figures
from modules.core.words import MINUTE_MS

FIRST = 19_000 * DAY_MS
DAYS = 60


def flows(path, net):
    with gzip.open(path, "wt") as file:
        rows = [f"{FIRST + day * DAY_MS},0,0,{value}" for day, value in enumerate(net)]
        file.write("\n".join(["timestamp,inflow_btc,outflow_btc,netflow_btc", *rows]) + "\n")
    return path


@pytest.fixture
def net():
    return np.random.Generator(np.random.PCG64(3)).normal(0, 1_000, DAYS)


def test_a_days_flow_speaks_on_the_day_after_and_knows_no_later_one(tmp_path, net):
    day = LEAST_WHALE_DAYS + 10
    minutes = FIRST + np.arange(0, DAYS * DAY_MS, 30 * MINUTE_MS)
    before = whale_proxy(flows(tmp_path / "a.csv.gz", net), minutes)
    net[day:] = 9_000
    after = whale_proxy(flows(tmp_path / "b.csv.gz", net), minutes)
    changed = (before["whale_alert_score"] != after["whale_alert_score"]) | (before["impact_type"] != after["impact_type"])
    assert before["timestamp"][changed].min() == FIRST + (day + 1) * DAY_MS


def test_unusual_inflow_presses_to_sell_and_outflow_to_buy(tmp_path, net):
    day = LEAST_WHALE_DAYS + 5
    for extreme, word in ((50_000, "sell_pressure"), (-50_000, "buy_pressure")):
        net[day] = extreme
        said = whale_proxy(flows(tmp_path / "a.csv.gz", net), np.array([FIRST + (day + 1) * DAY_MS + 5 * MINUTE_MS]))
        assert (said["whale_alert_score"][0], said["impact_type"][0]) == (1.0, word)
    quiet = whale_proxy(flows(tmp_path / "a.csv.gz", net), np.array([FIRST + 5 * DAY_MS]))
    assert (quiet["whale_alert_score"][0], quiet["impact_type"][0]) == (0.5, "none")


def test_less_loss_and_more_hits_are_gains_on_the_minutes_asked_for_alone():
    stamps = FIRST + np.arange(10 * 1440) * MINUTE_MS
    ones, asked = np.ones(len(stamps)), stamps[: 5 * 1440]
    here = np.isin(stamps, asked)
    without = {"loss": (FEWER, stamps, 2 * ones, ones), "hits": (1, stamps, 0.5 * ones, ones)}
    with_it = {"loss": (FEWER, stamps, np.where(here, 1.5, 9), ones), "hits": (1, stamps, np.where(here, 0.4, 1), ones)}
    figures = Figures()
    compare(figures, "whale", without, with_it, "some", asked)
    told = {figure: (value, n, baseline) for _, figure, value, _, _, n, baseline, _ in figures.rows}
    assert told["loss"] == (1.5, len(asked), 2.0)
    assert told["loss, gained"] == (0.5, len(asked), 0.0)
    assert told["loss, gained, share"] == (0.25, len(asked), HOPED)
    assert told["hits, gained"][0] == pytest.approx(-0.1)
    assert told["hits, gained, share"][0] == pytest.approx(-0.2)
