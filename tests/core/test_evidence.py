"""What the parallel rooms said: the right minute, or neutral; never something else."""

import numpy as np
import pytest
from table_rows import START, part, plain

from modules.core import evidence
from modules.core.catalog import EVIDENCE, TABLES
from modules.core.tables import Workspace
from modules.core.words import MINUTE_MS


def single(said):
    """A table of one row as its values."""
    return {key: values.tolist()[0] for key, values in said.items() if len(values) == 1}


NEUTRAL = {key: value for room in EVIDENCE for key, value in room.neutral.items()}


def say(workspace, count=10, status="ok"):
    """Both live tables: whale scores 0.00, 0.01, …, trajectories 0.0, -0.1, …"""
    minutes = START + MINUTE_MS * np.arange(count)
    told = np.full(count, status, object)
    score, impact = np.arange(count) / 100, np.array(["sell_pressure"] * count, object)
    workspace.write("whale_alerts", {"timestamp": minutes, "whale_alert_score": score, "impact_type": impact, "status": told})
    feeling = {"trajectory": -np.arange(count) / 10, "volatility": np.full(count, 0.25)}
    workspace.write("sentiment_trajectories", {"timestamp": minutes, **feeling, "status": told})


def test_at_is_the_row_of_the_asked_minute_even_among_newer_ones(tmp_path):
    workspace = Workspace(tmp_path)
    say(workspace)
    for i in (9, 8, 5, 0):
        said = evidence.at(workspace, START + i * MINUTE_MS)
        wanted = {
            "whale_alert_score": i / 100,
            "impact_type": "sell_pressure",
            "trajectory": -i / 10,
            "volatility": 0.25,
        }
        assert single(said) == wanted


@pytest.mark.parametrize("minute", [-1, 10, 100])
def test_a_missing_minute_is_neutral(tmp_path, minute):
    workspace = Workspace(tmp_path)
    say(workspace)
    assert single(evidence.at(workspace, START + minute * MINUTE_MS)) == NEUTRAL


@pytest.mark.parametrize("status", ["off", "fallback: no answer"])
def test_off_and_fallback_are_neutral(tmp_path, status):
    workspace = Workspace(tmp_path)
    say(workspace, status=status)
    assert single(evidence.at(workspace, START)) == NEUTRAL


def test_no_table_and_no_row_are_neutral(tmp_path):
    workspace = Workspace(tmp_path)
    assert single(evidence.at(workspace, START)) == NEUTRAL
    workspace.write("whale_alerts", part(plain(TABLES["whale_alerts"], 1), 0, 0))
    assert single(evidence.at(workspace, START)) == NEUTRAL


def test_history_is_lagged_exactly(tmp_path):
    workspace = Workspace(tmp_path)
    minutes = START + MINUTE_MS * np.array([0, 1, 2, 5, 6])  # two minutes are missing
    score = np.array([0.0, 0.1, 0.2, 0.9, 0.6])
    impact = np.array(["none", "buy_pressure", "none", "sell_pressure", "none"], object)
    workspace.write("whale_history", {"timestamp": minutes, "whale_alert_score": score, "impact_type": impact})
    wanted = START + MINUTE_MS * np.arange(-1, 9)
    said = evidence.history(workspace, wanted, lag=1)
    assert said["whale_alert_score"].tolist() == [0.5, 0.5, 0.0, 0.1, 0.2, 0.5, 0.5, 0.9, 0.6, 0.5]
    assert said["impact_type"].tolist() == [
        "none",
        "none",
        "none",
        "buy_pressure",
        *["none"] * 3,
        "sell_pressure",
        *["none"] * 2,
    ]
    assert said["trajectory"].tolist() == [0.0] * 10  # no sentiment history at all
    assert evidence.history(workspace, wanted, lag=0)["whale_alert_score"][1:4].tolist() == [0.0, 0.1, 0.2]


