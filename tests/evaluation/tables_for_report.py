"""Tables as an evaluation leaves them: rows of every kind, plausible, with gaps, a hostile cell and a strategy that never
trades."""

import numpy as np

from modules.core.catalog import CURVE, GROUP, REGIMES
from modules.core.statistics import Figures
from modules.core.tables import Columns, Workspace

NAN = float("nan")
SPAN = "2024-03-01 05:30:00 to 2024-03-31 05:29:00 IST, out of sample"
HOLD = "buy and hold over the same candles, after costs"
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
START, HOUR_MS = 1_709_251_200_000, 3_600_000
STRATEGIES = (
    "fused rule",
    "strict rule",
    "always NEUTRAL",
    "random entries as often as the fused rule",
    "ATR breakout",
    "plain LightGBM",
    "specialists alone",
    "buy and hold",
)
WHY = "412 trades lost 7.9 bps each after costs, and the interval reaches from -19.2 to 3.4."


def stats(words: str = "cannot be told apart from luck", judged: str = "") -> Columns:
    """Rows of ``FIGURES``: each strategy, the models, what was hoped for; which strategy was judged, where it is told."""
    figures = Figures()
    if judged:
        figures.add(f"all strategies, {SPAN}, after costs", f"judged: {judged}", 1, 43_200, baseline_is="[fusion] rule")
    for name in STRATEGIES:
        scope = f"{name}, {SPAN}, after costs"
        if name in ("always NEUTRAL", "strict rule"):
            for figure in ("win_rate", "profit_factor", "mean_net_bps_a_trade", "total_return", "max_drawdown"):
                figures.add(scope, figure, NAN, 0)
            figures.add(scope, "trades", NAN, 0)
            figures.add(scope, "verdict: cannot be told apart from luck", 1, 0, baseline_is="It made no trade.")
            continue
        figures.add(scope, "trades", 412, 412)
        figures.add(scope, "win_rate", 0.463, 412, 0.41, 0.517, 0.481, "break-even win rate at the mean win and the mean loss")
        figures.add(scope, "profit_factor", 0.93, 412, 0.74, 1.13, 1.0, "neither gain nor loss")
        figures.add(scope, "mean_net_bps_a_trade", -7.9, 412, -19.2, 3.4, 0.0, "no trade")
        figures.add(scope, "mean_hold_minutes", 11.2, 412, 10.7, 11.8)
        figures.add(scope, "costs_paid_usd", 2471.355, 412)
        figures.add(scope, "total_return", -0.0097, 43_200, -0.03, 0.011, 0.141, HOLD)
        figures.add(scope, "sharpe_of_daily_returns_annualised", -1.83, 30, -5.1, 1.6, 0.0, "no trade")
        figures.add(scope, "max_drawdown", 0.0213, 43_200, baseline=0.117, baseline_is=HOLD)
        figures.add(scope, "exposure", 0.107, 43_200, 0.09, 0.12)
        figures.add(scope, "turnover_a_day", 0.551, 412)
        figures.add(scope, "break_even_fee", 0.00060, 412, baseline=0.001, baseline_is="the fee a side that is set")
        figures.add(scope, "probabilistic_sharpe", 0.302, 30, baseline=0.95, baseline_is="asked for")
        figures.add(scope, "deflated_sharpe", 0.041, 30, baseline=0.95, baseline_is="asked for, after 37 tries")
        figures.add(scope, f"verdict: {words}", 1, 412, baseline_is=WHY)
    scope = f"all strategies, {SPAN}, after costs"
    figures.add(
        scope, "probability of backtest overfitting, the best of 6", 0.61, 12_870, baseline=0.5, baseline_is="pure chance"
    )
    figures.add(scope, "strategies tried so far", 1_037, 1_037)
    scope = f"regime, {SPAN}"
    figures.add(scope, "regime accuracy", 0.921, 43_200, 0.911, 0.932, 0.902, "the label of the minute before persists")
    figures.add(scope, "regime where it changes, accuracy", 0.026, 10_323, 0.021, 0.032, 0.026, "the last label persists")
    scope = f"early warning, {SPAN}"
    figures.add(scope, "early warning ROC-AUC", 0.798, 43_184, 0.768, 0.82, 0.795, "ATR alone")
    figures.add(scope, "early warning precision", 0.884, 644, 0.755, 0.956, 0.209, "base rate")
    figures.add(f"calibration, {SPAN}", f"fusion: a BUY ends in profit {HOSTILE}: Brier score", 0.091, 43_184, 0.066, 0.12, 0.101)
    everything = f"all strategies, {SPAN}, after costs"
    figures.add(everything, "fees and slippage of a round trip, bps", 30, 43_200, baseline_is="fee 0.00123, slippage 0.0005")
    scope = f"hoped for, {SPAN}, after costs"
    figures.add(scope, "win_rate", 0.463, 412, 0.41, 0.517, 0.85, "hoped for: 85 to 90 %")
    figures.add(scope, "max_drawdown", 0.0213, 43_200, baseline=0.15, baseline_is="hoped for: at most")
    figures.add(scope, "mean_hold_minutes", 11.2, 412, 10.7, 11.8, 8, "hoped for: 8 to 15 minutes")
    figures.add(scope, "early warning precision", 0.884, 644, 0.755, 0.956, 0.85, "hoped for")
    figures.add(scope, "profit_factor", NAN, 0, baseline=2, baseline_is="hoped for")
    return figures.columns()


