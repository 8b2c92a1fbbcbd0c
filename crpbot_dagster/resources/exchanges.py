"""Exchanges through ccxt: Coinbase's candles.

Not here: which minutes must exist (``bars``). A candle that is not finished is never returned.
Vendor's page: https://docs.cdp.coinbase.com/advanced-trade/reference/getpublicmarketproductcandles
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from crpbot_dagster.resources.politeness import NOT_SERVED, SourceError

PAGE = 300  # candles a call; more are silently cut to this by the exchange


class CoinbaseCandles(dg.ConfigurableResource):
    """Coinbase's candles at ``endpoint`` (``None``: the local market is not served)."""

    endpoint: str | None
    timeout_s: float
    polite: bool  # keep to the exchange's rate limit; a server of our own on localhost has none

    def client(self) -> Any:
        """Return a ccxt client that asks ``endpoint``."""
        import ccxt  # a third of a second that only a fetch should pay

        if self.endpoint is None:
            raise SourceError(f"coinbase: {NOT_SERVED}")
        return ccxt.coinbase(
            {
                "urls": {"api": {"rest": self.endpoint}},
                "timeout": int(min(self.timeout_s, 60) * 1000),
                "enableRateLimit": self.polite,
                "options": {"maxRetriesOnFailure": 3, "maxRetriesOnFailureDelay": 1000},
            }
        )

    def fetch(self, name: str, day: date, interval_s: int) -> list[list[float]]:
        """Return the finished candles of one UTC day: ``[start ms, open, high, low, close, volume]`` each.

        ``interval_s`` is 60 or 86400. A product that Coinbase does not know gives an empty list.

        Raises
        ------
        SourceError
            The exchange refuses, or does not answer.
        """
        import ccxt

        client = self.client()
        client.set_markets([_market(name)])
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = min(start + timedelta(days=1), datetime.now(UTC) - timedelta(seconds=5))
        timeframe = {60: "1m", 86_400: "1d"}[interval_s]
        rows: dict[int, list[float]] = {}
        try:
            while start < end:
                stop = min(start + timedelta(seconds=PAGE * interval_s), end)
                page = client.fetch_ohlcv(
                    name.replace("-", "/"),
                    timeframe,
                    since=_ms(start),
                    limit=PAGE,
                    # Both ends are inclusive at Coinbase: ask for one second less.
                    params={"until": _ms(stop) - 1000},
                )
                for candle in page:
                    finished = candle[0] + interval_s * 1000 <= _ms(end)
                    if _ms(start) <= candle[0] < _ms(stop) and finished:
                        rows[int(candle[0])] = candle
                start = stop
        except ccxt.BadSymbol:
            return []
        except ccxt.NetworkError as error:
            raise SourceError(f"Coinbase at {self.endpoint} did not answer: {error}") from error
        except ccxt.ExchangeError as error:
            if "NOT_FOUND" in str(error):  # the exchange's own word for it, to which ccxt gives no class
                return []
            raise SourceError(f"Coinbase refused the candles of {name} on {day}: {error}") from error
        return [rows[t] for t in sorted(rows)]


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _market(name: str) -> dict[str, object]:
    # The three facts ccxt needs to name a product; set by hand so that it does not list all products first.
    base, _, quote = name.partition("-")
    return {
        "id": name,
        "symbol": f"{base}/{quote}",
        "base": base,
        "quote": quote,
        "baseId": base,
        "quoteId": quote,
        "type": "spot",
        "spot": True,
        "active": True,
        "precision": {"price": 1e-8, "amount": 1e-8},
        "limits": {},
    }
