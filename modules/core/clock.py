"""The one place where the pipeline asks what time it is, so that a replay and a test can answer instead."""

import time


def now_ms() -> int:
    """Unix ms UTC."""
    return time.time_ns() // 1_000_000


def sleep(seconds: float) -> None:
    time.sleep(seconds)
