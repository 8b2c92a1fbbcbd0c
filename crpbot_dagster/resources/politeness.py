"""How every source is asked: how often, what its answers mean, when to ask again, and which hosts are asked at all.

One request goes out when the source's pause is over and its budget has a place (``hosts.py``, shared by all
processes). 429 and 5xx, timeouts and cut bodies are asked again, with jitter, inside a total time; a ban stops the
host; what does not change by asking (401, 403, 404, 451) is final. Requests-based vendor clients get all of it by the
adapter (``adapters.py``), others by ``turn``.
Not here: the clients themselves (``tardis.py``, ``exchanges.py``, ``web_apis.py``, ``crypto_lake.py``).
"""

import ipaddress
import re
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import dagster as dg
import tenacity
from pydantic import PrivateAttr

from crpbot_dagster.resources.hosts import MEMORY, Host

FINAL_STATES = {401: "not_licensed", 403: "not_licensed", 404: "missing", 451: "not_licensed"}
"""Answers that asking again does not change, and what they say of the day."""

NOT_SERVED = (
    "the sandbox market is not being served: start Dagster with `crpbot dev`, or run `crpbot sandbox serve` and set "
    "CRPBOT_SANDBOX_URL to the address it prints"
)

TOO_MANY = 429
BANNED = 418  # what exchanges answer to an address that went on after 429
BAN_S = 900.0
AGAIN = frozenset({408, TOO_MANY, 500, 502, 503, 504})
PATIENCE_S = 60.0  # a request that waits longer for its turn gives its worker back
IDLE_S = 30.0  # without a byte
ATTEMPT_S = 50.0  # from first to last byte; SLOW of them free the worker within two minutes
SLOW = 2
LONGEST_PAUSE_S = 60.0  # between two attempts, unless the source names a longer one

_OPENING = threading.Lock()
_SECRET = re.compile(r"key|token|secret|sign|auth|pass|cred", re.IGNORECASE)


class SourceError(RuntimeError):
    """A source cannot be asked, or did not answer in time; the message says what to do."""


class NoAnswer(SourceError):
    """One attempt failed in a way that the next may not."""

    def __init__(self, said: str, *, is_slow: bool = False, names_pause: bool = False) -> None:
        super().__init__(said)
        self.is_slow, self.names_pause = is_slow, names_pause


class Reply(Protocol):
    """What httpx and requests have in common."""

    @property
    def status_code(self) -> int:
        """The answer's status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names in any case."""


R = TypeVar("R", bound=Reply)
T = TypeVar("T")


@dataclass(frozen=True)
class Clock:
    """The time that pauses are measured in."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


CLOCK = Clock()  # a test puts its own here and waits for nothing


class Politeness(dg.Config):
    """The rules for every source, held by each client's resource.

    ``state`` is the file that processes share; without one a budget is this resource's alone. A source that is in
    none of ``per_second`` and ``per_day`` has no budget: the local market. ``keyless`` ask nobody for a key, so that a
    403 of theirs is a ban and no question of licence.
    """

    state: str = MEMORY
    per_second: dict[str, float] = {}  # noqa: RUF012 - pydantic copies it
    per_day: dict[str, int] = {}  # noqa: RUF012
    keyless: list[str] = []  # noqa: RUF012
    _hosts: dict[str, Host] = PrivateAttr(default_factory=dict)

    def turn(self, source: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until ``source`` may be asked once more, and take the place.

        Raises
        ------
        SourceError
            That is further away than ``patience_s``: a ban, a spent quota, a breaker; the message names the moment.
        """
        with self._kept(source) as host, host.queue:
            until = CLOCK.now() + patience_s
            for take in (host.paused, host.probe, host.turn):
                while (place := take(CLOCK.now)).seconds > 0:
                    moment = CLOCK.now() + place.seconds
                    if moment > until:
                        raise SourceError(f"{source}: {place.why}; the next request may go out at {_at(moment)}")
                    CLOCK.sleep(place.seconds)

    def ask(self, source: str, timeout_s: float, attempt: Callable[[float], R]) -> R:
        """Return what ``attempt`` got, asked again as long as that may help, within ``timeout_s`` in all.

        ``attempt`` makes one request within the seconds it is given and raises ``NoAnswer`` when none came.

        Raises
        ------
        SourceError
            No answer inside the total time, a ban, or a turn that is too far away.
        """
        started = CLOCK.now()
        deadline = started + timeout_s
        attempts = slow = 0

        def once() -> R:
            nonlocal attempts, slow
            self.turn(source, PATIENCE_S if not attempts else deadline - CLOCK.now())
            attempts += 1
            try:
                reply = attempt(max(min(ATTEMPT_S, deadline - CLOCK.now()), 0.001))
            except NoAnswer as error:
                slow += error.is_slow
                with self._kept(source) as host:
                    host.failed(str(error))
                raise
            self.heard(source, reply.status_code, reply.headers)
            return reply

        retrying = tenacity.Retrying(
            sleep=CLOCK.sleep,
            wait=_pause,
            stop=lambda state: slow >= SLOW or CLOCK.now() + state.upcoming_sleep >= deadline,
            retry=tenacity.retry_if_exception_type(NoAnswer),
            reraise=True,
        )
        try:
            return retrying(once)
        except NoAnswer as error:
            times = "once" if attempts == 1 else f"{attempts} times"
            # No cause: it may hold the request, with its key.
            raise SourceError(f"{error}; asked {times} in {CLOCK.now() - started:.0f} s") from None

    def heard(self, source: str, status: int, headers: Mapping[str, str]) -> None:
        """Note what an answer says about the host.

        Raises
        ------
        NoAnswer
            It is worth asking again.
        SourceError
            The host has banned this address.
        """
        now = CLOCK.now()
        asked = retry_after(headers, now)
        with self._kept(source) as host:
            if status == BANNED or (status == 403 and (source in self.keyless or asked is not None)):
                host.pause(now + max(asked or 0.0, BAN_S), f"it answered {status}, a ban")
                raise SourceError(
                    f"{source} answered {status} and has banned this address: it is left alone for "
                    f"{max(asked or 0.0, BAN_S) / 60:.0f} minutes. Other programs on this machine may be asking it too"
                )
            if asked is not None and status in AGAIN:
                host.pause(now + asked, f"it answered {status} and asked for a pause")
            if status >= 500:
                host.failed(f"{source} answered {status}")
            else:
                host.answered()
        if status in AGAIN:
            raise NoAnswer(f"{source} answered {status}", names_pause=asked is not None)

    def adapter(self, source: str, endpoint: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> Any:
        """Return an adapter that a requests session mounts, so that its client asks by these rules.

        ``timeout_s`` is one request's total time with its repeats; ``headers`` go out with each request: the place
        for a key that must not be part of an address.
        """
        from crpbot_dagster.resources.adapters import PoliteAdapter  # requests is not loaded with the definitions

        return PoliteAdapter(self, source, endpoint, timeout_s, headers)

    @contextmanager
    def _kept(self, source: str) -> Iterator[Host]:
        try:
            with _OPENING:  # threads that ask together first must stand in one queue
                if source not in self._hosts:
                    budget = self.per_second.get(source), self.per_day.get(source)
                    self._hosts[source] = Host(self.state, source, *budget)
            yield self._hosts[source]
        except sqlite3.Error as error:
            raise SourceError(f"{source} is not asked: its budget in {self.state} cannot be kept: {error}") from error


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, NoAnswer) and error.names_pause:
        return 0.0  # the turn waits for it, in every process
    return float(tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_S)(state))


