"""One polite, bounded question to a web server: what every source of this room asks through."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from modules.core import http
from modules.core.errors import SourceError
from modules.core.retry import TryAgain, retried

MAX_ANSWER_BYTES = 16 << 20
"""A block's summary has about 1 MiB, its largest possible transaction less than 8."""

Parsed = TypeVar("Parsed")


class Spent(SourceError):
    """The seconds that a cycle has for this server are over."""


class Web:
    """A JSON server.

    Parameters
    ----------
    base_url : scheme and host, with a path where the server lies below one
    headers : sent with every request; their values are secrets and appear in no error
    timeout_s : seconds until a request counts as unanswered
    attempts : tries a request, with growing waits in between; Retry-After is honoured
    budget_s : seconds for all requests of this object together
    sleep, monotonic : how to wait and to measure it, seams for tests
    """

    def __init__(
        self,
        base_url: str,
        headers: dict[str, str] | None = None,
        timeout_s: float = 5.0,
        attempts: int = 3,
        budget_s: float = 20.0,
        sleep: Callable[[float], object] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        self.base_url, self.headers = base_url.rstrip("/"), headers or {}
        self.timeout_s, self.attempts, self.sleep, self.monotonic = timeout_s, attempts, sleep, monotonic
        self.budget_s = budget_s
        self.deadline = monotonic() + budget_s
        self.host = http.host_of(base_url, "the server")

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.monotonic() > self.deadline

    def ask(self, path: str, parse: Callable[[Any], Parsed], query: dict[str, Any] | None = None, plain: bool = False) -> Parsed:
        """The parsed answer, asked for again where it may be better next time.

        Parameters
        ----------
        parse : JSON (or, where ``plain``, text) -> what is wanted; ValueError, TypeError, KeyError, IndexError and
            AttributeError mean that the answer has not the declared shape

        Raises
        ------
        Spent : there is no time left to ask
        SourceError
        """

        def once() -> Parsed:
            if self.spent:
                raise Spent(f"{self.host} took longer than the {self.budget_s:g} s that a cycle has for it")
            body = http.get(
                self.base_url + path,
                self.host,
                self.timeout_s,
                MAX_ANSWER_BYTES,
                query,
                self.headers,
                advice="check its address and key in [whale] and the environment",
            ).body
            try:
                return parse(body.decode() if plain else json.loads(body))
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
                raise TryAgain(f"{self.host} answered in another shape than it declares for {path.split('?')[0][:60]}") from None

        return retried(once, self.attempts, sleep=self.sleep)
