"""The sandbox server, asked by the real clients: tardis-dev and ccxt over HTTP on localhost."""

import gzip
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import ccxt
import httpx
import polars as pl
import pytest
import tardis_dev
from starlette.types import ASGIApp, Receive, Scope, Send

from crpbot_dagster.sandbox import market
from crpbot_dagster.sandbox.candles import candles
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables.raw import MAX_QUARANTINE_SHARE

SPEC = MarketSpec(seed=3, density=0.3)
TODAY = date(2023, 10, 10)
DAY = date(2023, 10, 5)
KEY = "a-key"
BTC = {"id": "BTC-USD", "symbol": "BTC/USD", "base": "BTC", "quote": "USD", "type": "spot", "spot": True}
SHARED = Path(__file__).parents[2].parent / "shared" / "data"

needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real recordings at {SHARED}")


def remembering(app: ASGIApp, seen: list[str]) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await app(scope, receive, send)

    return wrapped


def coinbase(base: str) -> ccxt.coinbase:
    client = ccxt.coinbase({"urls": {"api": {"rest": base}}, "enableRateLimit": False})
    client.set_markets({BTC["symbol"]: BTC})
    return client


def millis(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serve(create_app(SPEC, None, KEY, today=TODAY)) as url:
        yield url


@pytest.fixture(scope="module")
def recorded() -> Iterator[str]:
    with serve(create_app(None, SHARED, None)) as url:
        yield url


def dataset(base: str, path: str, key: str | None = KEY) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{base}/v1/{path}.csv.gz", headers=headers)


def test_tardis_dev_downloads_what_the_market_made(base, tmp_path):
    makers = {
        "trades": market.tape,
        "incremental_book_L2": market.book,
        "book_snapshot_25": market.snapshots,
    }
    tardis_dev.download_datasets(
        "coinbase",
        list(makers),
        ["BTC-USD"],
        "2023-10-05",
        "2023-10-06",
        api_key=KEY,
        download_dir=str(tmp_path),
        endpoint=f"{base}/v1",
    )
    for data_type, make in makers.items():
        expected = make(SPEC, "BTC-USD", DAY)
        got = pl.read_csv(
            gzip.decompress((tmp_path / f"coinbase_{data_type}_2023-10-05_BTC-USD.csv.gz").read_bytes()),
            schema_overrides={name: kind for name, kind in expected.schema.items() if "ts_" not in name},
        )
        assert got["exchange"].unique().to_list() == ["coinbase"]
        assert got["symbol"].unique().to_list() == ["BTC-USD"]
        clocks = {"timestamp": "ts_exchange", "local_timestamp": "ts_received"}
        assert got.drop("exchange", "symbol").rename(clocks).equals(expected)


@needs_recordings
@pytest.mark.parametrize("data_type", ["trades", "incremental_book_L2", "book_snapshot_25"])
def test_headers_are_those_of_tardis(base, data_type):
    real = SHARED / "tardis" / "binance" / data_type / "2024-08-08" / "BTCUSDT.csv.gz"
    with gzip.open(real, "rt") as file:
        expected = file.readline()
    text = gzip.decompress(dataset(base, f"coinbase/{data_type}/2023/10/05/BTC-USD").content).decode()
    assert text[: len(expected)] == expected
    assert "e-" not in text and "E-" not in text


def test_dataset_response_states_type_and_length(base):
    response = dataset(base, "coinbase/trades/2023/10/05/ETH-USD")
    assert response.headers["content-type"] == "text/csv"
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.content == dataset(base, "coinbase/trades/2023/10/05/ETH-USD").content


@pytest.mark.parametrize("key", [None, "wrong", "a-key-and-more"])
def test_a_key_is_needed_but_on_the_first_of_the_month(base, key):
    assert dataset(base, "coinbase/trades/2023/10/05/BTC-USD", key).status_code == 401
    assert dataset(base, "coinbase/trades/2023/10/01/BTC-USD", key).status_code == 200


def test_tardis_dev_reports_a_refused_key(base, tmp_path):
    with pytest.raises(OSError, match="401"):
        tardis_dev.download_datasets(
            "coinbase",
            ["trades"],
            ["BTC-USD"],
            "2023-10-05",
            "2023-10-06",
            api_key="wrong",
            download_dir=str(tmp_path),
            endpoint=f"{base}/v1",
        )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("coinbase/trades/2023/10/05/DOGE-USD", 404),
        ("kraken/trades/2023/10/05/BTC-USD", 404),
        ("coinbase/book_ticker/2023/10/05/BTC-USD", 404),
        ("coinbase/gossip/2023/10/05/BTC-USD", 400),
        ("coinbase/trades/2023/08/31/BTC-USD", 404),
        ("coinbase/trades/2023/10/10/BTC-USD", 404),  # today
        ("coinbase/trades/2023/02/30/BTC-USD", 404),
        ("coinbase/trades/23/1/5/BTC-USD", 404),
        ("coinbase/trades/2023/10/05/..%2F..%2FBTC-USD", 404),
        ("coinbase/trades/2023/10/05/btc-usd%0A", 404),
        ("..%2Fcoinbase/trades/2023/10/05/BTC-USD", 404),
        ("../trades/2023/10/05/BTC-USD", 404),
    ],
)
def test_what_is_not_there_is_refused_with_a_code_and_a_message(base, path, status):
    response = dataset(base, path)
    assert response.status_code == status
    assert set(response.json()) == {"code", "message"}


