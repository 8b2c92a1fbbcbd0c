"""Tardis beyond trades and book: its own headers and cells, and what an absent, an early and an empty file mean."""

import gzip
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import httpx
import polars as pl
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from crpbot_dagster import instruments
from crpbot_dagster.assets.raw import tardis, tardis_derivatives
from crpbot_dagster.assets.raw.dataset_file import Layout, Parsed, parse
from crpbot_dagster.assets.raw.tardis import QUOTES, quotes_from, tardis_quotes, tardis_trades
from crpbot_dagster.assets.raw.tardis_derivatives import (
    LIQUIDATIONS,
    OPTIONS,
    TICKER,
    liquidations_from,
    options_from,
    ticker_from,
)
from crpbot_dagster.instruments import Listing
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.sandbox import derivatives
from crpbot_dagster.sandbox.market import MarketSpec, latent, snapshots
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables.schema import MARKET_WIDE

DAY, FREE_DAY, TODAY = date(2023, 11, 20), date(2023, 12, 1), date(2023, 12, 3)
MARKET = MarketSpec(7, 0.3)
SERVED = {
    "quotes": ("coinbase", "BTC-USD"),
    "derivative_ticker": ("binance-futures", "BTCUSDT"),
    "liquidations": ("binance-futures", "BTCUSDT"),
    "options_chain": ("deribit", "OPTIONS"),
}
SAMPLES = {
    "quotes": "huobi-dm-swap_quotes_BTC-USD.csv",
    "derivative_ticker": "derivative_ticker_1.csv",
    "options_chain": "options_chain.csv",
}
LAYOUTS = {
    "quotes": (QUOTES, quotes_from),
    "derivative_ticker": (TICKER, ticker_from),
    "liquidations": (LIQUIDATIONS, liquidations_from),
    "options_chain": (OPTIONS, options_from),
}
# Hand-written from https://docs.tardis.dev/downloadable-csv-files#liquidations
LIQUIDATION_HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with serve(create_app(MARKET, None, None, today=TODAY)) as url:
        yield url


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")


def materialise(
    asset: dg.AssetsDefinition, lake: Lake, url: str, day: date = DAY, symbol: str = "BTC-USD", **options: str | float
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset],
        partition_key=key(symbol, day),
        resources={
            "lake": lake,
            "door": Door(lake=lake, base_dir=lake.url),
            "tardis": TardisDatasets(endpoint=f"{url}/v1", **({"timeout_s": 60} | options)),
        },
        raise_on_error=False,
    )


def said(result: dg.ExecuteInProcessResult) -> str:
    failed = result.get_step_failure_events()[0].step_failure_data
    return str(failed.user_failure_data.description if failed.user_failure_data else failed.error)


def read(folder: Path, layout: Layout, *lines: str) -> Parsed:
    path = folder / "file.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return parse(path, layout, folder / "staged.parquet")


def write_recording(home: Path, exchange: str, data_type: str, day: date, name: str, content: bytes) -> None:
    path = home / "tardis" / exchange / data_type / day.isoformat() / f"{name}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --- the vendor's own bytes ---------------------------------------------------------------------------


@pytest.mark.parametrize("data_type", SAMPLES)
def test_tardis_s_own_samples_are_read_whole(shared_data: Path, tmp_path: Path, data_type: str) -> None:
    layout, shape = LAYOUTS[data_type]
    lines = (shared_data / "tardis_samples" / SAMPLES[data_type]).read_text().splitlines()
    parsed = read(tmp_path, layout, *lines)
    assert parsed.refused.is_empty() and parsed.rows == len(lines) - 1
    rows = shape(parsed.frame).collect()
    assert rows["seq"].to_list() == list(range(parsed.rows))
    theirs = pl.read_csv("\n".join(lines).encode(), infer_schema=False)
    for column in (c for c in theirs.columns if layout.types.get(c) == pl.Float64()):
        ours = column if column in rows.columns else f"{column}_coin"
        assert rows[ours].to_list() == theirs[column].cast(pl.Float64).to_list(), column


