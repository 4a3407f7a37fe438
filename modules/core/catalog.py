"""Every file that passes between rooms: where it lies, what its columns mean, who writes it and who reads it.

A table that is not declared here cannot be read or written. A new room declares its tables here, and where it is
evidence for the fusion, one line in ``EVIDENCE``.
"""

from dataclasses import dataclass
from typing import Any

from modules.core.words import DAY_MINUTES, IMPACTS, REGIMES, SIGNALS

NUMBER, INTEGER, CHOICE, TEXT = "number", "integer", "choice", "text"


@dataclass(frozen=True)
class Column:
    """One column: its kind, its unit for the reader, its bounds, and whether a cell may be empty."""

    name: str
    kind: str = NUMBER
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    decimals: int = 10
    empty: bool = False


@dataclass(frozen=True)
class Table:
    """One CSV.

    ``keep`` makes it a live table: the newest ``keep`` rows stay, older ones go to ``processed/archive/<name>/``.
    ``more`` allows further number columns between the declared ones and ``status``: the features, whose names the
    trainer chooses. ``numbered`` means one file for each number k, ``{k}`` in the path.
    """

    name: str
    path: str
    columns: tuple[Column, ...]
    writer: str
    readers: tuple[str, ...]
    keep: int = 0
    ist: bool = False
    more: bool = False
    numbered: bool = False
    stamped: bool = True
    history: str = ""


def _share(name: str, **more: Any) -> Column:
    return Column(name, low=0, high=1, unit="0..1", **more)


def _usd(name: str, **more: Any) -> Column:
    return Column(name, unit="USD", decimals=8, **more)


LATEST = 4_102_444_800_000
"""Unix ms of the year 2100: a stamp in microseconds lies beyond it and is told at once."""
TIMESTAMP = Column("timestamp", INTEGER, "Unix ms UTC, the candle's open", low=0, high=LATEST)
STATUS = Column("status", TEXT, "ok, off, or fallback: why")
CANDLE = (
    _usd("open", low=0),
    _usd("high", low=0),
    _usd("low", low=0),
    _usd("close", low=0),
    Column("volume", unit="coins", low=0, decimals=8),
    Column("quote_volume", unit="USD", low=0, decimals=8),
    Column("trades", unit="trades", low=0, decimals=0),
    Column("taker_buy_base", unit="coins", low=0, decimals=8),
    Column("taker_buy_quote", unit="USD", low=0, decimals=8),
)
DEPTH = (
    Column("bid_btc", unit="BTC near the mid", low=0, decimals=8),
    Column("ask_btc", unit="BTC near the mid", low=0, decimals=8),
    _usd("spread", low=0),
)
CONTEXT = (
    _usd("close", low=0),
    Column("atr", unit="USD, Wilder, 14 candles", low=0),
    Column("atr_ratio", unit="atr over its mean of the day before", low=0),
    Column("trend", unit="t-statistic of the hour's returns"),
    Column("volatility", unit="ln of the mean high-low range in bps, half an hour"),
    Column("place", unit="0..1 in the range of eight hours", low=0, high=1),
    Column("depth_btc", unit="BTC on the thinner side of the book; empty: no depth table", low=0, empty=True),
)
"""Columns in natural units that later rooms need by name, whichever features the trainer selects."""

