"""Crypto Lake through lakeapi itself, against moto's S3 in the sandbox: same market as Tardis, honest lineage."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from raw.lake_frames import handed_over
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from crpbot_dagster.assets.bars.book_minutes import book_1m
from crpbot_dagster.assets.raw import crypto_lake as assets
from crpbot_dagster.assets.raw import tardis, tardis_derivatives
from crpbot_dagster.assets.raw.crypto_lake import (
    BOOK,
    FUNDING,
    TRADES,
    book_from,
    funding_from,
    parse,
    read_frame,
    trades_from,
)
from crpbot_dagster.assets.raw.dataset_file import DamagedFile
from crpbot_dagster.partitions import key
from crpbot_dagster.resources import crypto_lake
from crpbot_dagster.resources.crypto_lake import CryptoLake
from crpbot_dagster.resources.door import Door
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.politeness import SourceError
from crpbot_dagster.resources.tardis import TardisDatasets
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.settings import Settings

DAY, FIRST_OF_MONTH, TODAY = date(2023, 11, 20), date(2023, 12, 1), date(2023, 12, 3)
MARKET = MarketSpec(7, 0.3)
TWINS = {
    "trades": (assets.crypto_lake_trades, tardis.tardis_trades),
    "book": (assets.crypto_lake_book, tardis.tardis_book),
    "quotes": (assets.crypto_lake_quotes, tardis.tardis_quotes),
    "funding": (assets.crypto_lake_funding, tardis_derivatives.tardis_derivatives),
    "open_interest": (assets.crypto_lake_open_interest, tardis_derivatives.tardis_derivatives),
    "liquidations": (assets.crypto_lake_liquidations, tardis_derivatives.tardis_liquidations),
}
START = pl.datetime(2023, 11, 20, time_unit="ns")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    with serve(create_app(MARKET, None, None, today=TODAY)) as url:
        yield url


@pytest.fixture(scope="session")
def listings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("listings")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10")


def client(url: str, cache: Path, **options: str | bool | float) -> CryptoLake:
    return CryptoLake(endpoint=f"{url}/crypto_lake", cache=str(cache), **({"timeout_s": 60} | options))


def materialise(
    made: list[dg.AssetsDefinition], lake: Lake, source: CryptoLake, url: str = "", day: date = DAY
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        made,
        partition_key=key("BTC-USD", day),
        resources={
            "lake": lake,
            "door": Door(lake=lake, base_dir=lake.url),
            "crypto_lake": source,
            "tardis": TardisDatasets(endpoint=f"{url}/v1", timeout_s=60),
        },
        raise_on_error=False,
    )


# --- through lakeapi ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWINS)
def test_both_vendors_recorded_the_same_market(name: str, s3: str, listings: Path, lake: Lake) -> None:
    """Same ids, sides, prices, sizes and times to the microsecond, row by row; only who delivered differs."""
    ours, theirs = TWINS[name]
    assert materialise([ours, theirs], lake, client(s3, listings), s3).success
    got, twin = (
        lake.window("/".join(a.key.path), "BTC-USD", DAY, DAY).collect().sort("seq").drop("seq") for a in (ours, theirs)
    )
    assert set(got["source"]) == {"crypto_lake"} and got.height > 50
    shared = [c for c in got.columns if c in twin.columns]
    assert {"ts_exchange", "ts_received", "venue"} < set(shared)
    twin = twin.drop_nulls("open_interest") if name == "open_interest" else twin
    assert got.select(shared).equals(twin.select(shared))
    assert set(got.columns) - set(shared) <= {"source", "status"}


def test_the_book_replays_as_tardis_s_does() -> None:
    parsed, _ = parse(handed_over(MARKET, "book_delta_v2", DAY), BOOK, book_from, DAY)
    ticks, _ = parse(handed_over(MARKET, "trades", DAY), TRADES, trades_from, DAY)
    minutes = book_1m(parsed.frame, ticks.frame, DAY)
    assert minutes["valid_frac"].drop_nulls().mean() > 0.999 and minutes["crossed_n"].sum() == 0


def test_the_client_leaves_nothing_in_the_working_folder(s3: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somebody-else")
    found = client(s3, tmp_path / "state").fetch("liquidations", "BINANCE_FUTURES", "ETH-USDT-PERP", DAY)
    assert found.state == "complete" and found.origin.endswith(f"symbol=ETH-USDT-PERP/dt={DAY}")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_the_free_sample_is_seen_in_every_row_and_in_the_lineage(s3: str, listings: Path, lake: Lake) -> None:
    sample = client(s3, listings, sample=True)
    done = materialise([assets.crypto_lake_liquidations], lake, sample, day=FIRST_OF_MONTH)
    rows = lake.window("raw/crypto_lake_liquidations", "BTC-USD", FIRST_OF_MONTH, FIRST_OF_MONTH).collect()
    assert done.success and set(rows["source"]) == {"crypto_lake (sample)"}
    metadata = done.asset_materializations_for_node("raw__crypto_lake_liquidations")[0].metadata
    assert metadata["source"].value == "crypto_lake (sample)" and metadata["sample"].value is True
    assert str(metadata["url"].value).startswith("s3://sample.crypto.lake/liquidations/")
    assert materialise([assets.crypto_lake_liquidations], lake, sample, day=DAY).success
    assert lake.state("raw/crypto_lake_liquidations", "BTC-USD", DAY) == "missing", "the sample has not this day"


def test_no_object_is_a_missing_day_once_the_vendor_has_had_time(
    s3: str, listings: Path, lake: Lake, environment, tmp_path: Path
) -> None:
    clock = tmp_path / "now"
    environment(clock=str(clock))
    table, asset = "raw/crypto_lake_funding", assets.crypto_lake_funding
    clock.write_text(f"{TODAY + timedelta(days=1)}T23:00:00+00:00")
    assert not materialise([asset], lake, client(s3, listings), day=TODAY).success
    assert lake.state(table, "BTC-USD", TODAY) is None
    clock.write_text(f"{TODAY + timedelta(days=2)}T00:00:00+00:00")
    assert materialise([asset], lake, client(s3, listings), day=TODAY).success
    assert lake.state(table, "BTC-USD", TODAY) == "missing"


def test_a_new_day_is_seen_although_the_listing_is_kept(tmp_path: Path, monkeypatch) -> None:
    today = [DAY]
    with serve(create_app(MARKET, None, None, today=lambda: today[0])) as url:
        source = client(url, tmp_path)
        asked = ("open_interest", "BINANCE_FUTURES", "BTC-USDT-PERP", DAY)
        assert source.fetch(*asked).state == "missing"
        today[0] = TODAY
        assert source.fetch(*asked).state == "missing", "a listing of a minute ago is believed"
        monkeypatch.setattr(crypto_lake, "FRESH_S", 0)
        assert source.fetch(*asked).state == "complete"


# --- what the vendor does not deliver -----------------------------------------------------------------


def denying(code: str, seen: list[str]) -> Starlette:
    def deny(request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        xml = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>no</Message></Error>'
        return Response(xml, 403, media_type="application/xml")

    return Starlette(routes=[Route("/{path:path}", deny, methods=["GET", "HEAD", "POST"])])


def test_a_plan_that_does_not_cover_it_is_a_state_and_a_wrong_key_an_error(
    tmp_path: Path, lake: Lake, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somebody-else")
    seen: list[str] = []
    with serve(denying("AccessDenied", seen)) as url:
        source = client(url, tmp_path / "cache", key_id="our-id", secret="our-secret")
        done = materialise([assets.crypto_lake_trades], lake, source)
    assert done.success and lake.state("raw/crypto_lake_trades", "BTC-USD", DAY) == "not_licensed"
    metadata = done.asset_materializations_for_node("raw__crypto_lake_trades")[0].metadata
    assert "CRPBOT_CRYPTO_LAKE_KEY_ID" in str(metadata["why"].value) and "our-secret" not in str(metadata)
    assert seen and all("Credential=our-id/" in header for header in seen), "the settings' key, not the process's"
    with (
        serve(denying("InvalidAccessKeyId", [])) as url,
        pytest.raises(SourceError, match="check CRPBOT_CRYPTO_LAKE_KEY_ID"),
    ):
        client(url, tmp_path / "cache", key_id="x", secret="y").fetch("trades", "COINBASE", "BTC-USD", DAY)


def test_a_client_that_the_vendor_has_given_up_is_named(tmp_path: Path) -> None:
    def login(_) -> Response:
        return Response('{"username": "u", "method": "forceupgrade"}', media_type="application/json")

    app = Starlette(routes=[Route("/crypto_lake/2015-03-31/functions/{path:path}", login, methods=["POST"])])
    with serve(app) as url, pytest.raises(SourceError, match="raise lakeapi's pin"):
        client(url, tmp_path).fetch("trades", "COINBASE", "BTC-USD", DAY)


def test_a_lost_licence_does_not_erase_a_paid_day(s3: str, listings: Path, tmp_path: Path, lake: Lake) -> None:
    asset, table = assets.crypto_lake_liquidations, "raw/crypto_lake_liquidations"
    assert materialise([asset], lake, client(s3, listings)).success
    held = lake.window(table, "BTC-USD", DAY, DAY).collect()
    with serve(denying("AccessDenied", [])) as url:
        assert not materialise([asset], lake, client(url, tmp_path / "cache")).success
    assert lake.window(table, "BTC-USD", DAY, DAY).collect().equals(held)


def test_without_credentials_nothing_is_asked(lake: Lake, environment, tmp_path: Path) -> None:
    config = environment(market="live")
    assert "CRPBOT_CRYPTO_LAKE_KEY_ID" in (config.unconfigured("crypto_lake") or "")
    nowhere = CryptoLake(endpoint="http://127.0.0.1:9", cache=str(tmp_path / "cache"), timeout_s=1)
    assert materialise([assets.crypto_lake_trades], lake, nowhere).success
    assert lake.state("raw/crypto_lake_trades", "BTC-USD", DAY) == "not_configured"
    assert not (tmp_path / "cache").exists()


def test_the_sample_needs_no_credentials_and_stands_alone(environment) -> None:
    assert environment(market="live", crypto_lake_sample="true").unconfigured("crypto_lake") is None
    with pytest.raises(ValueError, match="unset it, or the credentials"):
        Settings(crypto_lake_sample=True, crypto_lake_key_id="id", crypto_lake_secret="secret")


def test_a_source_that_hangs_or_is_not_served_ends_in_a_named_error(tmp_path: Path) -> None:
    import socket

    asked = ("trades", "COINBASE", "BTC-USD", DAY)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SourceError, match="no complete answer"):
            client(url, tmp_path, timeout_s=0.5).fetch(*asked)
    with pytest.raises(SourceError, match="crpbot sandbox serve"):
        CryptoLake(endpoint=None, cache=str(tmp_path), timeout_s=1).fetch(*asked)


# --- the frames that lakeapi hands over ---------------------------------------------------------------


def trades(rows: int = 4, **columns: object) -> pl.DataFrame:
    sound = {
        "origin_time": START + pl.duration(seconds="n"),
        "received_time": START + pl.duration(seconds="n", milliseconds=9),
        "trade_id": pl.col("n"),
        "side": pl.lit("buy"),
        "price": pl.lit(100.0),
        "quantity": pl.lit(1.0),
    }
    return pl.DataFrame({"n": range(rows)}).with_columns(**(sound | columns)).drop("n")


def at(row: int, value: object) -> pl.Expr:
    return pl.when(pl.col("n") == row).then(value if isinstance(value, pl.Expr) else pl.lit(value))


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("price", -1.0),
        ("price", float("nan")),
        ("price", float("inf")),
        ("quantity", 0.0),
        ("side", "both"),
        ("received_time", None),
    ],
)
def test_a_bad_row_is_refused_alone_with_its_reason(column: str, bad: object) -> None:
    sound = {"price": 100.0, "quantity": 1.0, "side": "buy", "received_time": START}[column]
    otherwise = sound if isinstance(sound, pl.Expr) else pl.lit(sound)
    parsed, repeated = parse(trades(**{column: at(2, bad).otherwise(otherwise)}), TRADES, trades_from, DAY)
    assert parsed.refused["line_n"].to_list() == [3] and column in parsed.refused["reason"][0]
    assert f'"{column}"' in parsed.refused["text"][0]
    assert parsed.frame.collect().height == 3 and repeated == 0


def test_a_row_of_another_day_a_wrong_clock_and_a_lone_leap_are_refused() -> None:
    another = at(0, START - pl.duration(days=2)).otherwise(START + pl.duration(seconds="n"))
    early = at(2, START + pl.duration(minutes=2)).otherwise(START)
    leap = at(2, 100_000.0).otherwise(100.0)
    for column, value, row in (("received_time", another, 1), ("origin_time", early, 3), ("price", leap, 3)):
        parsed, _ = parse(trades(9, **{column: value}), TRADES, trades_from, DAY)
        assert parsed.refused["line_n"].to_list() == [row] and parsed.frame.collect().height == 8, column


def test_a_trade_delivered_twice_is_kept_once_and_two_prices_of_one_id_not_at_all() -> None:
    twice, dropped = parse(trades(trade_id=pl.col("n") // 2), TRADES, trades_from, DAY)
    assert dropped == 2 and twice.frame.collect()["trade_id"].to_list() == ["0", "1"]
    torn, dropped = parse(trades(trade_id=pl.lit("a"), price=100.0 + pl.col("n")), TRADES, trades_from, DAY)
    assert dropped == 0 and torn.refused.height == 4


def test_an_unknown_aggressor_is_null_and_an_absent_exchange_time_is_the_recorder_s() -> None:
    nothing = pl.lit(-1).cast(pl.Datetime("ns"))  # cryptofeed's "none", in nanoseconds since 1970
    frame = trades(side=pl.lit(None, pl.String), origin_time=pl.when(pl.col("n") > 1).then(nothing))
    rows = parse(frame, TRADES, trades_from, DAY)[0].frame.collect()
    assert rows.height == 4 and rows["side"].is_null().all() and rows["ts_exchange"].equals(rows["ts_received"])


def test_rows_out_of_order_are_put_in_order_of_receipt() -> None:
    rows = parse(trades().reverse(), TRADES, trades_from, DAY)[0].frame.collect()
    assert rows["ts_received"].is_sorted() and rows["seq"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "frame",
    [
        trades().drop("price"),
        trades(price=pl.lit("100")),
        trades(side=pl.lit(1.5)),
        trades(quantity=pl.lit(True)),
        trades(received_time=pl.lit(1_700_438_400)),
        trades(received_time=START.dt.replace_time_zone("Asia/Tokyo")),
        pl.DataFrame(),
    ],
)
def test_a_frame_of_another_shape_is_refused_whole(frame: pl.DataFrame) -> None:
    with pytest.raises(DamagedFile, match="trades"):
        read_frame(frame, TRADES)


@pytest.mark.parametrize(
    ("levels", "removed", "is_snapshot"), [(20, False, True), (19, False, False), (25, True, False)]
)
def test_only_a_first_message_that_sets_the_whole_book_is_a_snapshot(
    levels: int, removed: bool, is_snapshot: bool
) -> None:
    n = 2 * levels
    rows = pl.DataFrame({"n": range(n + 60)}).select(
        (START + pl.duration(seconds=pl.col("n") // n)).alias("origin_time"),
        (START + pl.duration(seconds=pl.col("n") // n)).alias("received_time"),
        (pl.col("n") % 2 == 0).alias("side_is_bid"),
        (100.0 + pl.col("n")).alias("price"),
        pl.when(pl.lit(removed) & (pl.col("n") == 3)).then(0.0).otherwise(1.0).alias("size"),
    )
    found = parse(rows, BOOK, book_from, DAY)[0].frame.collect()
    assert found["is_snapshot"].to_list() == [is_snapshot] * n + [False] * 60
    assert found["side"].head(2).to_list() == ["bid", "ask"] and (found["amount"] == 0).sum() == removed


def test_funding_without_a_prediction_or_a_next_time_is_null() -> None:
    frame = handed_over(MARKET, "funding", DAY).head(5).with_columns(next_funding_time=pl.lit(None, pl.Datetime("ns")))
    rows = parse(frame, FUNDING, funding_from, DAY)[0].frame.collect()
    assert rows.height == 5 and rows.select("funding_ts", "predicted_funding_rate").null_count().row(0) == (5, 5)
