"""Slow bars and what is settled: known answers, when each row is known, what is absent stays absent."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from conftest import with_clocks
from raw.exchange import OPTIONS, materialise

from crpbot_dagster.assets.bars import slow
from crpbot_dagster.assets.bars.assets_derived import derivatives_1m as perpetual_minutes
from crpbot_dagster.assets.bars.assets_derived import fx_1m, settled
from crpbot_dagster.assets.bars.assets_slow import ASSETS as SLOW_ASSETS
from crpbot_dagster.assets.bars.derivatives import derivatives_1m, funding_mean
from crpbot_dagster.assets.raw.coinbase import coinbase_usdt
from crpbot_dagster.resources.exchanges import CoinbaseCandles
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sandbox.derivatives import options_chain
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.sensors.facts import _settled
from crpbot_dagster.tables import TABLES
from crpbot_dagster.tables.schema import MARKET_WIDE

DAY = date(2023, 11, 17)
START = datetime(2023, 11, 17, tzinfo=UTC)
END = START + timedelta(days=1)
UTC_US = pl.Datetime("us", "UTC")


def raw(table: str, *rows: dict) -> pl.DataFrame:
    schema = TABLES[table].schema
    return pl.DataFrame([dict.fromkeys(schema) | {"day": DAY} | row for row in rows], schema=schema)


def test_a_coin_is_known_when_its_rank_was_and_earlier_without_one() -> None:
    market = raw("raw/coingecko_market", {"available_ts": END + timedelta(hours=1), "market_cap_usd": 7e11})
    taken = END + timedelta(hours=6, minutes=30)
    coin = {"available_ts": taken, "market_cap_rank_n": 1}
    ranked = slow.coin_1d(market, raw("raw/coingecko_coin", coin | {"kind": "snapshot"}))
    assert ranked["available_ts"][0] == taken and ranked["market_cap_rank"][0] == 1
    for without in (coin | {"kind": "history"}, {"kind": "snapshot", "available_ts": taken}):
        row = slow.coin_1d(market, raw("raw/coingecko_coin", without))
        assert row["available_ts"][0] == END + timedelta(hours=1) and row["market_cap_rank"][0] is None


def test_shares_become_dollars_and_half_a_sum_is_none() -> None:
    row = {"available_ts": END, "total_cap_usd": 1e12, "btc_frac": 0.5, "eth_frac": 0.2, "usdt_frac": 0.07}
    made = slow.global_1d(raw("raw/coingecko_global", row | {"usdc_frac": 0.03}))
    assert made.select("btc_cap_usd", "eth_cap_usd").row(0) == (5e11, 2e11)
    assert made["stable_cap_usd"][0] == pytest.approx(1e11)
    assert slow.global_1d(raw("raw/coingecko_global", row))["stable_cap_usd"][0] is None


def test_another_source_never_stands_in_for_the_hash_rate() -> None:
    rows = [
        {"source": s, "available_ts": END, "hash_rate_ehs": h} for s, h in (("mempool", 476.0), ("blockchain", 470.0))
    ]
    assert slow.network_1d(raw("raw/hash_rate", *rows))["btc_hash_rate"].to_list() == [470.0]
    assert slow.network_1d(raw("raw/hash_rate", rows[0])).is_empty()


def test_a_holiday_and_a_series_that_nobody_reads_have_no_row() -> None:
    rows = [
        {"series_id": s, "available_ts": END, "value": v}
        for s, v in (("SP500", 4_514.0), ("DTWEXBGS", None), ("DGS10", 4.4))
    ]
    assert slow.macro_1d(raw("raw/traditional_markets", *rows))["series_id"].to_list() == ["SP500"]


def test_attention_has_two_availabilities() -> None:
    row = {"news_available_ts": END, "wiki_available_ts": END + timedelta(days=1), "news_n": 3, "wiki_views_n": 9}
    made = slow.attention_1d(raw("raw/attention", row))
    assert made.select("available_ts", "wiki_available_ts", "reddit_subscribers_n").row(0) == (
        END,
        END + timedelta(days=1),
        None,
    )


# --- options ----------------------------------------------------------------------------------------


def deribit(**snapshot: object) -> pl.DataFrame:
    hours = slow.hours_of(DAY, ("BTC",)).with_columns(day=pl.lit(DAY), dvol_frac=pl.lit(0.5), put_volume=pl.lit(1.0))
    yesterday = {"day": DAY - timedelta(days=1), "currency": "BTC", "hour": START - timedelta(hours=1)} | snapshot
    return pl.concat([hours, raw("raw/deribit_options", yesterday)], how="diagonal_relaxed")


def test_a_snapshot_stands_in_the_hour_in_which_it_was_taken() -> None:
    taken = START + timedelta(hours=6, minutes=30)
    made = slow.options_1h(deribit(snapshot_ts=taken, put_oi=3.0, call_oi=4.0, skew_25d_frac=0.02), None, DAY)
    (row,) = made.filter(pl.col("put_oi").is_not_null()).to_dicts()
    assert (row["currency"], row["hour"], row["call_oi"]) == ("BTC", START + timedelta(hours=6), 4.0)
    assert row["available_ts"] > taken
    assert made.height == 48 and made["dvol_frac"].null_count() == 24, "of ETH nothing was said"


@pytest.fixture(scope="module")
def chain() -> pl.DataFrame:
    names = {"symbol": "instrument", "type": "option_type", "expiration": "expiry_ts"}
    frame = with_clocks(options_chain(MarketSpec(7, 0.3), "OPTIONS", DAY)).rename(names)
    return frame.with_columns(pl.col("expiry_ts").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))


def test_the_surface_of_an_hour_reads_nothing_after_it(chain: pl.DataFrame) -> None:
    whole = slow.surface_1h(chain.lazy(), DAY)
    noon = START + timedelta(hours=12)
    known = slow.surface_1h(chain.filter(pl.col("ts_received") < noon).lazy(), DAY)
    before = pl.col("hour") < noon
    assert whole.filter(before).equals(known.filter(before)) and whole.height == 48
    assert whole["skew_25d_frac"].null_count() == 0 and (whole["skew_25d_frac"] > 0).all(), "puts are dearer"
    assert whole["put_oi"].is_null().to_list() == [h == START for h in whole["hour"]], (
        "in the first hour every option is new"
    )


def test_open_interest_is_null_while_too_few_options_are_known(chain: pl.DataFrame) -> None:
    """Half of them are seen at noon for the first time: until then nobody knows that they are half."""
    names = chain["instrument"].unique().sort()
    late = pl.col("instrument").is_in(names.gather_every(2).implode()) & (pl.col("ts_received").dt.hour() < 12)
    made = slow.surface_1h(chain.filter(~late).lazy(), DAY)
    hour = made["hour"].dt.hour()
    assert made.filter(hour.is_in([0, 12]))["put_oi"].null_count() == 4 and made["call_oi"].null_count() == 4
    open_of = made.filter(pl.col("currency") == "BTC").select("hour", oi=pl.col("put_oi") + pl.col("call_oi"))["oi"]
    part, total = open_of[11], open_of[13]
    assert 0.3 < part / total < 0.7, "what nobody has seen yet is not missed"
    silent = pl.col("instrument").is_in(names.gather_every(5).implode())
    unsaid = chain.with_columns(pl.when(~silent).then(pl.col("open_interest")).alias("open_interest"))
    made = slow.surface_1h(unsaid.lazy(), DAY)
    assert made["put_oi"].null_count() == made.height, "a fifth never states its open interest"
    assert made["skew_25d_frac"].null_count() == 0


def test_open_interest_is_the_last_word_of_each_living_option(chain: pl.DataFrame) -> None:
    made = slow.surface_1h(chain.lazy(), DAY).filter(pl.col("currency") == "BTC")
    puts = chain.sort("seq").filter(pl.col("option_type") == "put", pl.col("instrument").str.starts_with("BTC-"))
    for hour, found in made.select("hour", "put_oi").rows()[1::8]:
        end = hour + timedelta(hours=1)
        known = puts.filter(pl.col("ts_received") < end, pl.col("expiry_ts") > end)
        last = dict(known.select("instrument", "open_interest").iter_rows())
        assert last and found == pytest.approx(sum(last.values())), hour


# --- funding ----------------------------------------------------------------------------------------


def test_a_settled_rate_is_a_statement_of_when_it_was_known_and_no_earlier() -> None:
    rates = pl.DataFrame(
        {"venue": "kraken_futures", "ts": [START, START + timedelta(hours=1)], "interval_h": [1, 1],
         "rate_frac": [1e-5, 2e-5], "available_ts": [START + timedelta(minutes=61), START + timedelta(minutes=121)]}
    ).with_columns(pl.col("ts", "available_ts").cast(UTC_US))  # fmt: skip
    made = derivatives_1m(settled(rates, "kraken_futures"), None, DAY, "exchange")["funding_rate"]
    assert made[60] is None and made[61] == 1e-5 == made[120] and made[121] == 2e-5


def test_a_venue_that_changes_its_interval_has_each_rate_s_own() -> None:
    hours = [0, 8, 12]
    rates = pl.DataFrame(
        {"venue": "x", "ts": [START + timedelta(hours=h) for h in hours], "interval_h": [8, 4, 4], "rate_frac": 1e-4,
         "available_ts": [START + timedelta(hours=h) for h in hours]}
    ).with_columns(pl.col("ts", "available_ts").cast(UTC_US))  # fmt: skip
    made = derivatives_1m(settled(rates, "x"), None, DAY, "exchange")["funding_interval_h"]
    assert made[[0, 479, 480, 1199]].to_list() == [8.0, 8.0, 4.0, 4.0]


def test_the_day_s_funding_is_the_mean_of_medians_of_at_least_two_venues() -> None:
    minutes = [START + timedelta(minutes=i) for i in range(3)]
    rates = {"a": [1e-4, 1e-4, 1e-4], "b": [3e-4, None, 5e-4], "c": [None, None, 2e-4], "stranger": [9e-4] * 3}
    frame = pl.concat(
        pl.DataFrame({"ts": minutes, "funding_rate": r, "funding_interval_h": 8.0, "venue": v, "source": "funding"})
        for v, r in rates.items()
    )
    assert funding_mean(frame, dict.fromkeys("abc", "funding")) == pytest.approx((2.0 + 2.0) / 2)
    assert funding_mean(frame, {"a": "funding"}) is None and funding_mean(frame.clear(), {"a": "funding"}) is None


# --- assets -----------------------------------------------------------------------------------------


def test_usdt_is_asked_once_for_the_market_and_makes_a_price_of_every_minute(tmp_path, environment) -> None:
    lake = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")
    with serve(create_app(MarketSpec(7, 0.3), None, None, today=DAY + timedelta(days=1))) as url:
        environment(sandbox_url=url)
        client = CoinbaseCandles(endpoint=url, **OPTIONS)
        assert materialise(coinbase_usdt, DAY.isoformat(), lake, coinbase=client).success
    raw_rows = lake.window("raw/coinbase_usdt", MARKET_WIDE, DAY, DAY).collect()
    assert 1_200 < raw_rows.height < 1_440 and (raw_rows["close"] - 1).abs().max() < 0.005
    assert materialise(fx_1m, DAY.isoformat(), lake).success
    made = lake.window("bars/fx_1m", MARKET_WIDE, DAY, DAY).collect()
    assert (
        made.height == 1_440
        and made["usdt_usd"].null_count() <= 5
        and set(made["source"].drop_nulls()) == {"coinbase/coinbase"}
    )


def test_a_day_of_settled_funding_alone_is_partial_and_not_asked_for_again(tmp_path, environment) -> None:
    environment()
    lake, symbol = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10"), "BTC-USD"
    rate = {"symbol": symbol, "venue": "deribit", "ts": START, "interval_h": 1, "rate_frac": 1e-5, "rate_1h_frac": 1e-5,
            "available_ts": START + timedelta(minutes=1)}  # fmt: skip
    lake.publish("raw/funding_rates", raw("raw/funding_rates", rate), symbol, DAY, "complete")
    assert materialise(perpetual_minutes, f"{DAY}|{symbol}", lake).success
    table = "bars/derivatives_1m"
    assert lake.state(table, symbol, DAY) == "partial"
    assert _settled(lake.held(table, symbol, [DAY]), table) == {DAY}
    ticker = {"symbol": symbol, "venue": "binance-futures", "seq": 0, "ts_received": START, "ts_exchange": START,
              "funding_ts": START + timedelta(hours=4), "funding_rate": 1e-4}  # fmt: skip
    lake.publish("raw/tardis_derivatives", raw("raw/tardis_derivatives", ticker), symbol, DAY, "complete")
    assert materialise(perpetual_minutes, f"{DAY}|{symbol}", lake).success
    assert lake.state(table, symbol, DAY) == "partial", "nobody asked for the liquidations"
    forced = "raw/tardis_liquidations"
    lake.publish(forced, TABLES[forced].empty(), symbol, DAY, "empty")
    assert materialise(perpetual_minutes, f"{DAY}|{symbol}", lake).success
    assert lake.state(table, symbol, DAY) == "complete"
    made = lake.window(table, symbol, DAY, DAY).filter(pl.col("venue") == "binance-futures").collect().sort("ts")
    assert made["funding_interval_h"][:240].to_list() == [4.0] * 240, "the venue's next payment is at 04:00"


@pytest.mark.parametrize("asset", SLOW_ASSETS, ids=lambda a: a.key.path[-1])
def test_a_source_that_did_not_answer_leaves_no_row(asset, tmp_path, environment) -> None:
    environment()
    lake, table = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10"), "/".join(asset.key.path)
    partition = DAY.isoformat() + ("" if TABLES[table].is_market_wide else "|BTC-USD")
    assert materialise(asset, partition, lake).success
    assert lake.state(table, "BTC-USD", DAY) == "missing"
    assert lake.window(table, "BTC-USD", DAY, DAY).collect().is_empty()