NEXT = tuple(_share(f"next_{regime.lower()}") for regime in REGIMES)
WARNINGS = ("none", "move", "up", "down")
WHALE = (_share("whale_alert_score"), Column("impact_type", CHOICE, choices=IMPACTS))
SEEN = Column("timestamp", INTEGER, "Unix ms UTC, when it was seen; it counts from the minute after", low=0)
TRANSFER = (
    Column("txid", TEXT),
    Column("value_btc", unit="BTC, all outputs", low=0, high=21_000_000, decimals=8),
    Column("inputs", low=0, empty=True, decimals=0),
    Column("outputs", unit="outputs that carry value", low=0, empty=True, decimals=0),
    _share("largest_output_share", empty=True),
    Column("fee_rate", unit="sat a virtual byte", low=0, empty=True, decimals=4),
    Column("to_exchange", INTEGER, "1 where at least half of the value goes to known exchange addresses", low=0, high=1),
    Column("from_exchange", INTEGER, "1 where at least half of the value comes from known exchange addresses", low=0, high=1),
)
SENTIMENT = (Column("trajectory", unit="-1..1", low=-1, high=1), _share("volatility"))
POST = (Column("source", TEXT), Column("text", TEXT, "cleaned"))
SPECIALIST = (_share("p_sell"), _share("p_buy"))
INTERVAL = (Column("value", empty=True), Column("low", empty=True), Column("high", empty=True))
FIGURES = (
    Column("scope", TEXT, "the rows that it was measured on"),
    Column("figure", TEXT),
    *INTERVAL,
    Column("n", INTEGER, "rows behind it", low=0),
    Column("baseline", empty=True, unit="the figure to beat"),
    Column("baseline_is", TEXT),
)
SAID = (
    *CANDLE,
    *(column for column in CONTEXT if column.name in ("atr", "atr_ratio")),
    Column("regime", CHOICE, choices=REGIMES),
    _share("regime_confidence", decimals=6),
    Column("hindsight", CHOICE, "the same model smoothed over the whole span: a truth, never an input", choices=REGIMES),
    *(_share(column.name, decimals=6) for column in NEXT),
    Column("warning", CHOICE, choices=WARNINGS),
    _share("warning_probability", decimals=6),
    _share("warning_threshold", decimals=6),
    Column("specialist", CHOICE, choices=SIGNALS),
    *(_share(column.name, decimals=6) for column in SPECIALIST),
    _share("pooled_sell", decimals=6),
    _share("pooled_buy", decimals=6),
    *WHALE,
    *SENTIMENT,
    Column("fused", CHOICE, "the fusion's decision by this rule", choices=SIGNALS),
    Column("strict", CHOICE, "the fusion's decision by this rule", choices=SIGNALS),
    Column("promised", CHOICE, "the side that promises more, whether a rule forbids it or not", choices=SIGNALS),
    Column("confidence", unit="0..1 and what the evidence adds", decimals=6),
    Column("expected_bps", unit="bps after costs", decimals=4),
    _usd("stop"),
    _usd("target"),
    _share("size"),
    _share("profit_buy", decimals=6),
    _share("profit_sell", decimals=6),
)
"""What the trained pipeline said at the close of a candle that it had not learned from: all that evaluation needs."""
CURVE = (
    Column("plot", TEXT, "points of one plot belong together"),
    Column("curve", TEXT),
    Column("x_is", TEXT, "the x axis, with its unit"),
    Column("y_is", TEXT, "the y axis, with its unit"),
    Column("x"),
    Column("y", empty=True),
    Column("low", empty=True, unit="lower end of the 95 % interval"),
    Column("high", empty=True, unit="upper end of the 95 % interval"),
    Column("n", INTEGER, "rows behind it", low=0),
)
GROUP = (
    Column("strategy", TEXT),
    Column("by", CHOICE, choices=("regime", "session", "month", "hour")),
    Column("group", TEXT),
    Column("trades", INTEGER, low=0),
    _share("win_rate", empty=True),
    _share("win_rate_low", empty=True),
    _share("win_rate_high", empty=True),
    Column("mean_net_bps", unit="bps a trade, after costs", empty=True),
    Column("mean_net_bps_low", empty=True),
    Column("mean_net_bps_high", empty=True),
    _usd("pnl"),
)
MODES = ("backtest", "walk_forward")
VERDICTS = ("pass", "fail", "note")
LIVE = DAY_MINUTES
CANDLES_KEPT = 2 * DAY_MINUTES + 60
POSTS_KEPT = 6 * DAY_MINUTES
"""A hundred posts a minute, the most that X gives, over the longest window that is looked back on."""
"""The live candles cover the longest warm-up of any feature."""

EXTRAS = ("depth", "eth", "sol", "perp", "premium", "funding")
"""Optional tables beside the candles; a feature family whose table is absent is left out."""
_EXTRA_COLUMNS = {
    "depth": DEPTH,
    "eth": (_usd("close", low=0), Column("volume", low=0, unit="coins"), Column("taker_buy_base", low=0, unit="coins")),
    "sol": (_usd("close", low=0), Column("volume", low=0, unit="coins"), Column("taker_buy_base", low=0, unit="coins")),
    "perp": (_usd("close", low=0),),
    "premium": (Column("close", unit="share of the index"),),
    "funding": (Column("funding_rate", unit="share per 8 hours"),),
}