def curves(hours: int = 720) -> Columns:
    """Rows of ``CURVE``: money by the hour, calibration, selectivity, Monte Carlo, and a plot that nobody knows yet."""
    random, rows = np.random.Generator(np.random.PCG64(1)), []
    for name in STRATEGIES:
        step = 0 if name in ("always NEUTRAL", "strict rule") else 1
        equity = 10_000 + step * np.cumsum(random.normal(-1, 20, hours))
        fallen = 100 * (equity / np.maximum.accumulate(equity) - 1)
        for plot, what, values in (
            ("equity", "equity at the close, USD", equity),
            ("drawdown", "below the highest equity so far, %", fallen),
        ):
            for i, value in enumerate(values):
                rows.append((plot, name, "Unix ms UTC", what, START + i * HOUR_MS, value, NAN, NAN, 412))
    axes = "probability said, 0..1", "share that happened, 0..1"
    for name in ("early warning: a move comes", f"fusion: a BUY ends in profit {HOSTILE}"):
        for x in np.linspace(0.05, 0.95, 10):
            rows.append((f"calibration: {name}", "found", *axes, x, x * 0.9, x * 0.8, x * 0.95 + 0.03, 4_318))
    for plot, unit in (("win rate", "win rate after costs, 0..1"), ("expectancy", "mean net of a trade, bps after costs")):
        for name in ("ranked by expected_bps, a trade each minute", "ranked by confidence, a trade each minute"):
            for x in (100, 50, 20, 10, 5, 2, 1):
                y = 0.3 + 0.1 / x if plot == "win rate" else -29 + 10 / x
                rows.append(
                    (f"selectivity: {plot}", name, "share of the minutes taken, %", unit, x, y, y - 0.1, y + 0.2, x * 432)
                )
    for x in range(1, 100):
        told = "share of the draws at or below, %", "deepest drawdown, %"
        rows.append(("Monte Carlo: the same trades in any order", "fused rule", *told, x, 1 + x / 40, NAN, NAN, 412))
    rows.append(("a plot of tomorrow", f"one point {HOSTILE}", "kilometres", "litres", 3, NAN, NAN, NAN, 0))
    rows.append(("a plot of tomorrow", f"one point {HOSTILE}", "kilometres", "litres", 4, 2, 1, 3, 9))
    kinds = [object] * 4 + [float] * 4 + [int]
    return {column.name: np.array([row[i] for row in rows], kinds[i]) for i, column in enumerate(CURVE)}


