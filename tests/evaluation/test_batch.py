"""Laws 1 and 2 over every module's table: the future never changes a row, and live rows are the rows of the batch."""

import numpy as np
import pytest

from modules.core.errors import PipelineError
from modules.core.labels import barrier_outcome
from modules.core.module import Run
from modules.core.tables import Columns
from modules.evaluation.batch import live_tables
from modules.evaluation.lookahead import flat, looking_ahead, tables_of
from modules.m1_data_engine import context
from modules.m1_data_engine.features.market import Market
from modules.m1_data_engine.simulated_market import Simulation
from modules.m6_executor.model import Account, Candle, Decision, step
from tests.conftest import TRAINING_MINUTES, Desk

CUTS = (2_300, 2_611, 2_700)
SPAN = 2_800


def with_trades(run: Run, inputs: Columns) -> Columns:
    """Every live table, and the account that follows from the decisions."""
    tables = tables_of(run)(inputs)
    final = {name: tables[f"final_signals.{name}"] for name in ("signal", "SL", "TP", "size", "confidence", "reason")}
    account, rows = Account(run.settings.executor.capital), []
    first = len(inputs["timestamp"]) - len(final["signal"])
    for i in range(len(final["signal"])):
        prices = (float(inputs[name][first + i]) for name in ("open", "high", "low", "close"))
        said = (float(final[name][i]) for name in ("SL", "TP", "size", "confidence"))
        stamp, regime = int(inputs["timestamp"][first + i]), str(tables["current_regime.regime"][i])
        decision = Decision(stamp, str(final["signal"][i]), *said, str(final["reason"][i]), regime)
        account = step(account, Candle(stamp, *prices), decision, run.settings.costs, run.settings.labels.horizon).account
        rows.append(account.equity(float(inputs["close"][first + i])))
    return tables | {"equity": np.array(rows)}


def faults(run: Run, market: Simulation) -> list[str]:
    """Columns of which a row before a cut changes when the candles and depth from the cut on are cut off or replaced."""
    depth = {name: values for name, values in market.depth.items() if name != "timestamp"}
    inputs = {name: values[-SPAN:] for name, values in flat(Market(market.candles, {"depth": depth})).items()}
    return list(map(str, looking_ahead(lambda columns: with_trades(run, columns), inputs, CUTS)))


@pytest.fixture
def run(trained_once: Desk) -> Run:
    return trained_once.open()


def test_no_table_of_any_module_knows_the_future(run: Run, market: Simulation) -> None:
    assert faults(run, market) == []


def test_the_same_check_finds_a_feature_that_cheats(run: Run, market: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = context.context

    def centred(candles: Market) -> dict[str, np.ndarray]:
        columns = honest(candles)
        ahead = np.concatenate((candles["close"][5:], np.repeat(candles["close"][-1:], 5)))
        return columns | {"trend": columns["trend"] + np.sign(ahead - candles["close"])}

    monkeypatch.setattr(context, "context", centred)
    found = faults(run, market)
    assert any(fault.startswith("live_features.trend") for fault in found)
    assert any(fault.startswith("final_signals") for fault in found)


def test_500_replayed_minutes_are_the_rows_of_the_batch(trained: Desk, market: Simulation) -> None:
    done = trained.replay("--minutes", 500)
    assert done.returncode == 0, done.stderr
    run = trained.open()
    tables = live_tables(run, market.candles)
    for name, batch in tables.items():
        live = run.workspace.archived(name)
        served = live["timestamp"] >= market.candles["timestamp"][TRAINING_MINUTES]
        assert served.sum() == 500
        at = np.searchsorted(batch["timestamp"], live["timestamp"][served])
        for column, values in live.items():
            if values.dtype == object:
                assert list(values[served]) == list(batch[column][at]), f"{name}.{column}"
            else:
                # Tables keep ten decimals; the decision's own figures fewer, as the catalog says.
                tolerance = 1e-9 if name == "live_features" else 1e-6 if name != "final_signals" else 1e-3
                np.testing.assert_allclose(values[served], batch[column][at], atol=tolerance, err_msg=f"{name}.{column}")


def test_too_few_candles_are_refused(run: Run, market: Simulation) -> None:
    few = {name: values[:500] for name, values in market.candles.items()}
    with pytest.raises(PipelineError, match="too few"):
        live_tables(run, few)


def test_the_label_of_the_fusion_is_the_trade_of_the_executor(run: Run, market: Simulation) -> None:
    """One decision at a time through the executor's engine earns what ``barrier_outcome`` says, before costs."""
    span = {name: values[-400:] for name, values in market.candles.items()}
    atr = context.context(Market(market.candles))["atr"][-400:]
    fusion, horizon = run.settings.fusion, run.settings.labels.horizon
    free = type(run.settings.costs)(fee=0.0, slippage=0.0)
    for side, sign in (("BUY", 1), ("SELL", -1)):
        expected = barrier_outcome(span, atr, sign, fusion.stop_atr, fusion.target_atr, horizon)
        for at in range(0, 380, 37):
            stop = span["close"][at] - sign * fusion.stop_atr * atr[at]
            target = span["close"][at] + sign * fusion.target_atr * atr[at]
            account, trade = Account(10_000.0), None
            for i in range(at, 400):
                stamp = int(span["timestamp"][i])
                candle = Candle(stamp, *(float(span[name][i]) for name in ("open", "high", "low", "close")))
                decision = Decision(stamp, side, stop, target, 0.5, 1.0, "", "") if i == at else None
                done = step(account, candle, decision, free, horizon)
                account, trade = done.account, done.trades[0] if done.trades else trade
            assert trade is not None
            assert sign * (trade.exit / trade.entry - 1) == pytest.approx(expected[at], abs=1e-12)


def test_evidence_that_ends_too_soon_is_refused(trained: Desk, market: Simulation) -> None:
    run = trained.open()
    stamps = market.candles["timestamp"][: TRAINING_MINUTES // 2]
    rows = {"timestamp": stamps, "whale_alert_score": np.full(len(stamps), 0.5)}
    run.workspace.write("whale_history", rows | {"impact_type": np.full(len(stamps), "none", object)})
    with pytest.raises(PipelineError, match="ends before these candles do"):
        live_tables(run, market.candles)
