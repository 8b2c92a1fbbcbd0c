"""The web sources that have no client of their own, asked with httpx.

Not here: what the answers mean (``assets/raw/``), how often and how patiently a source is asked (``politeness.py``).
"""

import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import dagster as dg
import httpx

from crpbot_dagster.resources.deadline import within
from crpbot_dagster.resources.politeness import (
    FINAL_STATES,
    IDLE_S,
    NOT_SERVED,
    NoAnswer,
    Politeness,
    SourceError,
    final,
    is_tls,
    redacted,
    refuse_strangers,
)
from crpbot_dagster.resources.refusals import meant_status

REDIRECTS = 5
MAX_BODY = 64 * 2**20  # bytes, unpacked: the largest page of these sources has one hundredth of it


@dataclass(frozen=True)
class Answer:
    """What a source sent: ``state`` is complete, or why there is no body worth reading."""

    state: str
    body: bytes
    url: str  # without keys
    received: datetime
    why: str = ""  # of a state that is not complete: what was said, and what can be done


@dataclass(frozen=True)
class Reply:
    """One answer of a host, read to its end."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


class WebApis(dg.ConfigurableResource):
    """The httpx sources by name; ``endpoints`` maps each to its base URL (absent: it is not served)."""

    endpoints: dict[str, str]
    cryptocompare_api_key: str = ""
    timeout_s: float
    politeness: Politeness = Politeness()

    def get(self, source: str, path: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """Ask ``source`` for ``path`` and return its answer.

        Raises
        ------
        SourceError
            The source is not served, refuses for another reason than licence or absence, does not answer, or refuses
            the key it was shown.
        """
        if source not in self.endpoints:
            raise SourceError(f"{source}: {NOT_SERVED}")
        endpoint = self.endpoints[source]
        asked = str(httpx.URL(endpoint + path, params=dict(params or {})))
        reply = self.politeness.ask(
            source, self.timeout_s, lambda seconds: self._once(source, asked, endpoint, seconds)
        )
        url, received = redacted(asked), datetime.now(UTC)
        if reply.status_code in FINAL_STATES:
            why = final(source, reply.status_code, asked)
            if reply.status_code in (401, 403) and "authorization" in self._headers(source):
                raise SourceError(f"{why}. It was shown the key that is set: that one is wrong, or its plan too small")
            return Answer(FINAL_STATES[reply.status_code], b"", url, received, why)
        if reply.status_code != httpx.codes.OK:
            raise SourceError(f"{source} answered {reply.status_code} to {url}")
        return Answer("complete", reply.body, url, received)

    def _once(self, source: str, url: str, endpoint: str, seconds: float) -> Reply:
        # Closed at the end, whatever happens: that also ends the thread of a request whose time has passed.
        with httpx.Client(timeout=min(seconds, IDLE_S), headers=self._headers(source), verify=_trusted()) as client:
            try:
                reply = within(seconds, lambda: _followed(client, source, url, endpoint))
            except (TimeoutError, httpx.TimeoutException):
                raise NoAnswer(f"{source} was too slow", is_slow=True) from None
            except httpx.UnsupportedProtocol as error:
                raise SourceError(f"{source}: {redacted(url)} is no web address: {error}") from None
            except (httpx.TransportError, httpx.DecodingError) as error:
                if is_tls(error):
                    raise SourceError(
                        f"{source}: its certificate is not trusted, and there is no way around it. Check the clock and "
                        "the certificates of this machine"
                    ) from None
                raise NoAnswer(f"{source} did not answer: {type(error).__name__}") from None
        if reply.status_code != httpx.codes.OK:
            return reply
        # Some vendors refuse with 200 and say so in the body.
        return replace(reply, status_code=meant_status(source, reply.body))

    def _headers(self, source: str) -> dict[str, str]:
        own = {"user-agent": "crpbot-dagster"}
        if source == "cryptocompare" and self.cryptocompare_api_key:
            own["authorization"] = f"Apikey {self.cryptocompare_api_key}"
        return own


def _followed(client: httpx.Client, source: str, url: str, endpoint: str) -> Reply:
    for _ in range(REDIRECTS):
        refuse_strangers(url, endpoint)
        with client.stream("GET", url) as answer:
            if answer.next_request is None:
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > MAX_BODY:
                        raise SourceError(f"{source} sends more than {MAX_BODY >> 20} MiB for {redacted(url)}: refused")
                return Reply(answer.status_code, answer.headers, bytes(body))
            url = str(answer.next_request.url)
    raise SourceError(f"{source} redirects {redacted(url)} without end")


@functools.lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # reads the machine's certificates, which takes longer than a request
