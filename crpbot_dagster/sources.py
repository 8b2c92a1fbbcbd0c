"""The sources as data: where each is asked, how often it may be, which key it wants, where its vendor explains it.

Not here: what a source calls a symbol (``instruments.py``), how it is asked (``resources/``), what it sends
(``assets/raw/``, one module per source, whose docstring is the source's card).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One source. Budgets are what the vendor grants a caller without a paid plan, shared by every process here."""

    name: str
    url: str  # live base address
    per_second: float
    page: str  # the vendor's own documentation
    per_day: int | None = None
    keys: tuple[str, ...] = ()  # settings that hold its credentials
    needs_keys: bool = False  # without them nothing is served; else they widen what is
    sandbox_path: str = ""  # where the local market serves it


SOURCES: dict[str, Source] = {
    s.name: s
    for s in (
        Source(
            "tardis",
            "https://datasets.tardis.dev/v1",
            10,
            "https://docs.tardis.dev/downloadable-csv-files",
            keys=("tardis_api_key",),
            sandbox_path="/v1",
        ),
        Source("coinbase", "https://api.coinbase.com", 10, "https://docs.cdp.coinbase.com/advanced-trade"),
        Source(
            "kraken",
            "https://api.kraken.com",
            1,
            "https://docs.kraken.com/api/docs/rest-api/get-recent-trades",
            sandbox_path="/kraken",
        ),
        Source(
            "kraken_futures",
            "https://futures.kraken.com",
            1.5,
            "https://docs.kraken.com/api/docs/futures-api/trading/historical-funding-rates",
            sandbox_path="/kraken_futures",
        ),
        Source("deribit", "https://www.deribit.com", 10, "https://docs.deribit.com", sandbox_path="/deribit"),
        Source(
            "cryptocompare",
            "https://min-api.cryptocompare.com",
            10,
            "https://min-api.cryptocompare.com/documentation",
            per_day=3_000,
            keys=("cryptocompare_api_key",),
            sandbox_path="/cryptocompare",
        ),
        Source(
            "coindesk",  # the same vendor's newer interface: the older one's news have no tone
            "https://data-api.coindesk.com",
            5,
            "https://developers.coindesk.com/documentation/data-api/news_v1_article_list",
            per_day=360,
            sandbox_path="/coindesk",
        ),
        Source(
            "coingecko",
            "https://api.coingecko.com/api/v3/",
            0.5,
            "https://docs.coingecko.com",
            per_day=330,
            keys=("coingecko_api_key",),
            sandbox_path="/coingecko/api/v3/",
        ),
        Source(
            "crypto_lake",
            "https://s3.eu-west-1.amazonaws.com",
            50,
            "https://crypto-lake.com/data/",
            keys=("crypto_lake_key_id", "crypto_lake_secret"),
            needs_keys=True,
            sandbox_path="/crypto_lake",
        ),
        Source(
            "wikimedia",
            "https://wikimedia.org",
            10,
            "https://doc.wikimedia.org/generated-data-platform/aqs/analytics-api/",
            sandbox_path="/wikimedia",
        ),
        Source(
            "alternative_me",
            "https://api.alternative.me",
            1,
            "https://alternative.me/crypto/fear-and-greed-index/",
            sandbox_path="/alternative_me",
        ),
        Source(
            "blockchain",
            "https://api.blockchain.info",
            0.5,
            "https://www.blockchain.com/explorer/api/charts_api",
            sandbox_path="/blockchain",
        ),
        Source("mempool", "https://mempool.space", 1, "https://mempool.space/docs/api/rest", sandbox_path="/mempool"),
        Source("fred", "https://fred.stlouisfed.org", 1, "https://fred.stlouisfed.org", sandbox_path="/fred"),
    )
}

RECORDED = ("tardis", "coinbase")
"""The sources that a folder of recordings can stand for."""
