"""CoinGecko through its client pycoingecko, which is mended where it leaks or gives up.

The client puts its key into the address, from where it comes into every error and log line; here the key is a header.
The client repeats no refused request, and over plain HTTP nothing at all; here the rules of every source hold
(``politeness.py``), mounted as its session's adapter. A redirect is refused: it would carry the key to another host.
Not here: what the answers mean (``assets/raw/coingecko.py``).
Vendor's page: https://docs.coingecko.com/reference/authentication
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from crpbot_dagster.resources.politeness import FINAL_STATES, NOT_SERVED, Politeness, SourceError

KEY_HEADER = "x-cg-demo-api-key"
TOO_OLD = b"10012"  # the vendor's code for a day that the plan does not reach, with or without a key
REQUEST_S = 60.0  # one request; the run's own timeout is longer


@dataclass(frozen=True)
class Reply:
    """What CoinGecko sent, decoded by its client; ``state`` is complete, or why there is no document."""

    state: str
    document: Any
    url: str  # without the key


class CoinGecko(dg.ConfigurableResource):
    """CoinGecko at ``endpoint`` (``None``: the local market is not served); the demo key only widens the limits."""

    endpoint: str | None
    api_key: str = ""
    timeout_s: float
    politeness: Politeness = Politeness()

    def client(self) -> Any:
        """Return a pycoingecko client that asks ``endpoint``."""
        import pycoingecko

        if self.endpoint is None:
            raise SourceError(f"coingecko: {NOT_SERVED}")
        client = pycoingecko.CoinGeckoAPI()
        client.api_base_url = self.endpoint
        client.request_timeout = min(self.timeout_s, REQUEST_S)
        headers = {KEY_HEADER: self.api_key} if self.api_key else None
        adapter = self.politeness.adapter("coingecko", self.endpoint, self.timeout_s, headers)
        for scheme in ("https://", "http://"):
            client.session.mount(scheme, adapter)
        client.session.max_redirects = 0
        return client

    def market_chart(self, coin: str, first_s: int, last_s: int) -> Reply:
        """Return price, capitalisation and volume of a coin in dollars between two moments, both included."""
        path = f"coins/{coin}/market_chart/range?from={first_s}&to={last_s}"
        return self._ask(path, lambda c: c.get_coin_market_chart_range_by_id(coin, "usd", first_s, last_s))

    def coin(self, coin: str) -> Reply:
        """Return a coin as it is now: rank, supply, community, developers."""
        without = dict.fromkeys(("localization", "tickers", "sparkline"), "false")
        return self._ask(f"coins/{coin}", lambda c: c.get_coin_by_id(coin, **without))

    def history(self, coin: str, date_dmy: str) -> Reply:
        """Return a coin as the vendor recorded it at 00:00 UTC of a date, ``dd-mm-yyyy``."""
        path = f"coins/{coin}/history?date={date_dmy}"
        return self._ask(path, lambda c: c.get_coin_history_by_id(coin, date_dmy, localization="false"))

    def whole_market(self) -> Reply:
        """Return the whole market as it is now."""
        return self._ask("global", lambda c: c.get_global())

    def _ask(self, path: str, call: Callable[[Any], Any]) -> Reply:
        import requests

        client, url = self.client(), f"{self.endpoint}{path}"
        try:
            return Reply("complete", call(client), url)
        except requests.RequestException as error:
            response, why = error.response, type(error).__name__
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # The client raises a ValueError of what the vendor said while it handles the HTTP error.
            cause = error.__context__
            response = cause.response if isinstance(cause, requests.HTTPError) else None
            why = "sent no sound JSON"
        # Judged out here, so that the client's own error, which names more than it should, is nobody's context.
        if response is None:
            raise SourceError(f"coingecko: {url}: {why}")
        status, is_too_old = response.status_code, TOO_OLD in response.content
        if status in (401, 403) and self.api_key and not is_too_old:
            raise SourceError(
                f"coingecko: {url}: answered {status} although CRPBOT_COINGECKO_API_KEY is set: the key is wrong or no "
                "demo key; unset it to go on without"
            )
        if status in FINAL_STATES:
            return Reply(FINAL_STATES[status], None, url)
        raise SourceError(f"coingecko: {url}: answered {status}")
