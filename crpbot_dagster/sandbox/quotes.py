"""The top of the simulated book after each message, as a table of quotes.

Not here: the book itself and its levels (``market.py``), wire formats (``server.py``, ``crypto_lake.py``).
"""

from datetime import date

import polars as pl

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.market import MarketSpec


def quotes(spec: MarketSpec, symbol: str, day: date) -> pl.DataFrame:
    """Return the best ask and bid after each message, in Tardis' quotes columns.

    Columns ts_exchange and ts_received (int64, µs since 1970), ask_amount, ask_price, bid_price, bid_amount.

    Raises
    ------
    NoSuchDay, NoSuchSymbol
        As ``market.tape``.
    """
    top = market._quotes(spec, market.known(symbol), market._existing(day))
    return pl.DataFrame(
        {
            "ts_exchange": top.ts_exchange,
            "ts_received": top.ts_received,
            "ask_amount": top.ask_size,
            "ask_price": top.price(top.ask),
            "bid_price": top.price(top.bid),
            "bid_amount": top.bid_size,
        }
    )