M1, M2, M3, M4A, M4B, M5, M6 = (
    "m1_data_engine",
    "m2_regime",
    "m3_specialist",
    "m4a_whale",
    "m4b_sentiment",
    "m5_meta_fusion",
    "m6_executor",
)

_TABLES = (
    Table("candles_history", "data/historical/1m_200000.csv", (TIMESTAMP, *CANDLE), M1, (M1, M2, M3, M5)),
    Table("candles_live", "data/live/1m.csv", (TIMESTAMP, *CANDLE, STATUS), M1, (M1, M6), keep=CANDLES_KEPT),
    *(
        Table(f"{extra}_history", f"data/historical/{extra}.csv", (TIMESTAMP, *_EXTRA_COLUMNS[extra]), "source", (M1,))
        for extra in EXTRAS
    ),
    *(
        Table(
            f"{extra}_live",
            f"data/live/{extra}.csv",
            (TIMESTAMP, *_EXTRA_COLUMNS[extra], STATUS),
            M1,
            (M1, M6) if extra == "funding" else (M1,),
            keep=CANDLES_KEPT,
        )
        for extra in EXTRAS
    ),
    Table("chunk", "processed/chunk_{k}.csv", (TIMESTAMP, *CONTEXT), M1, (M2, M3, M5), more=True, numbered=True),
    Table(
        "feature_ranking",
        "scalers/feature_ranking.csv",
        (
            Column("feature", TEXT),
            Column("family", TEXT),
            Column("mutual_info", unit="nats, with the label", low=0),
            Column("move_info", unit="nats, with whether a move comes", low=0),
            Column("side_info", unit="nats, with its side where one comes", low=0),
            Column("rank", INTEGER, low=1),
            Column("selected", INTEGER, "1 kept, 0 not", low=0, high=1),
        ),
        M1,
        ("people",),
        stamped=False,
    ),
    Table("data_stats", "performance/data_stats.csv", FIGURES, M1, ("people",), stamped=False),
    Table(
        "live_features",
        "processed/live/live_features.csv",
        (TIMESTAMP, *CONTEXT, STATUS),
        M1,
        (M2, M3, M5),
        keep=LIVE,
        more=True,
        ist=True,
    ),
    Table(
        "regime_assignments",
        "processed/regime_assignments.csv",
        (
            TIMESTAMP,
            Column("regime", CHOICE, choices=REGIMES),
            _share("confidence"),
            *NEXT,
            Column("warning", CHOICE, choices=WARNINGS),
            _share("warning_probability"),
            Column("fold", INTEGER, "walk-forward block; -1 the first (in sample), 99 the out-of-sample tail", low=-1),
        ),
        M2,
        (M3, M5),
    ),
    Table(
        "transition_probs",
        "processed/transition_probs.csv",
        (
            Column("from_regime", CHOICE, choices=REGIMES),
            Column("to_regime", CHOICE, choices=REGIMES),
            _share("prob"),
        ),
        M2,
        ("people",),
        stamped=False,
    ),
    Table("regime_stats", "performance/regime_stats.csv", FIGURES, M2, ("people",), stamped=False),
    Table(
        "current_regime",
        "processed/live/current_regime.csv",
        (TIMESTAMP, Column("regime", CHOICE, choices=REGIMES), _share("confidence"), STATUS),
        M2,
        (M3, M5, M6),
        keep=LIVE,
        ist=True,
    ),
    Table(
        "next_regime_probs",
        "processed/live/next_regime_probs.csv",
        (TIMESTAMP, *NEXT, STATUS),
        M2,
        (M3, M5),
        keep=LIVE,
        ist=True,
    ),
    Table(
        "early_warnings",
        "processed/live/early_warnings.csv",
        (
            TIMESTAMP,
            Column("warning", CHOICE, choices=WARNINGS),
            _share("probability"),
            _share("threshold"),
            Column("triggers", TEXT),
            STATUS,
        ),
        M2,
        (M5,),
        keep=LIVE,
        ist=True,
    ),
    Table(
        "specialist_history",
        "processed/specialist_history.csv",
        (TIMESTAMP, *SPECIALIST, Column("fold", INTEGER, "as in regime_assignments", low=-1)),
        M3,
        (M5,),
    ),
    Table(
        "specialist_stats",
        "performance/specialist_stats.csv",
        (
            Column("regime", TEXT),
            Column("model", TEXT),
            Column("validation_log_loss", low=0, empty=True),
            Column("out_of_sample_log_loss", low=0, empty=True),
            Column("pooled_log_loss", low=0, empty=True),
            Column("base_rate_log_loss", low=0, empty=True),
            Column("signals", INTEGER, "BUY or SELL on the out-of-sample tail", low=0),
            _share("win_rate", empty=True),
            _share("win_rate_low", empty=True),
            _share("win_rate_high", empty=True),
            _share("win_rate_always_buy", empty=True),
            Column("profit_factor", low=0, empty=True, unit="after costs"),
            Column("mean_net_bps", empty=True, unit="bps a signal, after costs"),
            Column("n", INTEGER, "rows of the regime on the out-of-sample tail", low=0),
        ),
        M3,
        ("people",),
        stamped=False,
    ),
    Table(
        "specialist_signals",
        "processed/live/specialist_signals.csv",
        (
            TIMESTAMP,
            Column("signal", CHOICE, choices=SIGNALS),
            _share("confidence"),
            *SPECIALIST,
            Column("model_used", TEXT),
            STATUS,
        ),
        M3,
        (M5,),
        keep=LIVE,
        ist=True,
    ),
    Table(
        "historical_transactions",
        "data/onchain/historical_transactions.csv",
        (SEEN, *TRANSFER),
        "source",
        (M4A,),
        stamped=False,
        more=True,
    ),
    Table(
        "live_transactions",
        "data/onchain/live_transactions.csv",
        (
            SEEN,
            *TRANSFER,
            Column("mined", INTEGER, "Unix ms UTC, the time on its block", low=0),
            Column("height", INTEGER, "its block; 0 where the source names none", low=0),
            Column("gone", unit="Unix ms UTC from which it no longer counts: its block was orphaned", empty=True, decimals=0),
            STATUS,
        ),
        M4A,
        (M4A,),
        keep=2 * LIVE,
    ),
    Table(
        "chain_read",
        "data/onchain/chain_read.csv",
        (
            Column("height", INTEGER, "block; 0 where the source knows none", low=0),
            Column("hash", TEXT),
            Column("looked_at", INTEGER, "where the next poll goes on in a block that a poll's time ended within; else 0", low=0),
            Column("read_to", INTEGER, "Unix ms UTC, close of the last candle at which it was the newest", low=0),
        ),
        M4A,
        (M4A,),
        stamped=False,
    ),
    Table(
        "exchange_addresses",
        "data/onchain/exchange_addresses.csv",
        (Column("exchange_name", TEXT), Column("address", TEXT), Column("type", TEXT)),
        "people",
        (M4A,),
        stamped=False,
    ),
    Table(
        "labelled_transactions",
        "data/onchain/labelled_transactions.csv",
        (SEEN, *TRANSFER, Column("label", INTEGER, "1 what its source calls a whale", low=0, high=1)),
        "source",
        (M4A,),
        stamped=False,
    ),
    Table("whale_stats", "performance/whale_stats.csv", FIGURES, M4A, ("people",), stamped=False),
    Table("whale_history", "processed/whale_history.csv", (TIMESTAMP, *WHALE), M4A, (M1, M2, M3, M5)),
    Table(
        "whale_alerts",
        "processed/live/whale_alerts.csv",
        (TIMESTAMP, *WHALE, STATUS),
        M4A,
        (M1, M2, M3, M5),
        keep=LIVE,
        ist=True,
        history="whale_history",
    ),
    Table("sentiment_history", "processed/sentiment_history.csv", (TIMESTAMP, *SENTIMENT), M4B, (M1, M2, M3, M5)),
    Table(
        "sentiment_trajectories",
        "processed/live/sentiment_trajectories.csv",
        (TIMESTAMP, *SENTIMENT, STATUS),
        M4B,
        (M1, M2, M3, M5),
        keep=LIVE,
        ist=True,
        history="sentiment_history",
    ),
    Table("sentiment_stats", "performance/sentiment_stats.csv", FIGURES, M4B, ("people",), stamped=False),
    Table(
        "sentiment_confusion",
        "performance/sentiment_confusion.csv",
        (
            Column("scope", TEXT),
            Column("label", INTEGER, "given by the labeller", low=-1, high=1),
            Column("predicted", INTEGER, "out of sample", low=-1, high=1),
            Column("n", INTEGER, low=0),
        ),
        M4B,
        ("people",),
        stamped=False,
    ),
    Table(
        "sentiment_calibration",
        "performance/sentiment_calibration.csv",
        (
            Column("scope", TEXT),
            _share("confidence"),
            _share("accuracy"),
            Column("n", INTEGER, "posts of this bin of confidence", low=1),
        ),
        M4B,
        ("people",),
        stamped=False,
    ),
    Table(
        "news_history",
        "data/news/historical_feeds.csv",
        (
            Column("timestamp", NUMBER, "Unix ms UTC, when it was seen; empty: unknown", low=0, decimals=0, empty=True),
            Column("source", TEXT, "a part after / is a subset of the source"),
            Column("text", TEXT),
            Column("label", NUMBER, "-1, 0, 1; empty: none", low=-1, high=1, decimals=0, empty=True),
            Column("labelled_by", TEXT, "human, author or model"),
        ),
        "source",
        (M4B,),
        stamped=False,
    ),
    Table(
        "news_live",
        "data/news/live_feeds.csv",
        (Column("timestamp", INTEGER, "Unix ms UTC, when we saw it", low=0, high=LATEST), *POST, STATUS),
        M4B,
        (M4B,),
        keep=POSTS_KEPT,
        ist=True,
    ),
    Table(
        "news_marks",
        "data/news/feed_marks.csv",
        (
            Column("feed", TEXT),
            Column("etag", TEXT),
            Column("modified", TEXT),
            Column("newest", TEXT),
            Column("not_before", INTEGER, "Unix ms UTC, until when the feed wants to be left alone; else 0", low=0),
        ),
        M4B,
        (M4B,),
        stamped=False,
    ),
    Table(
        "file_read",
        "data/news/file_read.csv",
        (
            Column("offset", INTEGER, "bytes of the file of posts that need not be read again", low=0),
            Column("left_out", INTEGER, "rows among them without a stamp or a text", low=0),
            Column("before", TEXT, "SHA-256 of the last of these bytes: the file may have been replaced"),
            Column("read_to", INTEGER, "Unix ms UTC: all of these rows are older", low=0),
        ),
        M4B,
        (M4B,),
        stamped=False,
    ),
    Table(
        "post_scores",
        "processed/live/post_scores.csv",
        (
            Column("timestamp", INTEGER, "Unix ms UTC, as in news_live", low=0, high=LATEST),
            Column("source", TEXT),
            Column("key", TEXT, "hash of the folded text: the same for posts that say the same"),
            *(_share(f"p_{name}", decimals=6) for name in ("negative", "neutral", "positive")),
            STATUS,
        ),
        M4B,
        (M4B,),
        keep=POSTS_KEPT,
    ),
    Table(
        "sentiment_attention",
        "processed/live/sentiment_attention.csv",
        (
            Column("timestamp", INTEGER, "Unix ms UTC, when we saw the post", low=0, high=LATEST),
            *POST,
            Column("score", unit="-1..1", low=-1, high=1, decimals=6),
            _share("attention", decimals=6),
            Column("moved", unit="its part of the trajectory, -1..1", low=-1, high=1, decimals=6),
        ),
        M4B,
        ("people",),
        stamped=False,
    ),
    Table(
        "sentiment_counts",
        "processed/live/sentiment_counts.csv",
        (
            TIMESTAMP,
            *(
                Column(name, INTEGER, "posts", low=0)
                for name in ("window", "read", "kept", "empty", "language", "spam", "duplicate", "stale", "unread")
            ),
            STATUS,
        ),
        M4B,
        ("people",),
        keep=LIVE,
        ist=True,
    ),
    Table("fusion_stats", "performance/fusion_stats.csv", FIGURES, M5, ("people",), stamped=False),
    Table(
        "final_signals",
        "processed/live/final_signals.csv",
        (
            TIMESTAMP,
            Column("signal", CHOICE, choices=SIGNALS),
            Column("confidence", unit="0..1 and what the evidence adds", decimals=6),
            Column("min_confidence", decimals=6),
            Column("expected_bps", unit="bps after costs", empty=True, decimals=4),
            _usd("SL", low=0, empty=True),
            _usd("TP", low=0, empty=True),
            _share("size"),
            Column("reason", TEXT),
            STATUS,
        ),
        M5,
        (M6,),
        keep=LIVE,
        ist=True,
    ),
    Table(
        "trade_logs",
        "performance/trade_logs.csv",
        (
            TIMESTAMP,
            Column("side", CHOICE, choices=("LONG", "SHORT")),
            _usd("entry", low=0),
            Column("exit_timestamp", INTEGER, "Unix ms UTC, the candle of the exit", low=0),
            _usd("exit", low=0),
            Column("exit_reason", CHOICE, choices=("stop_loss", "take_profit", "time_exit", "reversal")),
            Column("quantity", unit="coins", low=0),
            _usd("pnl"),
            Column("pnl_bps", unit="bps of the notional, after costs"),
            Column("costs", unit="USD: fees, slippage and funding", decimals=8),
            Column("funding", unit="USD, below 0 where it was received", decimals=8),
            _usd("equity"),
            Column("regime", TEXT),
            Column("confidence", decimals=6),
            Column("reason", TEXT),
        ),
        M6,
        ("people",),
        ist=True,
    ),
    Table(
        "equity",
        "performance/equity.csv",
        (TIMESTAMP, _usd("cash"), _usd("position_value"), _usd("equity"), Column("position", unit="coins"), STATUS),
        M6,
        ("people",),
        keep=LIVE,
        ist=True,
    ),
    Table("reports", "performance/reports.csv", FIGURES, M6, ("people",), stamped=False),
    Table(
        "analysis_stats",
        "performance/analysis.csv",
        (
            Column("check", TEXT),
            Column("subject", TEXT, "the column, model or file that was looked at"),
            Column("verdict", CHOICE, choices=VERDICTS),
            Column("value", empty=True),
            Column("what", TEXT, "what the value is"),
            Column("detail", TEXT),
            Column("n", INTEGER, "values behind it", low=0),
        ),
        "evaluation",
        ("people",),
        stamped=False,
    ),
    Table("live_stats", "performance/live_stats.csv", FIGURES, "evaluation", ("people",), stamped=False),
    *(
        Table(f"{mode}_{what}", f"performance/{mode}_{what}.csv", columns, "evaluation", ("evaluation", "people"), stamped=False)
        for mode in MODES
        for what, columns in (("stats", FIGURES), ("curves", CURVE), ("groups", GROUP))
    ),
    Table(
        "tries",
        "performance/tries.csv",
        (
            Column("timestamp", INTEGER, "Unix ms UTC, when it was first evaluated", low=0, high=LATEST),
            Column("what", CHOICE, choices=MODES),
            Column("strategy", TEXT),
            Column("key", TEXT, "SHA-256 of all that it depends on; no two rows have the same"),
            Column("sharpe", unit="of daily net returns, not annualised; empty: they never differ", empty=True),
            Column("days", INTEGER, low=0),
            Column("trades", INTEGER, low=0),
        ),
        "evaluation",
        ("evaluation", "people"),
        stamped=False,
        ist=True,
    ),
    Table(
        "walk_forward_fold",
        "processed/walk_forward/fold_{k}.csv",
        (TIMESTAMP, *SAID),
        "evaluation",
        ("evaluation",),
        numbered=True,
    ),
    Table(
        "truth",
        "data/simulated/truth.csv",
        (
            TIMESTAMP,
            Column("regime", CHOICE, choices=REGIMES),
            Column("drift", unit="log return planted for the minutes that follow"),
            Column("volatility", unit="standard deviation of the minute's log return", low=0),
            Column("whale_impact", unit="log return planted"),
            Column("news_impact", unit="log return planted"),
        ),
        "simulated market",
        ("people",),
    ),
)

