"""Settings: every fault is told at once, and config.toml says everything."""

import tomllib
from dataclasses import asdict, fields

import pytest

from modules.core import settings
from modules.core.errors import SettingsError
from modules.core.settings import DEFAULTS, Settings, load_settings


def faults(path=None, overrides=None):
    with pytest.raises(SettingsError) as caught:
        load_settings(path, overrides)
    return [line.removeprefix("  - ") for line in str(caught.value).split("\n")[1:]]


def test_config_toml_has_every_setting_and_nothing_else():
    written = tomllib.loads(DEFAULTS.read_text())
    declared = {part.name: {item.name for item in fields(part.type)} for part in fields(Settings)}
    assert {section: set(values) for section, values in written.items()} == declared
    assert asdict(load_settings()) == written


def test_every_fault_at_once():
    told = faults(
        overrides={
            "data": {"rows": 10, "rwos": 5, "select": 1.5},
            "cost": {"fee": 0.1},
            "costs": {"fee": "much", "slippage": 0.2},
            "fusion": {"rule": "loose"},
            "sizes": 7,
        }
    )
    assert sorted(told) == [
        "[cost] is no section; did you mean costs?",
        "[costs] fee = 'much' must be a number",
        "[costs] slippage = 0.2 must be at most 0.1",
        "[data] rows = 10 must be at least 4000",
        "[data] rwos is no setting; did you mean rows?",
        "[data] select = 1.5 must be a whole number",
        "[fusion] rule = 'loose' must be one of fused, strict",
        "[sizes] is no section; did you mean size?",
    ]


@pytest.mark.parametrize(
    ("section", "name", "value", "told"),
    [
        ("data", "rows", True, "a whole number"),
        ("costs", "fee", False, "a number"),
        ("costs", "fee", float("nan"), "finite"),
        ("executor", "capital", float("inf"), "finite"),
        ("exchange", "symbol", 5, "text"),
        ("executor", "mode", "live", "one of paper"),
        ("sessions", "london", 14, "must begin in the order"),
        ("data", "chunk_rows", 10**6, "chunk_rows must not be above rows"),
    ],
)
def test_one_fault(section, name, value, told):
    (only,) = faults(overrides={section: {name: value}})
    assert told in only


def test_no_move_at_all():
    assert faults(overrides={"labels": {"move_points": 0}}) == ["[labels] move_points or move_bps must be above 0"]


def test_layers(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[costs]\nfee = 0\n[labels]\nhorizon = 30\n")
    mine = load_settings(path, {"labels": {"horizon": 10}})
    assert (mine.costs.fee, mine.labels.horizon) == (0.0, 10)
    assert isinstance(mine.costs.fee, float)
    assert mine.costs.slippage == load_settings().costs.slippage
    assert load_settings().labels.horizon == 15  # the layers above left the defaults alone


def test_files_that_are_no_settings(tmp_path):
    path = tmp_path / "mine.toml"
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(path)
    for content in (b"[costs\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="is not valid TOML"):
            load_settings(path)


def test_a_line_lost_from_the_defaults(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text(DEFAULTS.read_text().replace("\nseed = ", "\nsead = ").replace("[executor]", "[excutor]"))
    monkeypatch.setattr(settings, "DEFAULTS", path)
    assert faults() == [
        "[learning] sead is no setting; did you mean seed?",
        "[excutor] is no section; did you mean executor?",
        "[learning] seed is missing from config.toml",
        "[executor] mode is missing from config.toml",
        "[executor] capital is missing from config.toml",
        "[executor] against is missing from config.toml",
    ]


def test_round_trip_costs():
    assert load_settings(overrides={"costs": {"fee": 0.001, "slippage": 0.0005}}).costs.round_trip == pytest.approx(0.003)