def test_the_live_table_speaks_where_the_history_has_ended(tmp_path):
    workspace = Workspace(tmp_path)
    minutes = START + MINUTE_MS * np.arange(6)
    assert evidence.unrecorded(workspace, minutes) == {}  # both rooms are off
    said = {"whale_alert_score": np.full(2, 0.9), "impact_type": np.full(2, "buy_pressure", object)}
    workspace.write("whale_history", {"timestamp": minutes[:2], **said})
    assert evidence.unrecorded(workspace, minutes) == {"whale_history": 4}
    assert evidence.unrecorded(workspace, minutes[:2]) == {}
    live = plain(TABLES["whale_alerts"], 4)
    live["timestamp"], live["whale_alert_score"] = minutes[1:5], np.array([0.1, 0.2, 0.3, 0.4])
    live["status"] = np.array(["ok", "ok", "fallback: asleep", "ok"], object)
    workspace.write("whale_alerts", live)
    assert evidence.unrecorded(workspace, minutes) == {"whale_history": 1}
    assert evidence.recorded(workspace, minutes, lag=0)["whale_alert_score"].tolist() == [0.9, 0.9, 0.2, 0.5, 0.4, 0.5]
    assert evidence.recorded(workspace, minutes, lag=1)["whale_alert_score"].tolist() == [0.5, 0.9, 0.9, 0.2, 0.5, 0.4]


def test_before_its_first_live_row_a_room_is_read_from_its_history(tmp_path):
    workspace = Workspace(tmp_path)
    minutes = START + MINUTE_MS * np.arange(6)
    past = {"whale_alert_score": np.array([0.9, 0.8, 0.7, 0.6]), "impact_type": np.full(4, "sell_pressure", object)}
    workspace.write("whale_history", {"timestamp": minutes[:4], **past})
    assert evidence.live(workspace, minutes, lag=0)["whale_alert_score"].tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.5]
    live = plain(TABLES["whale_alerts"], 3)
    live["timestamp"], live["whale_alert_score"] = minutes[[2, 4, 5]], np.array([0.1, 0.2, 0.3])
    live["status"] = np.array(["fallback: asleep", "ok", "ok"], object)
    workspace.write("whale_alerts", live)
    assert evidence.live(workspace, minutes, lag=0)["whale_alert_score"].tolist() == [0.9, 0.8, 0.5, 0.5, 0.2, 0.3]
    assert evidence.live(workspace, minutes, lag=1)["whale_alert_score"].tolist() == [0.5, 0.9, 0.8, 0.5, 0.5, 0.2]
    assert [evidence.at(workspace, int(minute))["whale_alert_score"][0] for minute in minutes] == [0.9, 0.8, 0.5, 0.5, 0.2, 0.3]


def test_live_and_history_agree(tmp_path):
    workspace = Workspace(tmp_path)
    say(workspace)
    for room in EVIDENCE:
        rows = workspace.read(room.table)
        workspace.write(TABLES[room.table].history, {key: rows[key] for key in rows if key != "status"})
    minutes = START + MINUTE_MS * np.arange(-2, 14)
    lagged = evidence.encode(evidence.history(workspace, minutes, lag=1))
    live = np.concatenate([evidence.encode(evidence.at(workspace, int(minute) - MINUTE_MS)) for minute in minutes])
    assert np.array_equal(lagged, live)


def test_encode_is_in_the_order_of_its_names():
    said = {"volatility": 0.4, "trajectory": -0.3, "impact_type": "buy_pressure", "whale_alert_score": 0.9}
    said = {key: np.array([value], object if isinstance(value, str) else float) for key, value in said.items()}
    assert dict(zip(evidence.names(), evidence.encode(said)[0], strict=True)) == {
        "whale_alerts_whale_alert_score": 0.9,
        "whale_alerts_impact_type_sell_pressure": 0.0,
        "whale_alerts_impact_type_buy_pressure": 1.0,
        "sentiment_trajectories_trajectory": -0.3,
        "sentiment_trajectories_volatility": 0.4,
    }
    silent = {key: values for room in EVIDENCE for key, values in evidence.neutral(room, 2).items()}
    assert evidence.encode(silent).tolist() == [[0.5, 0, 0, 0, 0]] * 2


def test_whale_sign():
    assert evidence.whale_sign(np.array(["none", "buy_pressure", "sell_pressure"], object)).tolist() == [0, 1, -1]
