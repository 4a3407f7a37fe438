"""The one place where the pipeline asks what time it is, so that a replay and a test can answer instead."""

import time

from modules.core.words import MINUTE_MS


def now_ms() -> int:
    """Unix ms UTC."""
    return time.time_ns() // 1_000_000


def newest_closed_ms() -> int:
    """The open time of the newest one-minute candle that has closed, Unix ms UTC."""
    return now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS


def sleep(seconds: float) -> None:
    time.sleep(seconds)