TABLES = {table.name: table for table in _TABLES}


@dataclass(frozen=True)
class Evidence:
    """What a parallel room (whale, sentiment, …) tells the others: its live table, and what "no evidence" reads like."""

    table: str
    neutral: dict[str, float | str]


EVIDENCE = (
    Evidence("whale_alerts", {"whale_alert_score": 0.5, "impact_type": "none"}),
    Evidence("sentiment_trajectories", {"trajectory": 0.0, "volatility": 0.0}),
)
"""Rooms that run beside one another before the fusion. The fusion learns from each column listed here; nothing in
its own code names a room that is added here."""


@dataclass(frozen=True)
class Artifact:
    """One model file, and the exported form beside it that the live path reads."""

    name: str
    path: str
    writer: str
    readers: tuple[str, ...]


_ARTIFACTS = (
    Artifact("scaler_{k}", "scalers/scaler_{k}.pkl", M1, ("people",)),
    Artifact("scaler_{k}_export", "scalers/scaler_{k}.json", M1, (M1,)),
    Artifact("own_features", "scalers/own_features.py", M1, (M1,)),
    Artifact("gmm_model", "models/gmm_model.pkl", M2, ("people",)),
    Artifact("hmm_model", "models/hmm_model.pkl", M2, ("people",)),
    Artifact("regime_export", "models/regime.json", M2, (M2,)),
    Artifact("warning_export", "models/warning.txt", M2, (M2,)),
    Artifact("specialist_{k}", "models/specialist_{k}.pkl", M3, (M3,)),
    Artifact("specialist_{k}_export", "models/specialist_{k}.txt", M3, (M3,)),
    Artifact("specialists_export", "models/specialists.json", M3, (M3,)),
    Artifact("version_{k}", "models/versions/specialist_{k}.txt", M3, (M3,)),
    Artifact("sentiment_model", "models/sentiment_model.pkl", M4B, ("people",)),
    Artifact("sentiment_encoder", "models/sentiment_encoder.onnx", M4B, (M4B,)),
    Artifact("sentiment_tokenizer", "models/sentiment_tokenizer.json", M4B, (M4B,)),
    Artifact("sentiment_export", "models/sentiment.json", M4B, (M4B,)),
    Artifact("whale_model", "models/whale_model.pkl", M4A, ("people",)),
    Artifact("whale_export", "models/whale.json", M4A, (M4A,)),
    Artifact("meta_fusion_model", "models/meta_fusion_model.pkl", M5, ("people",)),
    Artifact("meta_fusion_export", "models/meta_fusion.json", M5, (M5,)),
)
ARTIFACTS = {artifact.name: artifact for artifact in _ARTIFACTS}


