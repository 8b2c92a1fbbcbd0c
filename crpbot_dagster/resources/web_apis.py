"""The web sources that have no client of their own, asked with httpx.

Not here: what the answers mean (``assets/raw/``), how often a source may be asked (``politeness.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import httpx

from crpbot_dagster.resources.politeness import FINAL_STATES, NOT_SERVED, SourceError
from crpbot_dagster.resources.refusals import meant_status


@dataclass(frozen=True)
class Answer:
    """What a source sent: ``state`` is complete, or why there is no body worth reading."""

    state: str
    body: bytes
    url: str  # without keys
    received: datetime


class WebApis(dg.ConfigurableResource):
    """The httpx sources by name; ``endpoints`` maps each to its base URL (absent: it is not served)."""

    endpoints: dict[str, str]
    cryptocompare_api_key: str = ""
    timeout_s: float

    def get(self, source: str, path: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """Ask ``source`` for ``path`` and return its answer.

        Raises
        ------
        SourceError
            The source is not served, refuses for another reason than licence or absence, or does not answer.
        """
        if source not in self.endpoints:
            raise SourceError(f"{source}: {NOT_SERVED}")
        try:
            with httpx.Client(timeout=self.timeout_s, headers=self._headers(source)) as client:
                answer = client.get(self.endpoints[source] + path, params=dict(params or {}))
        except httpx.HTTPError as error:
            raise SourceError(f"{source} did not answer: {type(error).__name__}") from error
        url = str(answer.request.url)
        status = answer.status_code
        if status == httpx.codes.OK:
            status = meant_status(source, answer.content)
        if status in FINAL_STATES:
            return Answer(FINAL_STATES[status], b"", url, datetime.now(UTC))
        if status != httpx.codes.OK:
            raise SourceError(f"{source} answered {status} to {url}")
        return Answer("complete", answer.content, url, datetime.now(UTC))

    def _headers(self, source: str) -> dict[str, str]:
        own = {"user-agent": "crpbot-dagster"}
        if source == "cryptocompare" and self.cryptocompare_api_key:
            own["authorization"] = f"Apikey {self.cryptocompare_api_key}"
        return own