def test_the_last_finished_day_is_served(base):
    assert dataset(base, "coinbase/trades/2023/10/09/BTC-USD").status_code == 200


@pytest.mark.parametrize(("timeframe", "seconds", "since"), [("1m", 60, (2023, 10, 5)), ("1d", 86_400, (2023, 9, 1))])
def test_ccxt_fetches_candles_and_asks_for_nothing_else(timeframe, seconds, since):
    seen: list[str] = []
    with serve(remembering(create_app(SPEC, None, KEY, today=TODAY), seen)) as base:
        got = coinbase(base).fetch_ohlcv("BTC/USD", timeframe, since=millis(*since), limit=300)
    assert seen == ["/api/v3/brokerage/market/products/BTC-USD/candles"]
    start = datetime(*since, tzinfo=UTC)
    expected = candles(SPEC, "BTC-USD", start, datetime(2023, 10, 10, tzinfo=UTC), seconds)
    rows = expected.with_columns(pl.col("ts").dt.epoch("ms")).rows()
    end = millis(*since) + 300 * seconds * 1000
    assert got == [list(row) for row in rows if row[0] <= end][:300]
    assert got[0][0] >= millis(*since)


def test_candles_are_newest_first_texts_and_include_the_end(base):
    path = f"{base}/api/v3/brokerage/market/products/BTC-USD/candles"
    start = millis(2023, 9, 4) // 1000
    response = httpx.get(path, params={"start": start, "end": start + 2 * 86_400, "granularity": "ONE_DAY"})
    candles = response.json()["candles"]
    assert [int(candle["start"]) for candle in candles] == [start + n * 86_400 for n in (2, 1, 0)]
    assert set(candles[0]) == {"start", "low", "high", "open", "close", "volume"}
    assert all(isinstance(cell, str) for cell in candles[0].values())


@pytest.mark.parametrize(
    ("product", "change", "status"),
    [
        ("BTC-USD", {"granularity": "ONE_WEEK"}, 400),
        ("BTC-USD", {"start": "yesterday"}, 400),
        ("BTC-USD", {"end": 1_696_464_000 + 351 * 60}, 400),
        ("BTC-USD", {"end": 1}, 400),
        ("DOGE-USD", {}, 404),
        ("..", {}, 404),
        ("BTC-USD%2F..", {}, 404),
    ],
)
def test_bad_candle_requests_are_refused(base, product, change, status):
    query = {"start": 1_696_464_000, "end": 1_696_464_600, "granularity": "ONE_MINUTE"} | change
    response = httpx.get(f"{base}/api/v3/brokerage/market/products/{product}/candles", params=query)
    assert response.status_code == status


def test_ccxt_maps_a_refusal_to_its_own_error(base):
    with pytest.raises(ccxt.BadRequest):
        coinbase(base).fetch_ohlcv("BTC/USD", "1h", since=millis(2023, 10, 5))


def test_the_server_stops_and_leaves_logging_alone():
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with serve(create_app(SPEC, None, None, today=TODAY)) as base:
        assert dataset(base, "coinbase/gossip/2023/10/05/BTC-USD", None).status_code == 400
    assert (root.level, list(root.handlers)) == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(base)


def test_an_app_serves_a_market_or_recordings():
    with pytest.raises(ValueError, match="either"):
        create_app(None, None, None)
    with pytest.raises(ValueError, match="either"):
        create_app(SPEC, SHARED, None)


@needs_recordings
def test_recorded_datasets_are_served_byte_for_byte(recorded):
    files = sorted((SHARED / "tardis").glob("*/*/*/*.csv.gz"))
    assert files
    for file in files:
        exchange, data_type, day, name = file.relative_to(SHARED / "tardis").parts
        response = httpx.get(f"{recorded}/v1/{exchange}/{data_type}/{day.replace('-', '/')}/{name}")
        assert response.content == file.read_bytes()