@pytest.mark.parametrize("data_type", [*SAMPLES, "liquidations"])
def test_the_sandbox_s_headers_are_those_of_tardis(served: str, shared_data: Path, data_type: str) -> None:
    sample = SAMPLES.get(data_type)
    header = (shared_data / "tardis_samples" / sample).read_text().split("\n")[0] if sample else LIQUIDATION_HEADER
    exchange, name = SERVED[data_type]
    text = gzip.decompress(httpx.get(f"{served}/v1/{exchange}/{data_type}/{DAY:%Y/%m/%d}/{name}.csv.gz").content)
    assert text.decode().split("\n")[0] == header and b"e-0" not in text


def test_recorded_quotes_are_sound_and_hardly_ever_crossed(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "tardis").glob("*/quotes/*/*.csv.gz")):
        parsed = parse(path, QUOTES, tmp_path / "staged.parquet")
        assert parsed.refused.is_empty()
        rows = quotes_from(parsed.frame).collect()
        assert (rows["bid_price"] >= rows["ask_price"]).mean() < 1e-4, path


def test_cells_that_tardis_leaves_empty_are_null_and_bad_ones_are_refused(tmp_path: Path) -> None:
    header = "exchange,symbol,timestamp,local_timestamp," + ",".join(c for c in TICKER.types if "timestamp" not in c)
    header = header.replace("funding_rate,", "funding_timestamp,funding_rate,", 1)
    clocks = "binance-futures,BTCUSDT,1700438400000000,1700438400010000"
    parsed = read(
        tmp_path,
        TICKER,
        header,
        f"{clocks},,,,,,,",
        f"{clocks},1700467200000000,-0.0001,,80000.5,37000.1,37000,37001",
        f"{clocks},,,,-1,,,",
        f"{clocks},,nan,,,,,",
        f"{clocks},,,,,0,,",
        f"{clocks},17004672,,,,,,",
    )
    assert parsed.refused["line_n"].to_list() == [4, 5, 6, 7]
    empty, full = ticker_from(parsed.frame).collect().drop("seq", "ts_exchange", "ts_received").rows()
    assert set(empty) == {None} and full[1:4] == (-0.0001, None, 80000.5)


def test_a_quote_of_an_empty_side_is_kept_and_half_a_side_is_refused(tmp_path: Path) -> None:
    header = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"
    clocks = "coinbase,BTC-USD,1700438400000000,1700438400010000"
    parsed = read(tmp_path, QUOTES, header, f"{clocks},,,100,1", f"{clocks},1,,100,1", f"{clocks},1,101,100,-1")
    assert parsed.refused["reason"].to_list() == [
        "a price without a size, or a size without a price",
        "a size is not a number of at least 0",
    ]
    assert quotes_from(parsed.frame).collect()["bid_price"].to_list() == [100.0]


# --- through tardis-dev, from the sandbox -------------------------------------------------------------


def test_quotes_are_the_book_s_best_prices(served: str, lake: Lake) -> None:
    assert materialise(tardis_quotes, lake, served).success
    quotes = lake.window("raw/tardis_quotes", "BTC-USD", DAY, DAY).collect().sort("seq")
    best = snapshots(MARKET, "BTC-USD", DAY)
    ours = quotes.filter(pl.col("ts_received").dt.epoch("us").is_in(best["ts_received"].implode()))
    for side in ("ask", "bid"):
        assert ours[f"{side}_price"].equals(best[f"{side}s[0].price"], check_names=False)
        assert ours[f"{side}_amount"].equals(best[f"{side}s[0].amount"], check_names=False)


def test_a_perpetual_s_figures_lie_near_the_market_s_price(served: str, lake: Lake) -> None:
    assert materialise(tardis_derivatives.tardis_derivatives, lake, served).success
    found = lake.window("raw/tardis_derivatives", "BTC-USD", DAY, DAY).collect().sort("seq")
    assert set(found["venue"]) == {"binance-futures"} and found["predicted_funding_rate"].is_null().all()
    assert found["open_interest"].is_null().sum() == 6, "the venue states it after a minute"
    truth = latent(MARKET, "BTC-USD", DAY, DAY).with_columns(pl.col("ts").dt.offset_by("1m"))
    ends = (
        found.sort("ts_received")
        .join_asof(truth, left_on="ts_received", right_on="ts", tolerance="12s")
        .drop_nulls("u")
    )
    assert ends.height > 1_000
    for price in ("mark_price", "index_price", "last_price"):
        assert (ends[price].log() - ends["log_price"]).abs().max() < 0.005
    assert (found["funding_ts"] > found["ts_exchange"]).all() and found["funding_rate"].abs().max() < 1e-3