def describe() -> str:
    """The catalog as a page for people: ``python -m modules.core.catalog > docs/TABLES.md``."""
    lines = [
        "# Tables and model files",
        "",
        "Made from the catalog by `python -m modules.core.catalog`; a test holds this page to it. All CSV: comma, UTF-8, one",
        "header line, plain decimal numbers, the newest row last. `timestamp` is a candle's open time in Unix ms UTC; tables",
        "that people read carry `datetime_ist` beside it. A live table keeps its newest rows, older ones lie in",
        "`processed/archive/<table>/` by day, and its `status` is `ok`, `off`, or `fallback: why`.",
    ]
    for table in TABLES.values():
        kept = f" Live: the newest {table.keep:,} rows stay." if table.keep else ""
        more = " Then one column for each selected feature." if table.more else ""
        readers = ", ".join(table.readers)
        lines += ["", f"## `{table.path}`", "", f"Written by {table.writer}, read by {readers}.{kept}{more}", ""]
        lines += ["| column | what |", "|---|---|"]
        for column in table.columns:
            bounds = [f"{word} {bound:g}" for word, bound in (("from", column.low), ("to", column.high)) if bound is not None]
            words = [", ".join(column.choices)] if column.choices else []
            what = "; ".join(part for part in (column.unit, *words, " ".join(bounds)) if part)
            lines.append(f"| `{column.name}` | {what or column.kind}{'; may be empty' if column.empty else ''} |")
    lines += ["", "## Model files", "", "| file | written by | read by |", "|---|---|---|"]
    lines += [f"| `{a.path}` | {a.writer} | {', '.join(a.readers)} |" for a in ARTIFACTS.values()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(describe(), end="")
