"""Whether the sides of a source's trades are the aggressor's: compared with the tick rule.

Not here: the comparison of sources that reads it (``dbt_like_sql/evaluations/source_comparison.sql``).
"""

import polars as pl


def tick_rule_agreement(ticks: pl.LazyFrame) -> dict[str, float]:
    """Return, per venue, the share of trades whose side is the one that the tick rule gives.

    A trade above the last other price is a buy, below a sell. A vendor's aggressor side agrees in well over half of
    the trades, because prices bounce between bid and ask; the maker's side, sent as the aggressor's, in well under.

    Parameters
    ----------
    ticks : venue, seq, side (buy, sell, null), price (USD)
        In any order; ``seq`` is the order of a venue's trades. Trades without a side, and those before the first
        change of price, are not counted.

    Returns
    -------
    Venue → share from 0 to 1; a venue without such a trade is absent.

    Source
    ------
    Lee & Ready (1991), J. Finance 46(2), 733-746 (the tick test).
    """
    sign = pl.when(pl.col("side") == "buy").then(1).when(pl.col("side") == "sell").then(-1).cast(pl.Int8)
    moved = pl.col("price").diff().sign().replace(0.0, None).over("venue")
    found = (
        ticks.select("venue", "seq", sign.alias("sign"), "price")
        .sort("venue", "seq")
        .with_columns(moved.alias("moved"))
        .select("venue", "sign", pl.col("moved").forward_fill().over("venue"))
        .drop_nulls()
        .group_by("venue")
        .agg((pl.col("sign") == pl.col("moved")).mean().alias("share"))
        .sort("venue")
        .collect()
    )
    return dict(found.iter_rows())