@needs_recordings
def test_recordings_are_never_invented(recorded):
    for path in ("binance/trades/2024/08/07/BTCUSDT", "coinbase/trades/2024/08/08/BTC-USD"):
        assert dataset(recorded, path, None).status_code == 404
    coins = f"{recorded}/api/v3/brokerage/market/products"
    query = {"start": 1_677_628_800, "end": 1_677_629_400, "granularity": "ONE_MINUTE"}
    assert httpx.get(f"{coins}/ETH-USD/candles", params=query).status_code == 404
    later = query | {"start": 1_696_464_000, "end": 1_696_464_600}
    assert httpx.get(f"{coins}/BTC-USD/candles", params=later).json() == {"candles": []}


@needs_recordings
def test_ccxt_reads_recorded_minutes_and_days(recorded):
    minutes = pl.read_parquet(SHARED / "candles" / "coinbase" / "BTC-USD.parquet").sort("ts")
    outage = datetime(2023, 3, 4, 16, tzinfo=UTC)  # 17:00 to 21:37 are missing
    got = coinbase(recorded).fetch_ohlcv("BTC/USD", "1m", since=millis(2023, 3, 4, 16), limit=300)
    expected = minutes.filter(pl.col("ts").is_between(outage, datetime(2023, 3, 4, 21, tzinfo=UTC)))
    assert got == [list(row) for row in expected.with_columns(pl.col("ts").dt.epoch("ms")).rows()]
    assert 0 < len(got) < 100

    days = coinbase(recorded).fetch_ohlcv("BTC/USD", "1d", since=millis(2023, 2, 1), limit=300)
    assert [row[0] for row in days] == [millis(2023, 3, day) for day in range(1, 22)]
    first = minutes.filter(pl.col("ts").dt.date() == date(2023, 3, 1))
    assert days[0][1:5] == [first["open"][0], first["high"].max(), first["low"].min(), first["close"][-1]]
    assert days[0][5] == pytest.approx(first["volume"].sum())


def test_recordings_mode_reads_any_folder(tmp_path):
    file = tmp_path / "tardis" / "coinbase" / "trades" / "2024-01-01" / "BTC-USD.csv.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress(b"made by hand"))
    ts = pl.Series([datetime(2024, 1, 1, 0, n, tzinfo=UTC) for n in range(2)]).cast(pl.Datetime("us", "UTC"))
    prices = {"open": [10.0, 11.0], "high": [12.0, 11.5], "low": [9.0, 8.5], "close": [11.0, 9.0]}
    (tmp_path / "candles" / "coinbase").mkdir(parents=True)
    frame = pl.DataFrame({"ts": ts, **prices, "volume": [1e-7, 2.0]})
    frame.write_parquet(tmp_path / "candles" / "coinbase" / "BTC-USD.parquet")
    with serve(create_app(None, tmp_path, KEY)) as base:
        assert dataset(base, "coinbase/trades/2024/01/01/BTC-USD", None).content == file.read_bytes()
        assert dataset(base, "coinbase/trades/2024/01/02/BTC-USD").status_code == 404
        days = coinbase(base).fetch_ohlcv("BTC/USD", "1d", since=millis(2023, 12, 30))
    assert days == [[millis(2024, 1, 1), 10.0, 12.0, 8.5, 9.0, pytest.approx(2.0000001)]]


def test_the_market_ends_where_the_clock_stands():
    today = [DAY]
    with serve(create_app(SPEC, None, None, today=lambda: today[0])) as url:
        path = f"{url}/v1/coinbase/trades/{DAY:%Y/%m/%d}/BTC-USD.csv.gz"
        assert httpx.get(path).status_code == 404
        today[0] = TODAY
        assert httpx.get(path).status_code == 200


def test_a_fault_is_planted_and_lifted_while_the_market_is_served():
    """Two in a hundred rows unreadable: more than a partition may lose, and nothing else is touched."""
    with serve(create_app(SPEC, None, None, today=TODAY)) as url:
        paths = [f"{url}/v1/coinbase/{t}/{DAY:%Y/%m/%d}/BTC-USD.csv.gz" for t in ("trades", "incremental_book_L2")]
        sound = [httpx.get(p).content for p in paths]
        fault = {"symbol": "BTC-USD", "day": DAY.isoformat()}
        assert httpx.post(f"{url}/sandbox/faults", params=fault).json() == [fault]
        spoilt = gzip.decompress(httpx.get(paths[0]).content).splitlines()
        share = sum(b",garbage," in line for line in spoilt) / len(spoilt)
        assert MAX_QUARANTINE_SHARE < 0.019 < share < 0.021
        assert httpx.get(paths[1]).content == sound[1]
        assert httpx.delete(f"{url}/sandbox/faults", params=fault).json() == []
        assert [httpx.get(p).content for p in paths] == sound
        assert httpx.post(f"{url}/sandbox/faults", params={"symbol": "BTC-USD"}).status_code == 400
    with serve(create_app(None, Path("."), None)) as url:
        assert httpx.get(f"{url}/sandbox/faults").status_code == 404  # recordings are served as they are
