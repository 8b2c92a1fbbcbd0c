"""Settled funding: what each venue's number means, and stamps that are placed in UTC by a declared zone."""

import itertools
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import ccxt
import polars as pl
import pytest
from raw.exchange import OPTIONS, checks_of, exchange, materialise

from crpbot_dagster.assets.raw.funding import Grid, OffGrid, deribit_rates, funding_rates, kraken_rates, on_grid
from crpbot_dagster.partitions import key
from crpbot_dagster.resources.deribit import Deribit
from crpbot_dagster.resources.kraken import KrakenFutures
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sandbox.market import MarketSpec
from crpbot_dagster.sandbox.server import create_app, serve

DAY = date(2024, 1, 2)
NOON_MS = int(datetime(2024, 1, 2, 12, tzinfo=UTC).timestamp() * 1000)
SPEC = MarketSpec(7, 0.3)


def test_kraken_s_recorded_rates_are_the_relative_ones_of_the_hour_that_begins(shared_data: Path) -> None:
    path = shared_data / "responses/kraken/http_futures_historical_funding_rates.json"
    records = json.loads(path.read_text())["rates"]
    days = {date(2025, 7, 10): records[2:], date(2025, 7, 11): records[:2]}
    found = [kraken_rates(rows, day) for day, rows in days.items()]
    assert all(p.refused.is_empty() for p in found)
    rows = pl.concat([p.frame.collect() for p in found]).sort("ts")
    assert rows["rate_frac"].to_list() == [0.00015, -0.00005, 0.0001], "not the dollars beside them"
    assert rows["rate_1h_frac"].to_list() == rows["rate_frac"].to_list()
    assert rows["ts"][0] == datetime(2025, 7, 10, 16, tzinfo=UTC)
    assert rows["available_ts"][0] == datetime(2025, 7, 10, 17, 1, tzinfo=UTC), "once the hour is over"


def test_deribit_s_rate_is_the_hour_s_and_not_the_one_ccxt_names() -> None:
    record = {"timestamp": NOON_MS, "index_price": 8222.87, "prev_index_price": 8305.72,
              "interest_8h": -0.00009234260068476106, "interest_1h": -4.739622041017375e-7}  # fmt: skip
    assert ccxt.deribit().parse_funding_rate(record, {"symbol": "BTC/USD:BTC"})["fundingRate"] == record["interest_8h"]
    row = deribit_rates([record], DAY).frame.collect().row(0, named=True)
    assert row["rate_1h_frac"] == record["interest_1h"] and row["interval_h"] == 1
    assert row["available_ts"] == datetime(2024, 1, 2, 12, 1, tzinfo=UTC), "the hour that ended at the stamp"


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": NOON_MS + 60_000}, {"timestamp": NOON_MS + 86_400_000}, {"timestamp": NOON_MS * 1000},
        {"timestamp": NOON_MS // 1000}, {"timestamp": 0}, {"timestamp": -1}, {"timestamp": 9 * 10**18},
        {"timestamp": 10**30}, {"timestamp": "noon"}, {"timestamp": None}, {"interest_1h": None},
        {"interest_1h": "x"}, {"interest_1h": 0.2}, {"interest_1h": float("nan")}, {"interest_1h": float("inf")},
    ],
)  # fmt: skip
def test_a_bad_rate_is_refused(change: dict[str, Any]) -> None:
    sound = {"timestamp": NOON_MS, "interest_1h": 1e-5}
    parsed = deribit_rates([sound | change, sound, None, {}], DAY)
    assert parsed.refused["line_n"].to_list() == [1, 3, 4] and parsed.frame.collect().height == 1


# --- other vendors' files: the zone is declared, never guessed ----------------------------------------------

