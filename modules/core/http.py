"""One polite, bounded request: what every source asks the world through."""

import math
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from modules.core import clock
from modules.core.errors import SourceError
from modules.core.retry import TryAgain


@dataclass(frozen=True)
class Answer:
    """A good answer; ``headers`` ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotThere(SourceError):
    """The server has no such page (HTTP 404)."""


def host_of(url: str, otherwise: str) -> str:
    """Who is asked, as an error may name it: without credentials, path or query, which may be secret."""
    from urllib.parse import urlsplit  # comes with requests anyway, and a replay asks nobody

    try:
        return urlsplit(url).hostname or otherwise
    except ValueError:
        return otherwise


def get(
    url: str,
    who: str,
    timeout_s: float,
    limit_bytes: int,
    query: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    good: tuple[int, ...] = (200,),
    redirects: int = 0,
    advice: str = "check its address in config.toml",
    told: Callable[[bytes], str] = lambda _body: "",
) -> Answer:
    """One GET request of bounded size and time.

    Parameters
    ----------
    who : the server as errors name it; neither the URL nor a header appears in one
    timeout_s : seconds for all of it: the connection, its encryption, every redirect, the headers and the whole body
    limit_bytes : size above which the answer is left unread
    good : statuses that are an answer
    redirects : how many are followed; what they say beside where they lead is left unread
    advice : what to do where the request itself cannot be made
    told : what a refusal's body says, to be added to the error

    Raises
    ------
    TryAgain : it may go better next time; ``retry_after_s`` where the server named a wait
    NotThere : status 404
    SourceError : anything else that is no good answer
    """
    # Imported here: it costs 0.1 s, and a replay asks nobody.
    import requests
    from urllib3.exceptions import HTTPError, TimeoutError

    slow = TryAgain(f"{who} did not answer within {timeout_s:g} s")
    with _bounded_session(timeout_s) as (session, late):
        try:
            for left in range(redirects, -1, -1):
                with session.get(
                    url, params=query, headers=headers, timeout=timeout_s, stream=True, allow_redirects=False
                ) as answer:
                    if redirects and answer.is_redirect:
                        if not left:
                            raise SourceError(f"{who} cannot be asked: {advice}")
                        # A new address brings its own query.
                        url, query = requests.compat.urljoin(url, answer.headers["Location"]), None
                        continue
                    body = bytearray()
                    while piece := answer.raw.read1(1 << 16, decode_content=True):
                        body += piece
                        if len(body) > limit_bytes:
                            raise SourceError(f"{who} answered with more than {limit_bytes >> 20} MiB")
                    break
            length = answer.headers.get("Content-Length", "")
            short = "Content-Encoding" not in answer.headers and length.isdecimal() and int(length) != len(body)
        except (requests.Timeout, TimeoutError):
            raise slow from None
        except requests.ConnectionError:
            raise slow if late.is_set() else TryAgain(f"no connection to {who}") from None
        except HTTPError:
            raise slow if late.is_set() else TryAgain(f"{who} broke off in the middle of its answer") from None
        except (requests.RequestException, ValueError):
            raise SourceError(f"{who} cannot be asked: {advice}") from None
        if late.is_set():
            raise slow
    if short:
        raise TryAgain(f"{who} broke off in the middle of its answer")
    if answer.status_code in good:
        return Answer(answer.status_code, answer.headers, bytes(body))
    raise _refusal(who, answer.status_code, answer.headers, told(bytes(body)))


@contextmanager
def _bounded_session(timeout_s: float) -> Iterator[tuple[Any, threading.Event]]:
    """A session whose lines are cut when the time is over, and whether it was.

    The libraries' time-outs are for each silence: a server that sends a byte a second, be it of a header or of the
    encryption's greeting, would hold a request for ever.
    """
    import requests

    lines: list[socket.socket] = []
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        for line in list(lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def watched(pool: Any) -> Any:
        class Connection(pool.ConnectionCls):
            def _new_conn(self) -> socket.socket:
                line: socket.socket = super()._new_conn()
                lines.append(line.dup())  # encryption takes the line itself over
                if late.is_set():
                    hang_up()
                return line

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    session: Any = requests.Session()
    session.trust_env = False  # neither a .netrc nor a proxy variable adds credentials to a request
    # Even with redirects off, requests reads a redirect's whole body, however large, to say where it points.
    session.get_redirect_target = lambda _answer: None
    for adapter in session.adapters.values():
        pools = adapter.poolmanager.pool_classes_by_scheme
        adapter.poolmanager.pool_classes_by_scheme = {scheme: watched(pool) for scheme, pool in pools.items()}
    clock = threading.Timer(timeout_s, hang_up)
    clock.daemon = True
    clock.start()
    try:
        with session:
            yield session, late
    finally:
        clock.cancel()
        for line in lines:
            line.close()


def _refusal(who: str, status: int, headers: Mapping[str, str], said: str) -> SourceError:
    """The error for an answer that is none; worth another attempt unless the request itself was at fault."""
    if status in (418, 429):
        wait = _wait_s(headers)
        asked = f", it asks to wait {wait:g} s" if wait else ""
        return TryAgain(f"{who} got too many requests (HTTP {status}{asked}){said}", wait)
    if status >= 500:
        return TryAgain(f"{who} has trouble of its own (HTTP {status}){said}")
    if status == 404:
        return NotThere(f"{who} has no such page (HTTP 404){said}")
    return SourceError(f"{who} refused the request (HTTP {status}){said}")


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks us to wait: Retry-After in seconds or as a date, or X's own header, a time too."""
    after, until = headers.get("Retry-After", ""), headers.get("x-rate-limit-reset", "")
    if after.isdecimal():
        return float(after[:9])
    end = float(until[:12]) if until.isdecimal() else _date_s(after)
    return None if end is None else max(0.0, math.ceil(end - clock.now_ms() / 1e3))


def _date_s(text: str) -> float | None:
    """An HTTP date in Unix seconds; None where it is none."""
    from email.utils import parsedate_to_datetime  # comes with requests anyway

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
