"""One polite, bounded question to a web server: what every source of this room asks through."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from modules.core.errors import SourceError
from modules.core.retry import TryAgain, retried

MAX_ANSWER_BYTES = 16 << 20
"""A block's summary has about 1 MiB, its largest possible transaction less than 8."""

Parsed = TypeVar("Parsed")


class NotThere(SourceError):
    """The server has no such page (HTTP 404)."""


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
        from urllib.parse import urlsplit

        self.base_url, self.headers = base_url.rstrip("/"), headers or {}
        self.timeout_s, self.attempts, self.sleep, self.monotonic = timeout_s, attempts, sleep, monotonic
        self.budget_s = budget_s
        self.deadline = monotonic() + budget_s
        try:
            self.host = urlsplit(base_url).hostname or "the server"  # without any credentials that a URL may carry
        except ValueError:
            self.host = "the server"
        self._session: Any = None

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.monotonic() > self.deadline

    def ask(
        self, path: str, parse: Callable[[Any], Parsed], query: dict[str, Any] | None = None, plain: bool = False
    ) -> Parsed:
        """The parsed answer, asked for again where it may be better next time.

        Parameters
        ----------
        parse : JSON (or, where ``plain``, text) -> what is wanted; ValueError, TypeError, KeyError, IndexError and
            AttributeError mean that the answer has not the declared shape

        Raises
        ------
        SourceError
        """

        def once() -> Parsed:
            if self.spent:
                raise SourceError(f"{self.host} took longer than the {self.budget_s:g} s that a cycle has for it")
            body = self._fetch(path, query or {})
            try:
                return parse(body.decode() if plain else json.loads(body))
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
                raise TryAgain(
                    f"{self.host} answered in another shape than it declares for {path.split('?')[0][:60]}"
                ) from None

        return retried(once, self.attempts, sleep=self.sleep)

    def _fetch(self, path: str, query: dict[str, Any]) -> bytes:
        import requests  # here: it costs 0.1 s, which a replay need not pay
        from urllib3.exceptions import HTTPError, TimeoutError

        if self._session is None:
            self._session = requests.Session()
            self._session.trust_env = False  # no credentials out of a .netrc for whoever is asked
            # Even with redirects off, requests reads a redirect's whole body, however large, to say where it points.
            self._session.get_redirect_target = lambda _answer: None
        slow = TryAgain(f"{self.host} did not answer within {self.timeout_s:g} s")
        try:
            with self._session.get(
                self.base_url + path,
                params=query,
                headers=self.headers,
                timeout=self.timeout_s,
                stream=True,
                allow_redirects=False,
            ) as answer:
                body = bytearray()
                deadline = self.monotonic() + self.timeout_s
                while piece := answer.raw.read1(1 << 16, decode_content=True):
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SourceError(f"{self.host} answered with more than {MAX_ANSWER_BYTES >> 20} MiB")
                    if self.monotonic() > deadline:
                        raise slow
                length = answer.headers.get("Content-Length", "")
                if "Content-Encoding" not in answer.headers and length.isdecimal() and int(length) != len(body):
                    raise TryAgain(f"{self.host} broke off in the middle of its answer")
                status, retry_after = answer.status_code, answer.headers.get("Retry-After", "")
        except (requests.Timeout, TimeoutError):
            raise slow from None
        except requests.ConnectionError:
            raise TryAgain(f"no connection to {self.host}") from None
        except HTTPError:
            raise TryAgain(f"{self.host} broke off in the middle of its answer") from None
        except (requests.RequestException, UnicodeError):
            raise SourceError(
                f"{self.host} cannot be asked: check its address and key in [whale] and the environment"
            ) from None
        if status == 200:
            return bytes(body)
        if status == 404:
            raise NotThere(f"{self.host} has no such page (HTTP 404)")
        if status in (418, 429):
            wait = float(retry_after) if retry_after.isdecimal() else None
            raise TryAgain(f"{self.host} got too many requests (HTTP {status})", wait)
        if status >= 500:
            raise TryAgain(f"{self.host} has trouble of its own (HTTP {status})")
        raise SourceError(f"{self.host} refused the request (HTTP {status}): check the key and the address")
