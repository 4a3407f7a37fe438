"""Settings: ``config.toml`` at the repository's root holds every default; a file of the user's may override some."""

import difflib
import math
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from modules.core.errors import SettingsError

DEFAULTS = Path(__file__).parents[2] / "config.toml"


def bounded(low: float | None = None, high: float | None = None, choices: tuple[str, ...] = (), default: Any = MISSING) -> Any:
    """A setting with its allowed range (inclusive) or its allowed words; ``default`` where code leaves it out."""
    return field(default=default, metadata={"low": low, "high": high, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Data:
    rows: int = bounded(4_000)
    chunk_rows: int = bounded(500)
    select: int = bounded(1)
    max_correlation: float = bounded(0, 1)
    max_missing: float = bounded(0, 1)
    max_gap_minutes: int = bounded(0)
    out_of_sample: float = bounded(0.05, 0.5)
    drift_mse: float = bounded(0)
    own_features: str


@dataclass(frozen=True, kw_only=True)
class Exchange:
    base_url: str
    symbol: str
    timeout_s: float = bounded(0.1, 60)
    attempts: int = bounded(1, 10)
    depth_bps: float = bounded(0.1, 1_000)


@dataclass(frozen=True, kw_only=True)
class Labels:
    move_points: float = bounded(0)
    move_bps: float = bounded(0)
    horizon: int = bounded(1, 240)


@dataclass(frozen=True, kw_only=True)
class Sessions:
    asia: int = bounded(0, 0)
    london: int = bounded(0, 23)
    ny: int = bounded(0, 23)
    off: int = bounded(0, 23)

    @property
    def starts(self) -> tuple[int, int, int, int]:
        return self.asia, self.london, self.ny, self.off


@dataclass(frozen=True, kw_only=True)
class Regime:
    components: int = bounded(8, 30)
    memory: int = bounded(46, 1_000)  # module 2 looks back 45 minutes besides
    whale_bearish: float = bounded(0, 1)
    whale_alert: float = bounded(0, 1)
    bullish_sentiment: float = bounded(0, 1)
    strong_trajectory: float = bounded(0, 1)
    volatile_sentiment: float = bounded(0, 1)
    volatile_above: float = bounded(0, 1)


@dataclass(frozen=True, kw_only=True)
class Warning:
    asia: float = bounded(0, 1)
    london: float = bounded(0, 1)
    ny: float = bounded(0, 1)
    off: float = bounded(0, 1)
    excited: float = bounded(0, 1)
    excited_atr_ratio: float = bounded(0)
    direction_margin: float = bounded(0, 1)


@dataclass(frozen=True, kw_only=True)
class Learning:
    folds: int = bounded(4, 50)
    embargo: int = bounded(0)
    rounds: int = bounded(1, 10_000)
    min_regime_rows: int = bounded(100)
    threads: int = bounded(1, 64)
    seed: int = bounded(0)


@dataclass(frozen=True, kw_only=True)
class Specialist:
    min_confidence: float = bounded(0, 1)


@dataclass(frozen=True, kw_only=True)
class Whale:
    source: str = bounded(choices=("off", "mempool", "glassnode", "whale_alert", "file"))
    mempool_url: str
    glassnode_url: str
    whale_alert_url: str
    file: str
    min_btc: float = bounded(0)
    backfill_blocks: int = bounded(1, 144)
    timeout_s: float = bounded(0.1, 60)
    attempts: int = bounded(1, 10)
    budget_s: float = bounded(0.1, 300)
    detector: str = bounded(choices=("cblof", "iforest", "knn"))
    samples: int = bounded(200, 1_000_000)
    alert_share: float = bounded(0.001, 0.5)
    half_life: float = bounded(1, 1_440)


@dataclass(frozen=True, kw_only=True)
class Fusion:
    rule: str = bounded(choices=("fused", "strict"))
    min_confidence: float = bounded(0, 1)
    atr_weight: float = bounded(0, 1)
    sentiment_weight: float = bounded(0, 1)
    whale_weight: float = bounded(0, 1)
    trajectory_weight: float = bounded(0, 1)
    min_depth_btc: float = bounded(0)
    max_sentiment_volatility: float = bounded(0, 1)
    stop_atr: float = bounded(0.1)
    target_atr: float = bounded(0.1)


@dataclass(frozen=True, kw_only=True)
class Size:
    asia: float = bounded(0, 1)
    london: float = bounded(0, 1)
    ny: float = bounded(0, 1)
    off: float = bounded(0, 1)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What stands between an order and its money. Whatever is left out is off."""

    fee: float = bounded(0, 0.1)
    slippage: float = bounded(0, 0.1)
    maker_fee: float = bounded(-1, 0.1, default=-1.0)
    impact: float = bounded(0, 0.1, default=0.0)
    volume_share: float = bounded(0, 1, default=0.0)
    latency: int = bounded(0, 60, default=0)
    funding: str = bounded(choices=("off", "shorts", "both"), default="off")
    funding_rate: float = bounded(-0.01, 0.01, default=0.0)

    @property
    def resting_fee(self) -> float:
        """Share of the notional that a resting limit order pays."""
        return self.fee if self.maker_fee < 0 else self.maker_fee

    @property
    def round_trip(self) -> float:
        """Share of the notional that one entry and one exit at the market cost together, before impact and funding."""
        return 2 * (self.fee + self.slippage)


@dataclass(frozen=True, kw_only=True)
class Executor:
    mode: str = bounded(choices=("paper",))
    capital: float = bounded(1)
    against: str = bounded(choices=("ignore", "reverse"))

    @property
    def reverses(self) -> bool:
        return self.against == "reverse"


@dataclass(frozen=True, kw_only=True)
class WalkForward:
    train_days: int = bounded(4)
    test_days: int = bounded(1)


@dataclass(frozen=True, kw_only=True)
class Sentiment:
    feeds: list
    x_query: str
    x_url: str
    file: str
    encoder: str
    tuning: str = bounded(choices=("fine-tuned", "frozen"))
    window: int = bounded(15, 60)
    half_life: float = bounded(1, 240)
    max_age: int = bounded(1, 1_440)
    folds: int = bounded(1, 10)
    epochs: int = bounded(1, 50)
    timeout_s: float = bounded(0.1, 60)
    attempts: int = bounded(1, 10)

    @property
    def configured(self) -> bool:
        """Whether there is any source of posts."""
        return bool(self.feeds or self.x_query or self.file)


@dataclass(frozen=True, kw_only=True)
class Settings:
    data: Data
    exchange: Exchange
    labels: Labels
    sessions: Sessions
    regime: Regime
    warning: Warning
    learning: Learning
    specialist: Specialist
    whale: Whale
    fusion: Fusion
    size: Size
    costs: Costs
    executor: Executor
    walk_forward: WalkForward
    sentiment: Sentiment


_SECTIONS: dict[str, Any] = {part.name: part.type for part in fields(Settings)}


def load_settings(path: Path | None = None, overrides: dict[str, dict[str, Any]] | None = None) -> Settings:
    """The defaults, overlaid by the user's file and by ``overrides`` (section -> setting -> value).

    ``[data] own_features`` becomes a whole path: it is relative to the file of settings.

    Raises
    ------
    SettingsError : naming every fault at once
    """
    known = {section: {item.name: item for item in fields(kind)} for section, kind in _SECTIONS.items()}
    given: dict[str, dict[str, Any]] = {section: {} for section in known}
    origin = path or DEFAULTS
    faults: list[str] = []
    for layer in (_parse(DEFAULTS), _parse(path) if path else {}, overrides or {}):
        for section, values in layer.items():
            if section not in known or not isinstance(values, dict):
                faults.append(f"[{section}] is no section{_nearest(section, known)}")
                continue
            for key, value in values.items():
                if key not in known[section]:
                    faults.append(f"[{section}] {key} is no setting{_nearest(key, known[section])}")
                else:
                    given[section][key] = value
    sections: dict[str, Any] = {}
    for section, kind in _SECTIONS.items():
        values = given[section]
        for name, item in known[section].items():
            if name not in values:
                faults.append(f"[{section}] {name} is missing from {DEFAULTS.name}")
                continue
            fault = _fault(values[name], item.type, item.metadata)
            if fault:
                faults.append(f"[{section}] {name} = {values[name]!r} {fault}")
            elif item.type is float:
                values[name] = float(values[name])
        if not faults:
            sections[section] = kind(**values)
    if not faults:
        starts = sections["sessions"].starts
        if list(starts) != sorted(set(starts)):
            faults.append(f"[sessions] must begin in the order asia, london, ny, off; they begin at {starts}")
        if not sections["labels"].move_points and not sections["labels"].move_bps:
            faults.append("[labels] move_points or move_bps must be above 0")
        if sections["data"].chunk_rows > sections["data"].rows:
            faults.append("[data] chunk_rows must not be above rows")
    if faults:
        raise SettingsError("\n".join([f"{origin}: {len(faults)} fault(s)", *(f"  - {fault}" for fault in faults)]))
    if sections["data"].own_features:  # names a file beside the settings, wherever the workspace lies
        own = str((origin.parent / sections["data"].own_features).resolve())
        sections["data"] = replace(sections["data"], own_features=own)
    return Settings(**sections)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); give a file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from error


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _fault(value: Any, kind: Any, rule: Any) -> str:
    if kind is list:
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if texts else 'must be a list of texts, such as ["one", "two"]'
    accepted = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        return f"must be {'a number' if kind is float else 'a whole number' if kind is int else 'text'}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    low, high, choices = rule.get("low"), rule.get("high"), rule.get("choices")
    if low is not None and value < low:
        return f"must be at least {low}"
    if high is not None and value > high:
        return f"must be at most {high}"
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}"
    return ""
