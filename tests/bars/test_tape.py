"""Trades and candles to minutes: against the naive twin, the exchange's own candles, and by hand."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import naive_bars
import polars as pl
import pytest
from conftest import with_clocks

from crpbot_dagster.assets.bars import tape
from crpbot_dagster.assets.raw.dataset_file import typed_scan
from crpbot_dagster.assets.raw.tardis import TRADES, trades_from
from crpbot_dagster.sandbox.market import tape as market_tape

DAY = date(2024, 1, 2)
START = datetime(2024, 1, 2, tzinfo=UTC)


def ticks(*rows: tuple[float, str | None, float, float]) -> pl.DataFrame:
    """(seconds into the day, side, price, amount) each; both clocks agree."""
    at = [START + timedelta(seconds=s) for s, *_ in rows]
    return pl.DataFrame(
        {
            "ts_exchange": at,
            "ts_received": at,
            "seq": list(range(len(rows))),
            "side": [r[1] for r in rows],
            "price": [r[2] for r in rows],
            "amount": [r[3] for r in rows],
        },
        schema={
            "ts_exchange": pl.Datetime("us", "UTC"),
            "ts_received": pl.Datetime("us", "UTC"),
            "seq": pl.Int64,
            "side": pl.String,
            "price": pl.Float64,
            "amount": pl.Float64,
        },
    )


def assert_equal(ours: pl.DataFrame, twin: pl.DataFrame) -> None:
    for name in twin.columns:
        a, b = ours[name], twin[name]
        if name == "ts":
            assert a.equals(b)
            continue
        assert (a.is_null() == b.is_null()).all(), f"{name}: nulls differ"
        difference = ((a - b).abs() / (b.abs() + 1e-9)).max()
        assert difference is None or difference < 1e-9, f"{name}: {difference}"


@pytest.mark.parametrize("clock", ["received", "exchange"])
def test_trades_1m_equals_its_naive_twin(market, clock: str) -> None:
    day = date(2023, 11, 16)
    rows = with_clocks(market_tape(market, "ETH-USD", day)).with_row_index("n")
    holed = rows.filter((pl.col("n") % 997 > 400) | (pl.col("n") < 900))
    unsided = holed.with_columns(pl.when(pl.col("n") % 7 > 0).then(pl.col("side")).alias("side")).drop("n")
    assert_equal(tape.trades_1m(unsided.lazy(), day, 0.5, clock), naive_bars.trades_1m(unsided, day, 0.5, clock))


def test_one_minute_by_hand() -> None:
    made = tape.trades_1m(
        ticks((0.4, "buy", 100, 1), (1.0, "sell", 99, 2), (30, None, 101, 4), (61, "buy", 105, 1)).lazy(),
        DAY, 2.0, "received",
    )  # fmt: skip
    first = made.row(0, named=True)
    assert (first["open"], first["high"], first["low"], first["close"]) == (100, 101, 99, 101)
    assert first["open_1s"] == 99
    assert (first["volume"], first["volume_usd"]) == (7, 100 + 198 + 404)
    assert (first["buy_volume"], first["sell_volume"], first["unknown_volume"]) == (1, 2, 4)
    assert (first["buy_count_n"], first["sell_count_n"], first["trade_count_n"]) == (1, 1, 3)
    assert (first["large_buy_volume_usd"], first["large_sell_volume_usd"]) == (0, 198)
    assert made.row(2, named=True)["close"] is None and made.row(2, named=True)["volume"] == 0


def test_a_trade_at_midnight_belongs_to_the_next_day() -> None:
    rows = ticks((86_399.999999, "buy", 100, 1), (86_400, "buy", 200, 1))
    assert tape.trades_1m(rows.lazy(), DAY, None, "received")["close"].drop_nulls().to_list() == [100]
    after = tape.trades_1m(rows.lazy(), DAY + timedelta(days=1), None, "received")
    assert after["close"].drop_nulls().to_list() == [200]


def test_a_run_of_empty_minutes_is_a_gap_from_its_tenth_minute_on() -> None:
    made = tape.trades_1m(ticks((0, "buy", 100, 1), (12 * 60, "buy", 101, 1)).lazy(), DAY, None, "received")
    assert made["is_gap"][:13].to_list() == [0] * 10 + [1, 1] + [0]
    assert made["volume"][9:13].to_list() == [0, None, None, 1]


def test_large_threshold_needs_six_of_seven_days() -> None:
    def known(*volumes: float | None) -> float | None:
        return tape.large_threshold(pl.DataFrame({"volume": volumes}, schema={"volume": pl.Float64}))

    assert known(*[10_000.0] * 6, None) == 1.0
    assert known(*[10_000.0] * 5, None, None) is None


def test_candles_fill_the_reduced_set_only(market) -> None:
    candles = pl.DataFrame({"ts": [START], "open": [1.0], "high": [2.0], "low": [0.5], "close": [1.5], "volume": [3.0]})
    made = tape.candles_1m(candles.with_columns(pl.col("ts").dt.cast_time_unit("us")), DAY)
    assert made.height == 1440
    first = made.row(0, named=True)
    assert (first["close"], first["volume"], first["buy_volume"], first["trade_count_n"]) == (
        1.5,
        3.0,
        None,
        None,
    )


def test_candles_with_a_quote_volume_have_a_volume_in_usd_and_a_vwap_that_fits() -> None:
    minute = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 2.0}
    quotes = (5.0, 9.0, 0.0)  # 2.5 a coin; 4.5, which no trade of the candle had; no trade at all
    rows = [{"ts": datetime(2024, 1, 2, 0, i, tzinfo=UTC)} | minute | {"quote_volume": q} for i, q in enumerate(quotes)]
    rows[2] |= {"volume": 0.0}
    candles = pl.DataFrame(rows).with_columns(pl.col("ts").dt.cast_time_unit("us"))
    made = tape.candles_1m(candles, date(2024, 1, 2))
    assert made["volume_usd"][:4].to_list() == [5.0, 9.0, 0.0, 0.0] and made["vwap"][:4].to_list() == [
        2.5,
        None,
        None,
        None,
    ]
    assert made["volume_usd"][20] is None, "a gap knows nothing"
    without = tape.candles_1m(candles.drop("quote_volume"), date(2024, 1, 2))
    assert without["volume_usd"].null_count() == 1440 == without["vwap"].null_count()


def test_binance_trades_rebuild_the_exchange_s_own_candles(shared_data: Path) -> None:
    """data/README.md: the two five-minute candles, exactly; the receive clock differs by the recorder's 1.26 s."""
    made = {}
    for day in (date(2024, 8, 8), date(2024, 8, 9)):
        path = shared_data / f"tardis/binance/trades/{day}/BTCUSDT.csv.gz"
        made[day] = trades_from(typed_scan(path, TRADES)).collect()
    # The recording runs across midnight, and its clock runs behind: read both files for either clock.
    both = pl.concat(made.values())
    candle = {}
    for clock in ("exchange", "received"):
        bars = pl.concat([tape.trades_1m(both.lazy(), day, None, clock) for day in made]).filter(
            pl.col("close").is_not_null()
        )
        for start in (datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, 0, 0, tzinfo=UTC)):
            five = bars.filter(pl.col("ts").is_between(start, start + timedelta(minutes=5), closed="left"))
            candle[clock, start.hour] = (
                five["open"][0], five["high"].max(), five["low"].min(), five["close"][-1],
                round(five["volume"].sum(), 5),
            )  # fmt: skip
    assert candle["exchange", 23] == (61828.00, 61860.80, 61583.22, 61685.99, 199.42863)
    assert candle["exchange", 0] == (61686.00, 61744.37, 61556.04, 61607.99, 221.61722)
    assert candle["received", 23] != candle["exchange", 23]
    lag = (both["ts_received"] - both["ts_exchange"]).dt.total_microseconds().median() / 1e6
    assert lag == pytest.approx(-1.26, abs=0.02)
    shifted = both.with_columns((pl.col("ts_received") - pl.duration(microseconds=int(lag * 1e6))).alias("ts_received"))
    again = pl.concat([tape.trades_1m(shifted.lazy(), d, None, "received") for d in made]).filter(
        pl.col("close").is_not_null()
    )
    five = again.filter(pl.col("ts").dt.hour() == 23, pl.col("ts").dt.minute() >= 55)
    assert five["volume"].sum() == pytest.approx(199.42863, rel=0.02)
