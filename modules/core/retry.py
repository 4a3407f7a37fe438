"""Trying again what may succeed a moment later."""

import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from modules.core.errors import SourceError

Result = TypeVar("Result")


class TryAgain(SourceError):
    """A fault of an outside source that may pass: a time-out, a server error, too many requests.

    Parameters
    ----------
    message : a plain sentence for the user, shown when the last attempt fails too
    retry_after_s : the seconds that the source asked us to wait, None where it did not say
    """

    def __init__(self, message: str, retry_after_s: float | None = None):
        self.retry_after_s = retry_after_s
        super().__init__(message)


def retried(
    call: Callable[[], Result],
    attempts: int = 3,
    base_delay_s: float = 0.5,
    sleep: Callable[[float], object] = time.sleep,
    retry_on: tuple[type[Exception], ...] = (TryAgain,),
    max_delay_s: float = 20.0,
) -> Result:
    """Call until it succeeds, at most ``attempts`` times, and return its result.

    The wait doubles from ``base_delay_s`` on; an error's ``retry_after_s`` lengthens it. Where a source asks for more
    than ``max_delay_s`` its error is raised at once: asking sooner would be rude, waiting would miss the next candle.

    Raises
    ------
    The last error; an error that is not in ``retry_on`` at once.
    """
    for attempt in count(1):
        try:
            return call()
        except retry_on as error:
            asked = getattr(error, "retry_after_s", None) or 0.0
            if attempt >= attempts or asked > max_delay_s:
                raise
            sleep(min(max(base_delay_s * 2 ** (attempt - 1), asked), max_delay_s))
    raise AssertionError("unreachable: the loop above returns or raises")
