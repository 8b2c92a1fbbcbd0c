"""Deribit through ccxt, without a key: settled funding, the volatility index, option trades, the book summary.

Not here: what the records mean (``assets/raw/funding.py``, ``assets/raw/deribit.py``).
Vendor's page: https://docs.deribit.com
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

from crpbot_dagster.resources.exchanges import Exchange, answering, fresh, midnight, records_in
from crpbot_dagster.resources.politeness import SourceError

TRADES_A_PAGE = 1000
UNKNOWN = ("not_found", "invalid currency", "instrument_name", "invalid_currency")
DAY_MS = 86_400_000


class Deribit(Exchange):
    """Deribit's public interface."""

    def client(self) -> Any:
        """Return a ccxt client that asks ``endpoint``."""
        return self.configured("deribit", {"rest": ""})

    def funding(self, name: str, day: date) -> list[Any]:
        """Return the settled hours stamped on ``day``, as Deribit sends them.

        Raises
        ------
        FinalAnswer
            There is no such instrument, or not for us.
        SourceError
            Deribit refuses, or does not answer.
        """
        start = midnight(day) * 1000
        # Both ends are inclusive, and a stamp on the first one has been left out: ask from one earlier.
        span = {"start_timestamp": start - 1, "end_timestamp": start + DAY_MS - 1}
        with answering(f"Deribit's funding of {name} on {day}", UNKNOWN):
            answer = self.client().publicGetGetFundingRateHistory({"instrument_name": name} | span)
        return [r for r in records_in(answer, "result") if start <= (_stamp(r) or start) < start + DAY_MS]

    def dvol(self, currency: str, day: date) -> list[Any]:
        """Return the day's hourly candles of the volatility index: ``[start ms, open, high, low, close]`` each.

        Raises
        ------
        FinalAnswer, SourceError
            As ``funding``.
        """
        start = midnight(day) * 1000
        span = {"start_timestamp": start, "end_timestamp": start + DAY_MS - 1, "resolution": "3600"}
        with answering(f"Deribit's volatility index of {currency} on {day}", UNKNOWN):
            answer = self.client().publicGetGetVolatilityIndexData({"currency": currency} | span)
        return records_in(answer, "result", "data")

    def option_trades(self, currency: str, day: date) -> Iterator[list[Any]]:
        """Yield the day's option trades page by page, oldest first, each record as Deribit sends it and once.

        Raises
        ------
        FinalAnswer, SourceError
            As ``funding``; also when one millisecond holds more trades than a page.
        """
        client, deadline = self.client(), self.deadline()
        start = cursor = midnight(day) * 1000
        before: list[Any] = []
        while True:
            span = {"start_timestamp": cursor, "end_timestamp": start + DAY_MS - 1}
            kind = {"currency": currency, "kind": "option", "count": TRADES_A_PAGE, "sorting": "asc"}
            with answering(f"Deribit's option trades of {currency} on {day}", UNKNOWN, deadline):
                answer = client.publicGetGetLastTradesByCurrencyAndTime(kind | span)
            page = records_in(answer, "result", "trades")
            yield fresh(page, before)
            stamps = [s for r in page if (s := _stamp(r)) is not None]
            if not stamps or not answer["result"].get("has_more"):
                return
            if max(stamps) == cursor:
                raise SourceError(f"Deribit's {currency} options traded over {TRADES_A_PAGE} times at {cursor} ms")
            cursor, before = max(stamps), page

    def book_summary(self, currency: str) -> list[Any]:
        """Return what is quoted on each option of ``currency`` now.

        Raises
        ------
        FinalAnswer, SourceError
            As ``funding``.
        """
        with answering(f"Deribit's options of {currency}", UNKNOWN):
            answer = self.client().publicGetGetBookSummaryByCurrency({"currency": currency, "kind": "option"})
        return records_in(answer, "result")


def _stamp(record: Any) -> int | None:
    # What is no moment at all is for the parser to refuse.
    at = record.get("timestamp") if isinstance(record, dict) else None
    return at if isinstance(at, int) else None