def groups() -> Columns:
    """Rows of ``GROUP`` for two strategies; the last hour has no trade, the last month too few days for an interval."""
    rows = []
    for name, shift in (("fused rule", 0.0), ("plain LightGBM", -12.0)):
        keys = {
            "regime": REGIMES,
            "session": ("asia", "london", "ny", "off"),
            "month": ("2024-02", "2024-03"),
            "hour": tuple(f"{hour:02d} IST" for hour in range(24)),
        }
        for by, group in keys.items():
            for i, key in enumerate(group):
                mean = shift + 9 * np.sin(i) - 8
                if key == "23 IST":
                    rows.append((name, by, key, 0, *[NAN] * 6, 0.0))
                else:
                    ends = (NAN, NAN) if key == "2024-03" else (mean - 15, mean + 15)
                    rows.append((name, by, key, 17 + i, 0.45, 0.3, 0.6, mean, *ends, mean * 3))
    kinds = [object] * 3 + [int] + [float] * 7
    return {column.name: np.array([row[i] for row in rows], kinds[i]) for i, column in enumerate(GROUP)}


def rooms() -> dict[str, Columns]:
    """Stats of rooms: one of figures, with a hostile source, and the one of the specialists."""
    news, regimes = Figures(), Figures()
    news.add(f"{HOSTILE}/finance", "accuracy", 0.71, 1_200, 0.68, 0.74, 0.55, "always neutral")
    regimes.add("out of sample", "regime accuracy", 0.907, 16_688, 0.886, 0.923, 0.884, "the label of the minute before persists")
    regimes.add("training rows", "BIC a row, 4 components", 7.6437752761, 20_000)
    specialists = {
        "regime": ["all", "TREND_UP"],
        "model": ["as served", "trend_up_v1"],
        "validation_log_loss": [NAN, 0.3161],
        "out_of_sample_log_loss": [0.3404, 0.5803],
        "pooled_log_loss": [0.3409, 0.5843],
        "base_rate_log_loss": [0.5083, 0.6591],
        "signals": [0, 3],
        "win_rate": [NAN, 1 / 3],
        "win_rate_low": [NAN, 0.06],
        "win_rate_high": [NAN, 0.79],
        "win_rate_always_buy": [0.0644, 0.0477],
        "profit_factor": [NAN, 0.4],
        "mean_net_bps": [NAN, -21.0],
        "n": [16_688, 2_076],
    }
    table = {
        name: np.array(values, object if name in ("regime", "model") else int if name in ("signals", "n") else float)
        for name, values in specialists.items()
    }
    return {"sentiment_stats": news.columns(), "regime_stats": regimes.columns(), "specialist_stats": table}


def analysis() -> Columns:
    """Rows of the analysis: two checks, of which one failed."""
    rows = [
        ("warm-up", "warm-up of m1", "pass", 1e-9, "relative difference", "", 300),
        ("look-ahead", "cheating_feature", "fail", 3.0, "rows that changed", "the future changes it", 300),
        ("leakage", "a feature", "note", NAN, "", "predicts rather well", 300),
    ]
    kinds = [object] * 3 + [float] + [object] * 2 + [int]
    names = ("check", "subject", "verdict", "value", "what", "detail", "n")
    return {name: np.array([row[i] for row in rows], kinds[i]) for i, name in enumerate(names)}


def tries() -> Columns:
    """Rows of the log of tries, an hour apart."""
    columns = {name: np.array([name] * 3, object) for name in ("strategy", "key")}
    stamps = START + HOUR_MS * np.arange(3)
    what, nothing = np.array(["walk_forward"] * 3, object), np.full(3, NAN)
    return {"timestamp": stamps, "what": what, **columns, "sharpe": nothing, "days": np.arange(3), "trades": np.arange(3)}


def write(workspace: Workspace, mode: str = "walk_forward") -> None:
    """All of them, as the files of a workspace."""
    for what, columns in (("stats", stats()), ("curves", curves()), ("groups", groups())):
        workspace.write(f"{mode}_{what}", columns)
    workspace.write("tries", tries())
    for name, columns in rooms().items():
        workspace.write(name, columns)
