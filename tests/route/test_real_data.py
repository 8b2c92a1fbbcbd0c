"""The same route on real recordings, served through the sources' wire formats."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from features.nulls import null_shares
from route.crpbot import Crpbot

from crpbot_dagster.tables.features import V5
from crpbot_dagster.tables.features_mr import MEAN_REVERSION

EMPTY_2015 = {
    "window longer than the five recorded hours": (
        "ou_half_life_min_12h hurst_12h variance_ratio_z_15_12h realized_vol_rank_1d"
    ),
    "the recording has 20 levels": "ob_imbalance_25 depth_z_4h",
    "four of five minutes must have a trade, two of five have": (
        "trade_size_z_1h ema_dev_bps_60m rsi adx_14m is_ranging"
    ),
    "no volume of earlier days: the size of a bucket is not known": "vpin vpin_ma10 ix_vpin_size",
    "no perpetuals in 2015": (
        "funding_rate_bps_8h funding_parity_dev_bps funding_z_30d basis_bps liq_imbalance_1h is_stale_derivatives"
    ),
    "no book of the partner": ("lead_ret_log_5m lead_residual_bps_15m lead_corr_4h lead_lag_asym_4h ratio_zscore_4h"),
}


def recorded(tmp_path: Path, folder: Path, **values: str) -> Crpbot:
    base = {"market": "recordings", "recordings": str(folder), "symbols": '["BTC-USD"]'}
    return Crpbot(tmp_path / "state", base | values)


def test_bitstamp_2015_builds_v5_and_mean_reversion(shared_data: Path, tmp_path: Path) -> None:
    day = date(2015, 5, 1)
    crpbot = recorded(tmp_path, shared_data, start_day=str(day), primary='{"BTC-USD": "bitstamp/tardis"}')
    done = crpbot("run", "--from", str(day), "--to", str(day), "--until", "features")
    assert done.returncode == 0, done.stderr
    book = crpbot.read("bars/book_1m", "BTC-USD", day, day)
    v5 = crpbot.read("features/v5", "BTC-USD", day, day)
    assert v5.height == 1440
    minutes = v5.head(304)
    whole = ["ob_imbalance_1", "ob_imbalance_5", "ob_imbalance_10", "ofi_1m", "spread_bps"]
    valid = minutes.select(pl.all_horizontal(pl.col(whole).is_not_null()).mean()).item()
    assert valid >= 0.95
    # Every null has its rule: no valid state at the minute's end, or valid for less than half of it.
    holes = minutes.with_row_index().filter(pl.col("spread_bps").is_null())
    assert (book["valid_frac"].gather(holes["index"]) < 0.5).all()
    ends = minutes.with_row_index().filter(pl.col("ob_imbalance_1").is_null())
    assert book["best_bid"].gather(ends["index"]).is_null().all()
    # The recording has 20 levels: the 25-level imbalance is null, never a smaller sum.
    assert minutes["ob_imbalance_25"].null_count() == 304
    # No volumes of earlier days: the threshold of large trades is not known.
    assert v5["trade_flow_large_frac"].null_count() == 1440
    reversion = crpbot.read("features/mean_reversion", "BTC-USD", day, day)
    null_shares("V5, bitstamp BTC-USD, the recorded 304 minutes", V5, minutes)
    shares = null_shares("mean reversion, the same", MEAN_REVERSION, reversion.head(304))
    assert {n for n, share in shares.items() if share == 1} == set(" ".join(EMPTY_2015.values()).split())


def test_binance_2024_builds_two_days_across_midnight(shared_data: Path, tmp_path: Path) -> None:
    first, last = date(2024, 8, 8), date(2024, 8, 9)
    crpbot = recorded(tmp_path, shared_data, start_day=str(first), primary='{"BTC-USD": "binance/tardis"}')
    done = crpbot("run", "--from", str(first), "--to", str(last), "--until", "features")
    assert done.returncode == 0, done.stderr
    for day, minutes in ((first, slice(1434, 1440)), (last, slice(0, 5))):
        trades = crpbot.read("bars/trades_1m", "BTC-USD", day, day).filter(pl.col("source") == "tardis")
        book = crpbot.read("bars/book_1m", "BTC-USD", day, day)
        assert trades[minutes]["close"].null_count() == 0
        assert (book[minutes]["valid_frac"] > 0.9).sum() >= 4
        assert book["crossed_n"].sum() == 0
    ticks = crpbot.read("raw/tardis_trades", "BTC-USD", first, first)
    lag = (ticks["ts_received"] - ticks["ts_exchange"]).dt.total_microseconds().median() / 1e6
    assert lag == pytest.approx(-1.26, abs=0.02)


def test_bitfinex_2018_from_candle_files_builds_v4_and_labels(shared_data: Path, tmp_path: Path) -> None:
    first, last = date(2018, 11, 10), date(2018, 11, 11)  # the quietest weekend of the year
    only_files = {"market": "recordings", "candle_files": str(shared_data / "candles"), "symbols": '["BTC-USD"]'}
    primary = {"primary": '{"BTC-USD": "bitfinex/files"}', "start_day": str(first)}
    crpbot = Crpbot(tmp_path / "state", only_files | primary)
    done = crpbot("run", "--from", str(first), "--to", str(last), "--until", "features")
    assert done.returncode == 0, done.stderr
    delivered = pl.read_parquet(shared_data / "candles/bitfinex/BTC-USD.parquet").filter(
        pl.col("ts").dt.date().is_between(first, last)
    )
    assert delivered.height == 1230 + 1227, "a minute without a trade is absent"
    raw = crpbot.read("raw/candle_files", "BTC-USD", first, last)
    assert set(raw["venue"]) == {"bitfinex"} and raw.select(delivered.columns).equals(delivered)
    bars = crpbot.read("bars/trades_1m", "BTC-USD", first, last)
    assert set(bars["source"]) == {"files"} and bars.height == 2 * 1440
    on_grid = bars.select("ts").join(delivered, on="ts", how="left", maintain_order="left")
    for column in ("open", "high", "low", "close"):
        assert bars[column].equals(on_grid[column]), column
    v4 = crpbot.read("features/v4", "BTC-USD", first, last)
    assert v4["close"].equals(on_grid["close"]) and v4["sma_7"].is_not_null().mean() > 0.7
    volume = crpbot.read("bars/volume_1d", "BTC-USD", first, last).sort("day")
    assert volume["volume_from"].to_list() == ["minutes"] * 2
    assert volume["volume"].sum() == pytest.approx(delivered["volume"].sum(), rel=1e-12)
    labels = crpbot.read("features/labels", "BTC-USD", first, first)
    assert set(labels["price_source"]) == {"ohlcv"}
    # Entry at the open of the next minute, exit at the close of the fifteenth.
    expected = (on_grid["close"].shift(-15) / on_grid["open"].shift(-1)).log().head(labels.height)
    assert (labels["y_ret_15m"] - expected).abs().max() < 1e-12
    assert labels["y_ret_15m"].null_count() == expected.null_count() > 0


def test_coinbase_march_2023_is_judged_and_its_outage_is_seen(shared_data: Path, tmp_path: Path) -> None:
    windows = {"fit_days": "9", "stop_days": "1", "calibrate_days": "2", "test_days": "6"}
    crpbot = recorded(
        tmp_path, shared_data, start_day="2023-03-01", primary='{"BTC-USD": "coinbase/coinbase"}', **windows
    )
    done = crpbot("run", "--from", "2023-03-02", "--to", "2023-03-21")
    assert done.returncode == 1, done.stderr  # a gate failed: nothing is promoted
    outage = date(2023, 3, 4)
    bars = crpbot.read("bars/trades_1m", "BTC-USD", outage, outage).filter(pl.col("source") == "coinbase")
    gap = bars.filter(pl.col("is_gap") == 1)
    assert gap.height > 250 and gap["close"].null_count() == gap.height
    hours = gap.filter(pl.col("ts").dt.hour().is_between(17, 21))
    assert str(hours["ts"].min())[11:16] >= "17:00" and str(hours["ts"].max())[11:16] <= "21:40"
    v4 = crpbot.read("features/v4", "BTC-USD", outage, outage)
    assert v4.filter(pl.col("ts").is_in(gap["ts"].to_list()))["close"].null_count() == gap.height
    status = crpbot.events(
        "from dagster._core.definitions.asset_checks.asset_check_spec import AssetCheckKey",
        "from dagster._core.storage.event_log.base import PartitionKeyFilter",
        "check = AssetCheckKey(dg.AssetKey(['bars', 'trades_1m']), 'gaps')",
        "for day in ('2023-03-04', '2023-03-09'):",
        "    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([check], "
        "partition_filter=PartitionKeyFilter(key=f'{day}|BTC-USD'))",
        "    print(found[check].status.value)",
    ).splitlines()
    assert status == ["FAILED", "SUCCEEDED"]
    last = date(2023, 3, 21)
    rows = crpbot.read("promotion/promoted_model", "BTC-USD", last, last)
    verdict = rows.filter(rows["gate"] == "verdict").row(0, named=True)
    assert verdict["family"] == "logistic_v4" and verdict["verdict"] == "INSUFFICIENT"
    assert 0.45 < verdict["value"] < 0.60
    model = crpbot.read("models/logistic_v5", "BTC-USD", date(2023, 3, 14), date(2023, 3, 14))
    assert model["state"][0] == "not_trained"
