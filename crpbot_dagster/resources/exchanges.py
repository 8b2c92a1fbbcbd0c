"""Exchanges through ccxt: what all of them share, and Coinbase's candles and trades.

ccxt names the addresses, keeps to the rate limit and tells errors apart; the records are the exchange's own, so that
no digit and no meaning is lost on the way. A candle that is not finished is never returned. Not here: Kraken
(``kraken.py``), Deribit (``deribit.py``), what the records mean (``assets/raw``), which minutes must exist (``bars``).
Vendor's pages: https://docs.cdp.coinbase.com/advanced-trade/reference/getpublicmarketproductcandles,
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from crpbot_dagster.resources.politeness import NOT_SERVED, Politeness, SourceError

PAGE = 300  # candles a call; more are silently cut to this by the exchange
TRADES_A_PAGE = 1000
MEETINGS = 3  # how often a page that does not meet the one before is asked for


class FinalAnswer(LookupError):
    """The exchange has none of it, or not for us: asking again changes nothing. ``state`` is the day's."""

    def __init__(self, state: str, why: str) -> None:
        super().__init__(why)
        self.state = state


class Exchange(dg.ConfigurableResource):
    """An exchange at ``endpoint`` (``None``: the local market is not served)."""

    endpoint: str | None
    timeout_s: float
    polite: bool  # keep to the exchange's rate limit; a server of our own on localhost has none
    politeness: Politeness = Politeness()

    def configured(self, exchange: str, addresses: Mapping[str, str]) -> Any:
        """Return the ccxt client ``exchange`` that asks ``addresses``, each a path under the endpoint."""
        import ccxt  # a third of a second that only a fetch should pay

        if self.endpoint is None:
            raise SourceError(f"{exchange}: {NOT_SERVED}")
        client = getattr(ccxt, exchange)(
            {
                "urls": {"api": {name: self.endpoint + path for name, path in addresses.items()}},
                "timeout": int(min(self.timeout_s, 60) * 1000),
                "enableRateLimit": self.polite,
            }
        )
        # Budget, pauses and repeats are those of every source, not ccxt's own.
        source = {"krakenfutures": "kraken_futures"}.get(exchange, exchange)
        adapter = self.politeness.adapter(source, self.endpoint, self.timeout_s)
        for scheme in ("https://", "http://"):
            client.session.mount(scheme, adapter)
        # ccxt takes these for a server that is down, and asks again.
        final = dict.fromkeys(("401", "403", "451"), ccxt.PermissionDenied) | {"404": ccxt.ExchangeError}
        client.httpExceptions = client.httpExceptions | final
        return client

    def deadline(self) -> float:
        """Return the moment of the monotonic clock at which a fetch of many pages gives up."""
        return time.monotonic() + self.timeout_s


@contextmanager
def answering(what: str, unknown: tuple[str, ...], deadline: float | None = None) -> Iterator[None]:
    """Turn ccxt's errors into ours: ``what`` is asked, and ``unknown`` are the exchange's words for "no such product".

    Raises
    ------
    FinalAnswer
        There is no such product, or the exchange does not serve us.
    SourceError
        It refuses otherwise, does not answer, or the time is up; the message says what to do.
    """
    import ccxt

    if deadline is not None and time.monotonic() > deadline:
        raise SourceError(f"{what} did not end in time: raise CRPBOT_FETCH_TIMEOUT_S and run the partition again")
    try:
        yield
    except ccxt.BadSymbol as error:
        raise FinalAnswer("missing", f"{what}: there is no such product: {error}") from error
    except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:
        raise SourceError(
            f"{what}: too many calls, also of other programs here; run it again later: {error}"
        ) from error
    except ccxt.NetworkError as error:
        raise SourceError(f"{what}: the exchange did not answer; run the partition again: {error}") from error
    except ccxt.PermissionDenied as error:
        raise FinalAnswer("not_licensed", f"{what}: the exchange does not serve this address: {error}") from error
    except ccxt.BaseError as error:
        if any(word in str(error) for word in unknown):  # ccxt gives these no class of their own
            raise FinalAnswer("missing", f"{what}: there is no such product: {error}") from error
        raise SourceError(f"{what}: the exchange refused: {error}") from error


