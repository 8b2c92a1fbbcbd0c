"""Sound partitions of the exchanges' own interfaces, and what breaks each of their checks and rules (see test_checks.py)."""

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
from conftest import DAYS

from crpbot_dagster.assets.raw.deribit import CURRENCIES, hours_of
from crpbot_dagster.sandbox import venues
from crpbot_dagster.sandbox.market import MarketSpec, tape

Break = Callable[[pl.DataFrame], pl.DataFrame] | dict[str, float]

DAY = DAYS[1]
TRADES = ("raw/coinbase_trades", "raw/kraken_trades")
FACTS: dict[str, float] = {}


def flipped(f: pl.DataFrame) -> pl.DataFrame:
    return f.with_columns(pl.col("side").replace_strict({"buy": "sell", "sell": "buy"}))


def anew(f: pl.DataFrame) -> pl.DataFrame:
    """Ids that begin anew in the middle of the day: by id, the second half comes first."""
    half = f.height // 2
    ordered = pl.concat([f.tail(f.height - half), f.head(half)])
    return ordered.with_columns(seq=pl.int_range(f.height), trade_id=f["trade_id"])


BROKEN: dict[tuple[str, str], Break] = {
    ("raw/funding_rates", "coverage"): lambda f: f.filter((pl.col("venue") != "deribit") | (pl.col("ts").dt.hour() != 7)),
    ("raw/funding_rates", "plausible"): lambda f: f.with_columns(rate_1h_frac=pl.lit(0.02)),
    ("raw/funding_rates", "duplicates"): {"duplicates_n": 1.0},
    ("raw/deribit_options", "coverage"): lambda f: f.with_columns(dvol_frac=pl.lit(None, pl.Float64)),
    ("raw/deribit_options", "duplicates"): {"duplicates_n": 1.0},
}  # fmt: skip
BROKEN_RULES: list[tuple[str, Break]] = [
    ("raw/funding_rates", {"quarantined_frac": 0.002}),
    ("raw/funding_rates", lambda f: f.with_columns(interval_h=pl.lit(3, pl.Int8))),
    ("raw/funding_rates", lambda f: f.with_columns(rate_frac=pl.lit(0.5))),
    ("raw/deribit_options", {"quarantined_frac": 0.002}),
    ("raw/deribit_options", lambda f: f.with_columns(put_volume=pl.lit(-1.0))),
]
for _table in TRADES:
    BROKEN |= {
        (_table, "aggressor"): flipped,
        (_table, "sequence"): lambda f: f.filter(pl.col("seq") != 100),
        (_table, "coverage"): lambda f: f.head(f.height // 3),
        (_table, "duplicates"): {"duplicates_n": 1.0},
    }
    BROKEN_RULES += [(_table, {"quarantined_frac": 0.002}), (_table, anew)]


def sound(market: MarketSpec) -> dict[str, pl.DataFrame]:
    moment = pl.col("ts_exchange").cast(pl.Datetime("us", "UTC"))
    tapes = {"coinbase": tape(market, "BTC-USD", DAY), "kraken": venues.kraken_tape(market, "BTC-USD", DAY)}
    made = {
        f"raw/{venue}_trades": f.with_row_index("seq").with_columns(
            moment, pl.lit(venue).alias("venue"), pl.col("seq").cast(pl.Int64), trade_id=pl.col("id").cast(pl.String)
        )
        for venue, f in tapes.items()
    }
    hour = pl.datetime_range(
        datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC), datetime(DAY.year, DAY.month, DAY.day, 23, tzinfo=UTC),
        "1h", time_unit="us", eager=True,
    )  # fmt: skip
    rates = pl.DataFrame({"ts": hour}).with_columns(
        interval_h=pl.lit(1, pl.Int8), rate_frac=pl.lit(1e-5), rate_1h_frac=pl.lit(1e-5),
        available_ts=pl.col("ts") + pl.duration(minutes=61),
    )  # fmt: skip
    made["raw/funding_rates"] = pl.concat(
        [rates.with_columns(pl.lit(venue).alias("venue")) for venue in ("kraken_futures", "deribit")]
    )
    none = pl.lit(None, pl.Float64)
    made["raw/deribit_options"] = hours_of(DAY, CURRENCIES).with_columns(
        dvol_frac=pl.lit(0.6), put_volume=pl.lit(1.0), call_volume=pl.lit(2.0), put_oi=none, call_oi=none,
        atm_iv_frac=none, skew_25d_frac=none, snapshot_ts=pl.lit(None, pl.Datetime("us", "UTC")),
    )  # fmt: skip
    return made