def test_liquidations_follow_the_price_s_moves(served: str, lake: Lake) -> None:
    assert materialise(tardis_derivatives.tardis_liquidations, lake, served).success
    found = lake.window("raw/tardis_liquidations", "BTC-USD", DAY, DAY).collect()
    truth = latent(MARKET, "BTC-USD", DAY, DAY).with_columns(fell=pl.col("log_price").diff() < 0)
    # The minute of the move is over when the order comes.
    moved = found.with_columns((pl.col("ts_exchange").dt.truncate("1m") - pl.duration(minutes=1)).alias("ts"))
    sides = moved.join(truth, on="ts").select((pl.col("side") == "sell") == pl.col("fell"))
    assert found.height > 50 and sides.to_series().all() and found["liquidation_id"].is_null().all()


def test_the_option_chain_is_one_partition_a_day_for_the_whole_market(served: str, lake: Lake) -> None:
    done = materialise(tardis_derivatives.tardis_options, lake, served, symbol=MARKET_WIDE)
    assert done.success and lake.state("raw/tardis_options", MARKET_WIDE, DAY) == "complete"
    chain = lake.window("raw/tardis_options", MARKET_WIDE, DAY, DAY).collect()
    assert "symbol" not in chain.columns and set(chain["instrument"].str.slice(0, 3)) == {"BTC", "ETH"}
    calls, puts = (chain.filter(pl.col("option_type") == t) for t in ("call", "put"))
    assert calls["delta"].is_between(0, 1).all() and puts["delta"].is_between(-1, 0).all()
    assert (chain["bid_price_coin"] <= chain["ask_price_coin"]).all() and chain["mark_iv"].is_between(10, 200).all()
    assert (chain["expiry_ts"] > chain["ts_exchange"]).all() and (chain["expiry_ts"].dt.weekday() == 5).all()
    # What an hourly summary wants is there: a smile on both sides of 25 deltas, expiries around 30 days.
    for side in (calls, puts):
        by_expiry = side.group_by("expiry_ts").agg(
            pl.col("delta").abs().min().alias("low"), pl.col("delta").abs().max()
        )
        assert (by_expiry["low"] < 0.25).all() and (by_expiry["delta"] > 0.25).all()
    days = (chain["expiry_ts"] - chain["ts_exchange"]).dt.total_days()
    assert days.min() < 30 < days.max()


