"""The politeness of vendor clients that are built on requests (pycoingecko, ccxt): an adapter for their session.

Not here: the rules (``politeness.py``). It is imported where a client is made, not with the definitions.
"""

from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from crpbot_dagster.resources.deadline import within
from crpbot_dagster.resources.politeness import (
    IDLE_S,
    NoAnswer,
    Politeness,
    SourceError,
    refuse_strangers,
)


class PoliteAdapter(HTTPAdapter):
    """Sends each request of a session by the rules; what it gives up on is ``SourceError``.

    ``headers`` are sent with each request and never logged. Mount it for https:// and http://, in place of the
    client's own repeats. Redirects pass it too, so they stay on the source's own host.
    """

    def __init__(
        self,
        politeness: Politeness,
        source: str,
        endpoint: str,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(max_retries=0)
        self._politeness, self._source, self._endpoint, self._timeout_s = politeness, source, endpoint, timeout_s
        self._headers = dict(headers or {})

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Return the answer to one request, read to its end."""
        refuse_strangers(str(request.url), self._endpoint)
        request.headers.update(self._headers)

        def whole(idle_s: float) -> requests.Response:
            answer = super(PoliteAdapter, self).send(request, True, idle_s, verify, cert, proxies)
            answer.content  # noqa: B018 - reads the body, and so finds it cut or slow here and not in the client
            return answer

        def attempt(seconds: float) -> requests.Response:
            try:
                return within(seconds, lambda: whole(min(seconds, IDLE_S)))
            except (TimeoutError, requests.Timeout):
                raise NoAnswer(f"{self._source} was too slow", is_slow=True) from None
            except requests.exceptions.SSLError:
                raise SourceError(
                    f"{self._source}: its certificate is not trusted, and there is no way around it. Check the clock "
                    "and the certificates of this machine"
                ) from None
            except (requests.ConnectionError, requests.exceptions.ContentDecodingError) as error:
                raise NoAnswer(f"{self._source} did not answer: {type(error).__name__}") from None
            except requests.exceptions.ChunkedEncodingError:
                raise NoAnswer(f"{self._source} broke its answer off") from None

        return self._politeness.ask(self._source, self._timeout_s, attempt)