EIGHT, HOURLY = Grid(8), Grid(1)
FILES = {
    "binance": ("Etc/GMT-3", EIGHT), "bybit": ("Etc/GMT-3", EIGHT), "htx": ("Etc/GMT-3", EIGHT),
    "mexc": ("Etc/GMT-3", EIGHT), "kucoin": ("Etc/GMT-3", Grid(8, first_h=4)), "gate": ("UTC", EIGHT),
    "dydx": ("UTC", HOURLY),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(shared_data: Path) -> dict[str, pl.DataFrame]:
    def read(venue: str) -> pl.DataFrame:
        frame = pl.read_csv(shared_data / f"series/funding/BTC-USDT_{venue}.csv.gz", infer_schema=False)
        return frame.select(pl.col("Date").str.to_datetime(time_unit="us"), pl.col("Funding Rate").cast(pl.Float64))

    return {venue: read(venue) for venue in FILES}


LATE = {"htx": 7}  # settlements that htx made hours late, of 3,284
SETTLES_THE_INTERVAL_THAT_ENDS = ("binance", "mexc", "dydx")
SETTLES_THE_ONE_BEFORE = ("bybit", "htx", "gate")


@pytest.mark.parametrize("venue", FILES)
def test_declared_right_the_stamps_are_settlements(venue: str, files) -> None:
    zone, grid = FILES[venue]
    placed = on_grid(files[venue]["Date"], zone, grid)
    assert placed.dtype == pl.Datetime("us", "UTC") and placed.null_count() == LATE.get(venue, 0)
    assert set(placed.drop_nulls().dt.hour().unique()) == set(range(grid.first_h, 24, grid.interval_h))
    assert placed.dt.minute().max() == 0 and placed.dt.microsecond().max() == 0, "late milliseconds are gone"


@pytest.mark.parametrize("venue", [v for v, (_, grid) in FILES.items() if grid.interval_h == 8])
def test_declared_wrong_the_file_is_refused(venue: str, files) -> None:
    zone, grid = FILES[venue]
    with pytest.raises(OffGrid, match="declare the zone"):
        on_grid(files[venue]["Date"], "UTC" if zone != "UTC" else "Etc/GMT-3", grid)


def correlation(files: dict[str, pl.DataFrame], a: str, b: str, lag_h: int) -> float:
    """Of the rates per eight hours of two venues, the second moved ``lag_h`` hours later."""

    def placed(venue: str) -> pl.DataFrame:
        zone, grid = FILES[venue]
        frame = files[venue].select(on_grid(files[venue]["Date"], zone, grid).alias("ts"), pl.col("Funding Rate"))
        # An hourly venue: the sum of the hours that end at the settlement.
        rate = pl.col("Funding Rate").rolling_sum(8) if grid == HOURLY else pl.col("Funding Rate")
        return frame.drop_nulls().unique("ts").sort("ts").select("ts", rate.alias("rate")).drop_nulls()

    moved = placed(b).with_columns(pl.col("ts") + timedelta(hours=lag_h))
    return float(placed(a).join(moved, on="ts", suffix="_b").select(pl.corr("rate", "rate_b")).item())


@pytest.mark.parametrize("family", [SETTLES_THE_INTERVAL_THAT_ENDS, SETTLES_THE_ONE_BEFORE], ids=str)
def test_placed_rates_correlate_most_at_lag_0_among_venues_that_settle_alike(family, files) -> None:
    for a, b in itertools.combinations(family, 2):
        found = {lag: correlation(files, a, b, lag) for lag in (-16, -8, 0, 8, 16)}
        assert max(found, key=lambda lag: found[lag]) == 0 and found[0] > 0.45, (a, b, found)


def test_venues_that_settle_the_interval_before_trail_by_one(files) -> None:
    for venue in SETTLES_THE_ONE_BEFORE:
        found = {lag: correlation(files, "binance", venue, lag) for lag in (-16, -8, 0, 8, 16)}
        assert max(found, key=lambda lag: found[lag]) == -8, (venue, found)


def test_nothing_on_an_hourly_grid_betrays_a_wrong_zone_but_the_correlation(files, monkeypatch) -> None:
    found = {}
    for zone in ("UTC", "Etc/GMT-3", "Etc/GMT+3"):
        monkeypatch.setitem(FILES, "dydx", (zone, HOURLY))
        assert on_grid(files["dydx"]["Date"], zone, HOURLY).null_count() == 0
        found[zone] = correlation(files, "binance", "dydx", 0)
    assert max(found, key=lambda zone: found[zone]) == "UTC", found


# --- the asset ----------------------------------------------------------------------------------------------


def venues_at(url: str) -> dict[str, Any]:
    return {
        "kraken_futures": KrakenFutures(endpoint=f"{url}/kraken_futures", **OPTIONS),
        "deribit": Deribit(endpoint=f"{url}/deribit", **OPTIONS),
    }


@pytest.mark.parametrize("symbol", ["BTC-USD", "SOL-USD"])
def test_both_venues_have_their_24_hours_and_agree(symbol: str, tmp_path: Path) -> None:
    lake, day = Lake(url=str(tmp_path), market="sandbox", start_day="2023-11-10"), date(2023, 11, 17)
    with serve(create_app(SPEC, None, None, today=date(2023, 11, 20))) as url:
        made = materialise(funding_rates, key(symbol, day), lake, **venues_at(url))
    assert made.success and all(checks_of(made).values()), checks_of(made)
    held = lake.window("raw/funding_rates", symbol, day, day).collect()
    assert held.group_by("venue").len().sort("venue").rows() == [("deribit", 24), ("kraken_futures", 24)]
    wide = held.pivot("venue", index="ts", values="rate_1h_frac")
    assert wide.select(pl.corr("deribit", "kraken_futures")).item() > 0.3
    assert lake.state("raw/funding_rates", symbol, day) == "complete"


def test_a_venue_without_the_contract_leaves_the_day_partial_and_none_missing(tmp_path: Path, environment) -> None:
    lake, day = Lake(url=str(tmp_path / "lake"), market="sandbox", start_day="2023-11-10"), date(2023, 11, 17)
    unknown = {"errors": [{"code": 11, "message": "Argument invalid: symbol"}], "result": "error"}
    nobody = {"error": {"code": 13020, "message": "not_found"}}
    with (
        serve(create_app(SPEC, None, None, today=date(2023, 11, 20))) as url,
        exchange(lambda _: unknown) as no_kraken,
        exchange(lambda _: nobody) as no_deribit,
    ):
        of = venues_at(url)
        one = of | {"kraken_futures": KrakenFutures(endpoint=no_kraken, **OPTIONS)}
        assert materialise(funding_rates, key("BTC-USD", day), lake, **one).success
        assert lake.state("raw/funding_rates", "BTC-USD", day) == "partial"
        assert lake.window("raw/funding_rates", "BTC-USD", day, day).collect()["venue"].unique().to_list() == [
            "deribit"
        ]
        none = one | {"deribit": Deribit(endpoint=no_deribit, **OPTIONS)}
        assert materialise(funding_rates, key("ETH-USD", day), lake, **none).success
        assert lake.state("raw/funding_rates", "ETH-USD", day) == "missing"
        assert not materialise(funding_rates, key("BTC-USD", day), lake, **none).success, "a held day is not erased"
        early = date(2023, 11, 25)  # not over yet in the sandbox: both answer with nothing
        assert materialise(funding_rates, key("BTC-USD", early), lake, **of).success
        assert lake.state("raw/funding_rates", "BTC-USD", early) == "missing"
        environment(market="recordings", recordings=str(tmp_path))
        assert materialise(funding_rates, key("SOL-USD", day), lake, **of).success
    assert lake.state("raw/funding_rates", "SOL-USD", day) == "not_configured"