def test_the_makers_give_the_same_day_in_whatever_order_days_are_asked_for() -> None:
    for make, name in (
        (derivatives.ticker, "ETHUSDT"),
        (derivatives.liquidations, "SOLUSDT"),
        (derivatives.options_chain, "OPTIONS"),
    ):
        first = make(MARKET, name, DAY)
        make(MARKET, name, DAY + timedelta(days=70))
        assert make(MARKET, name, DAY).equals(first)
        received = first["ts_received"]
        assert received.is_sorted() and (received // 86_400_000_000).n_unique() == 1
        assert (received >= first["ts_exchange"]).all()


# --- what the vendor does not deliver -----------------------------------------------------------------


def test_the_first_day_of_a_month_is_free_and_the_others_say_how_to_get_them(lake: Lake) -> None:
    asset = tardis_derivatives.tardis_liquidations
    with serve(create_app(MARKET, None, "the-key", today=TODAY)) as url:
        assert materialise(asset, lake, url, FREE_DAY).success
        refused = materialise(asset, lake, url, DAY)
    assert lake.state("raw/tardis_liquidations", "BTC-USD", FREE_DAY) == "complete"
    assert lake.state("raw/tardis_liquidations", "BTC-USD", DAY) == "not_licensed"
    metadata = refused.asset_materializations_for_node("raw__tardis_liquidations")[0].metadata
    assert "CRPBOT_TARDIS_API_KEY" in str(metadata["why"].value)


@pytest.mark.parametrize(("code", "state"), [(401, "not_licensed"), (403, "not_licensed"), (404, "missing")])
def test_a_final_answer_is_asked_for_once(lake: Lake, code: int, state: str) -> None:
    asked: list[str] = []
    with serve(refusing(code, asked)) as url:
        assert materialise(tardis_quotes, lake, url).success
    assert lake.state("raw/tardis_quotes", "BTC-USD", DAY) == state and len(asked) == 1


@pytest.mark.parametrize("code", [429, 503])
def test_an_answer_that_may_change_is_no_state_of_the_day(code: int) -> None:
    with serve(refusing(code, [])) as url:
        source = TardisDatasets(endpoint=f"{url}/v1", timeout_s=0.5)
        with pytest.raises(SourceError), source.fetch("coinbase", "quotes", "BTC-USD", DAY):
            pass


def refusing(code: int, asked: list[str]) -> Starlette:
    def refuse(request) -> Response:
        asked.append(request.url.path)
        return Response("{}", code, {"retry-after": "60"} if code in (429, 503) else {})

    return Starlette(routes=[Route("/v1/{path:path}", refuse)])


def test_a_file_that_is_early_is_no_missing_day(lake: Lake, environment, tmp_path: Path) -> None:
    """Until about 06:00 UTC of the next day nobody knows; the day stays unpublished, and is asked for again."""
    clock = tmp_path / "now"
    environment(clock=str(clock))
    with serve(create_app(MARKET, None, None, today=DAY)) as url:
        clock.write_text(f"{DAY + timedelta(days=1)}T05:59:00+00:00")
        early = materialise(tardis_quotes, lake, url)
        assert not early.success and "ready about 2023-11-21 06:00 UTC" in said(early)
        assert lake.state("raw/tardis_quotes", "BTC-USD", DAY) is None
        clock.write_text(f"{DAY + timedelta(days=1)}T06:00:00+00:00")
        assert materialise(tardis_quotes, lake, url).success
    assert lake.state("raw/tardis_quotes", "BTC-USD", DAY) == "missing"


def test_a_file_of_no_text_is_an_empty_day_and_a_file_of_no_bytes_a_damaged_one(lake: Lake, tmp_path: Path) -> None:
    home = tmp_path / "recordings"
    for n, content in enumerate((gzip.compress(b""), b"", gzip.compress(b"x" * 1_000)[:-9])):
        write_recording(home, "coinbase", "quotes", DAY + timedelta(days=n), "BTC-USD", content)
    with serve(create_app(None, home, None)) as url:
        assert materialise(tardis_quotes, lake, url).success
        assert not materialise(tardis_quotes, lake, url, DAY + timedelta(days=1)).success
        assert not materialise(tardis_quotes, lake, url, DAY + timedelta(days=2)).success
    days = [DAY + timedelta(days=n) for n in range(3)]
    assert list(lake.states("raw/tardis_quotes", "BTC-USD", days).values()) == ["empty", None, None]


def test_a_symbol_is_asked_for_by_the_name_it_had_on_that_day(
    lake: Lake, tmp_path: Path, environment, monkeypatch
) -> None:
    """Kraken is XBT/USD on Tardis; were it to be renamed, each day would be asked for by its own name."""
    environment(primary='{"BTC-USD": "kraken/tardis"}')
    renamed = DAY + timedelta(days=1)
    old = instruments.listing("BTC-USD", "tardis", "kraken", DAY)
    assert old is not None and old.name == "XBT/USD"
    until = Listing("BTC-USD", "tardis", "kraken", "XBT/USD", "USD", old.since, renamed)
    then = Listing("BTC-USD", "tardis", "kraken", "BTC/USD", "USD", renamed)
    monkeypatch.setattr(instruments, "LISTINGS", (*(x for x in instruments.LISTINGS if x != old), until, then))
    assert instruments.listing("BTC-USD", "tardis", "kraken", old.since - timedelta(days=1)) is None
    home, header = tmp_path / "recordings", "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
    for day, name in ((DAY, "XBT-USD"), (renamed, "BTC-USD")):
        at = 1_700_438_400_000_000 + (day - DAY) // timedelta(microseconds=1)
        row = f"kraken,{name},{at},{at + 1},1,buy,37000,{day.day}"
        write_recording(home, "kraken", "trades", day, name, gzip.compress(f"{header}\n{row}\n".encode()))
    with serve(create_app(None, home, None)) as url:
        for day in (DAY, renamed):
            assert materialise(tardis_trades, lake, url, day).success
            rows = lake.window("raw/tardis_trades", "BTC-USD", day, day).collect()
            assert rows["amount"].to_list() == [day.day] and rows["venue"].to_list() == ["kraken"]


def test_every_state_without_a_file_has_its_words() -> None:
    from crpbot_dagster.resources.politeness import FINAL_STATES

    assert set(tardis.WHY) == set(FINAL_STATES.values())
