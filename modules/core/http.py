"""One polite, bounded request: what every source asks the world through."""

import math
import time
from collections.abc import Callable, Mapping
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
    monotonic: Callable[[], float] = time.monotonic,
) -> Answer:
    """One GET request of bounded size and time.

    Parameters
    ----------
    who : the server as errors name it; neither the URL nor a header appears in one
    timeout_s : seconds for the connection, for each silence, and for the whole body
    limit_bytes : size above which the answer is left unread
    good : statuses that are an answer
    redirects : how many are followed
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
    session: Any = requests.Session()
    session.trust_env = False  # neither a .netrc nor a proxy variable adds credentials to a request
    session.max_redirects = max(1, redirects)
    if not redirects:
        # Even with redirects off, requests reads a redirect's whole body, however large, to say where it points.
        session.get_redirect_target = lambda _answer: None
    try:
        deadline = monotonic() + timeout_s
        with (
            session,
            session.get(
                url, params=query, headers=headers, timeout=timeout_s, stream=True, allow_redirects=redirects > 0
            ) as answer,
        ):
            body = bytearray()
            # read1 returns what has arrived, so a server that sends a byte a second meets the deadline too.
            while piece := answer.raw.read1(1 << 16, decode_content=True):
                body += piece
                if len(body) > limit_bytes:
                    raise SourceError(f"{who} answered with more than {limit_bytes >> 20} MiB")
                if monotonic() > deadline:
                    raise slow
            length = answer.headers.get("Content-Length", "")
            if "Content-Encoding" not in answer.headers and length.isdecimal() and int(length) != len(body):
                raise TryAgain(f"{who} broke off in the middle of its answer")
            status, answered = answer.status_code, answer.headers
    except (requests.Timeout, TimeoutError):
        raise slow from None
    except requests.ConnectionError:
        raise TryAgain(f"no connection to {who}") from None
    except HTTPError:
        raise TryAgain(f"{who} broke off in the middle of its answer") from None
    except (requests.RequestException, ValueError):
        raise SourceError(f"{who} cannot be asked: {advice}") from None
    if status in good:
        return Answer(status, answered, bytes(body))
    raise _refusal(who, status, answered, told(bytes(body)))


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
    """Seconds that an answer asks us to wait: Retry-After, or X's own header, which names the time of the end."""
    after, until = headers.get("Retry-After", ""), headers.get("x-rate-limit-reset", "")
    if after.isdecimal():
        return float(after[:9])
    return max(0.0, math.ceil(float(until[:12]) - clock.now_ms() / 1e3)) if until.isdecimal() else None