def _at(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, in seconds or as an HTTP date; None when it says nothing."""
    said = next((v.strip() for n, v in headers.items() if n.lower() == "retry-after"), "")
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now, 0.0)


def final(source: str, status: int, url: str) -> str:
    """Return what a final answer says, and what can be done about it."""
    said = f"{source} answered {status} to {redacted(url)}"
    if status in (401, 403):
        return f"{said}: set its key (.env.example lists the keys), or a plan that covers this"
    if status == 451:
        return f"{said}: it may not be served where this machine is; choose another source in CRPBOT_PRIMARY"
    return f"{said}: the source has no such symbol or day"


# --- time, hosts, secrets ----------------------------------------------------------------------------------------


def refuse_strangers(url: str, endpoint: str) -> None:
    """Refuse an address that is not the source's own, and a name that leads into a private network.

    Raises
    ------
    SourceError
        A redirect to another host, port or scheme; or the endpoint's name resolves to an address of this network.
        An endpoint that is written as such an address, or as localhost, is the user's own choice.
    """
    asked, own = urlsplit(url), urlsplit(endpoint)
    if _origin(asked) != _origin(own):
        raise SourceError(
            f"{own.hostname} leads to {asked.scheme}://{asked.hostname or ''}, which is not its own address: refused. "
            "If the vendor has moved, name the new address in CRPBOT_SOURCE_URLS"
        )
    host = own.hostname or ""
    if host == "localhost" or _is_address(host):
        return
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, own.port or own.scheme)}
    except socket.gaierror:
        return  # nothing to connect to from here; behind a proxy, the proxy knows the name
    if private := sorted(a for a in found if not ipaddress.ip_address(a.partition("%")[0]).is_global):
        raise SourceError(
            f"{host} resolves to {', '.join(private)}, inside this network: refused. If that is meant, name the "
            "address itself in CRPBOT_SOURCE_URLS"
        )


def _origin(parts: Any) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_tls(error: BaseException | None) -> bool:
    """Say whether a certificate or its protocol is behind an error of a client: asking again will not mend it."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def redacted(url: str) -> str:
    """Return an address without what is secret in it: credentials before the host, keys among the parameters."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [(n, "***" if _SECRET.search(n) else v) for n, v in parse_qsl(parts.query, keep_blank_values=True)]
    return urlunsplit(parts._replace(netloc=host, query=urlencode(query, safe="*:,/")))


def without(text: str, *secrets: str) -> str:
    """Return a text that others wrote, such as an error's body, without the secrets it may repeat."""
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text