def records_in(answer: Any, *path: str) -> list[Any]:
    """Return the list at ``path`` of an answer.

    Raises
    ------
    SourceError
        There is none: the answer is no JSON, or another document.
    """
    found = answer
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise SourceError(
            f"the answer has no list {'.'.join(path)}; it begins {str(answer)[:80]!r}. Run it again later"
        )
    return found


def text_of(record: Any) -> str:
    """Return a record as text, by which two can be told apart."""
    return json.dumps(record, sort_keys=True)


def fresh(page: list[Any], before: list[Any]) -> list[Any]:
    """Return the records of a page that the one before did not hold: pages may overlap at their edges."""
    known = {text_of(r) for r in before}
    return [r for r in page if text_of(r) not in known]


def midnight(day: date) -> int:
    """Return the start of a UTC day in epoch seconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


class CoinbaseCandles(Exchange):
    """Coinbase's candles and trades."""

    def client(self) -> Any:
        """Return a ccxt client that asks ``endpoint``."""
        return self.configured("coinbase", {"rest": ""})

    def fetch(self, name: str, day: date, interval_s: int) -> list[list[float]]:
        """Return the finished candles of one UTC day: ``[start ms, open, high, low, close, volume]`` each.

        ``interval_s`` is 60 or 86400. A product that Coinbase does not know gives an empty list.

        Raises
        ------
        SourceError
            The exchange refuses, or does not answer.
        """
        client = self.client()
        client.set_markets([_market(name)])
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = min(start + timedelta(days=1), datetime.now(UTC) - timedelta(seconds=5))
        timeframe = {60: "1m", 86_400: "1d"}[interval_s]
        rows: dict[int, list[float]] = {}
        try:
            while start < end:
                stop = min(start + timedelta(seconds=PAGE * interval_s), end)
                with answering(f"Coinbase's candles of {name} on {day}", ("NOT_FOUND",)):
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
        except FinalAnswer as answer:
            if answer.state == "missing":
                return []
            raise SourceError(str(answer)) from answer
        return [rows[t] for t in sorted(rows)]

    def trades(self, name: str, day: date) -> Iterator[list[Any]]:
        """Yield the day's trades page by page, newest first, each record as Coinbase sends it and once.

        Times are asked in whole seconds, so the last second of a page is asked for again with the next: its trades
        must come again, or the pages do not meet.

        Raises
        ------
        FinalAnswer
            Coinbase has no such product, or not for us.
        SourceError
            It refuses, does not answer in time, or its pages do not meet.
        """
        client, deadline = self.client(), self.deadline()
        first, stop = midnight(day), midnight(day) + 86_400
        before: list[Any] = []
        edge, attempts = None, 0  # the oldest record so far, and how often a page came without it
        while True:
            with answering(f"Coinbase's trades of {name} on {day}", ("NOT_FOUND",), deadline):
                answer = client.v3PublicGetBrokerageMarketProductsProductIdTicker(
                    {"product_id": name, "start": str(first), "end": str(stop), "limit": TRADES_A_PAGE}
                )
            # A trade of the next midnight may come along; whose time cannot be read is for the parser to refuse.
            page = records_in(answer, "trades")
            own = [r for r in page if first <= (_second(r) or first) < first + 86_400]
            if edge is not None and edge not in own:
                attempts += 1
                if attempts == MEETINGS:
                    raise SourceError(f"Coinbase's pages of {name} on {day} do not meet at {edge}: run it again later")
                continue
            attempts = 0
            new = fresh(own, before)
            yield new
            seconds = [s for s in map(_second, page) if s is not None]
            # Not by a short page: a limit lower than asked for would end the day early and say nothing.
            if not new and len(page) >= TRADES_A_PAGE:
                raise SourceError(f"Coinbase's {name} traded {TRADES_A_PAGE} times or more in the second {stop - 1}")
            if not new or not seconds or min(seconds) < first:
                return
            stop, before = min(seconds) + 1, own
            edge = next(r for r in own if _second(r) == min(seconds))


def _second(record: Any) -> int | None:
    """Return the epoch second of a record's time, None when it cannot be read."""
    try:
        at = datetime.fromisoformat(record["time"])
    except (TypeError, KeyError, ValueError):
        return None
    return int(at.timestamp()) if at.tzinfo is not None and at.year > 1970 else None


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
