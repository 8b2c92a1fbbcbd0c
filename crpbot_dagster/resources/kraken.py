"""Kraken through ccxt: the spot exchange's trades, the futures exchange's settled funding.

Not here: what the records mean (``assets/raw/kraken.py``, ``assets/raw/funding.py``).
Vendor's pages: https://docs.kraken.com/api/docs/rest-api/get-recent-trades,
https://docs.kraken.com/api/docs/futures-api/trading/historical-funding-rates
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from crpbot_dagster.resources.exchanges import Exchange, answering, fresh, midnight, records_in
from crpbot_dagster.resources.politeness import SourceError

TRADES_A_PAGE = 1000
UNKNOWN_PAIR = ("Unknown asset pair", "Invalid asset pair")
UNKNOWN_CONTRACT = ("Argument invalid: symbol", "contractNotFound")
STEP_BACK_NS = 1_000_000_000


class Kraken(Exchange):
    """Kraken's trades: by ``since``, never from its candles, which reach back 720 minutes only."""

    def trades(self, name: str, day: date) -> Iterator[list[Any]]:
        """Yield the day's trades page by page, oldest first, each record as Kraken sends it and once.

        Where the ids skip from one page to the next, the edge is asked for again from a second earlier; what is
        absent then too was not delivered, and the table's check counts it.

        Raises
        ------
        FinalAnswer
            Kraken has no such pair, or not for us.
        SourceError
            It refuses, or does not answer in time.
        """
        client, deadline = self.configured("kraken", {"public": ""}), self.deadline()
        first, end = midnight(day), midnight(day) + 86_400
        cursor, last_id, before = first * 10**9 - 1, None, list[Any]()
        while True:
            page, following = self._page(client, name, day, cursor, deadline)
            new = fresh(page, before)
            ids = [i for r in new if (i := _id(r)) is not None]
            if last_id is not None and ids and min(ids) > last_id + 1:
                again, _ = self._page(client, name, day, cursor - STEP_BACK_NS, deadline)
                new = [r for r in again if last_id < (_id(r) or 0) < min(ids)] + new
            # Whose time cannot be read is for the parser to refuse.
            yield [r for r in new if first <= (_second(r) or first) < end]
            over = any((_second(r) or 0) >= end for r in page)
            if over or following <= cursor or not page:
                return
            last_id, before, cursor = max(ids, default=last_id), page, following

    def _page(self, client: Any, name: str, day: date, cursor: int, deadline: float) -> tuple[list[Any], int]:
        what = f"Kraken's trades of {name} on {day}"
        with answering(what, UNKNOWN_PAIR, deadline):
            answer = client.publicGetTrades({"pair": name, "since": str(cursor), "count": TRADES_A_PAGE})
        page = records_in(answer, "result", name)
        following = str(answer["result"].get("last"))
        if not (following.isascii() and following.isdigit()):
            raise SourceError(f"{what}: the answer has no cursor `last`, but {following!r}. Run it again later")
        return page, int(following)


class KrakenFutures(Exchange):
    """Kraken Futures' settled funding rates."""

    def funding(self, name: str, day: date) -> list[Any]:
        """Return the rates stamped on ``day``, as Kraken sends them: always the contract's whole series.

        Raises
        ------
        FinalAnswer
            There is no such contract, or not for us.
        SourceError
            Kraken refuses, or does not answer.
        """
        client = self.configured("krakenfutures", {"public": "/derivatives/api/"})
        with answering(f"Kraken Futures' funding of {name} on {day}", UNKNOWN_CONTRACT):
            answer = client.publicGetHistoricalfundingrates({"symbol": name})
        # A stamp that cannot be read is for the parser to refuse.
        return [r for r in records_in(answer, "rates") if (_stamped(r) or day) == day]


def _id(record: Any) -> int | None:
    held = isinstance(record, list) and len(record) > 6 and isinstance(record[6], int)
    return record[6] if held else None


def _second(record: Any) -> int | None:
    held = isinstance(record, list) and len(record) > 2 and isinstance(record[2], int | float)
    return int(record[2]) if held and abs(record[2]) < 1e12 else None


def _stamped(record: Any) -> date | None:
    try:
        return datetime.fromisoformat(record["timestamp"]).date()
    except (TypeError, KeyError, ValueError):
        return None
