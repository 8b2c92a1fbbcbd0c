"""Which source to trust on which day: on real candles with a known answer, and on planted faults of a source."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import DAYS, with_clocks

from crpbot_dagster.assets.bars.tape import candles_1m, minute_grid
from crpbot_dagster.assets.evaluations.assets import SOURCE_COMPARISON, SOURCE_COMPARISON_LINEAGE
from crpbot_dagster.assets.evaluations.tick_rule import tick_rule_agreement
from crpbot_dagster.assets.raw.minute_file import read_day
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.resources.warehouse import Warehouse
from crpbot_dagster.sandbox.market import tape
from crpbot_dagster.tables import TABLES

SYMBOL, DAY = "BTC-USD", date(2024, 1, 2)
TABLE = TABLES["bars/trades_1m"]


def bars(minutes: pl.DataFrame, name: str, day: date, kind: str = "ohlcv") -> pl.DataFrame:
    venue, _, source = name.partition("/")
    keys = {"symbol": SYMBOL, "day": day, "venue": venue, "source": source, "source_kind": kind, "clock": "exchange"}
    return TABLE.conform(minutes.with_columns(**{k: pl.lit(v) for k, v in keys.items()}).lazy()).collect()


def compared(
    folder: Path, day: date, *parts: pl.DataFrame, primary: str, sides: dict[str, float] | None = None
) -> pl.DataFrame:
    """The comparison of a day whose bars are ``parts``."""
    lake, sides = Lake(url=str(folder), market="sandbox", start_day="2015-01-01"), sides or {}
    frame = pl.concat([TABLE.empty(), *parts])
    lake.publish(TABLE.name, frame, SYMBOL, day, "complete" if frame.height else "missing")
    bound = {"tick_rule_names": list(sides), "tick_rule_fracs": list(sides.values())}
    made, offending = Warehouse(lake=lake).made(SOURCE_COMPARISON, SYMBOL, day, primary=primary, **bound)
    assert not made.height or offending == {"source_comparison_one_primary": 0}
    return TABLES["evaluations/source_comparison"].conform(made.lazy()).collect()


def one(made: pl.DataFrame, name: str, other: str) -> dict:
    here = pl.concat_str("venue", "source", separator="/") == name
    return made.filter(here, pl.concat_str("other_venue", "other_source", separator="/") == other).row(0, named=True)


# --- three weeks of real candles ----------------------------------------------------------------------------


def recorded(shared_data: Path, venue: str, day: date) -> pl.DataFrame:
    return candles_1m(read_day(shared_data / "candles" / venue / "BTC-USD.parquet", day).candles, day)


def test_coinbase_and_kraken_of_march_2023_have_the_known_answer(shared_data: Path, tmp_path: Path) -> None:
    """Mean +2.2 bps, sd 6.2 bps, correlation 0.91: the three weeks put into one partition, so that SQL sees all."""
    days = [date(2023, 3, 1) + timedelta(i) for i in range(21)]
    parts = [
        bars(pl.concat([recorded(shared_data, venue, d) for d in days]), f"{venue}/files", days[0])
        for venue in ("coinbase", "kraken")
    ]
    made = compared(tmp_path, days[0], *parts, primary="coinbase/files")
    row = one(made, "coinbase/files", "kraken/files")
    assert (round(row["diff_mean_bps"], 1), round(row["diff_sd_bps"], 1), round(row["corr_0"], 2)) == (2.2, 6.2, 0.91)
    assert row["shift_min"] == 0 and row["both_n"] == 29_889
    back = one(made, "kraken/files", "coinbase/files")
    assert back["diff_mean_bps"] == pytest.approx(-row["diff_mean_bps"]) and back["corr_p1"] == pytest.approx(
        row["corr_m1"]
    )


def test_the_outage_of_coinbase_is_found_and_kraken_is_chosen(shared_data: Path, tmp_path: Path) -> None:
    """2023-03-04, 17:00 to 21:37: in Kraken's minutes and not in Coinbase's."""
    day = date(2023, 3, 4)
    own = {v: recorded(shared_data, v, day) for v in ("coinbase", "kraken")}
    made = compared(tmp_path, day, *(bars(f, f"{v}/files", day) for v, f in own.items()), primary="coinbase/files")
    row = one(made, "coinbase/files", "kraken/files")
    outage = own["coinbase"].filter(pl.col("close").is_null() & pl.col("ts").is_between(
        datetime(2023, 3, 4, 17, tzinfo=UTC), datetime(2023, 3, 4, 21, 37, tzinfo=UTC), closed="left"))  # fmt: skip
    assert outage.height == 277
    assert (
        row["coverage_frac"] == pytest.approx(own["coinbase"]["close"].is_not_null().mean())
        and row["coverage_frac"] < 0.82
    )
    missing = row["other_only_n"] + row["neither_n"]
    assert missing >= 277 and row["other_only_n"] >= 250 and row["missing_overlap_frac"] < 0.1
    assert row["grade"] == "C" and row["is_configured"] and not row["is_primary"]
    other = one(made, "kraken/files", "coinbase/files")
    assert other["grade"] in "AB" and other["is_primary"]
    assert "confirmed by 1 of 1 others; the configured coinbase/files has grade C, 80." in other["reason"]


# --- planted faults -----------------------------------------------------------------------------------------


@pytest.fixture
def truth(rng: np.random.Generator) -> np.ndarray:
    return 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, 1440)))


def minutes(close: np.ndarray, missing: slice = slice(0, 0)) -> pl.DataFrame:
    keep = np.ones(1440, dtype=bool)
    keep[missing] = False
    made = minute_grid(DAY).with_columns(
        *(pl.Series(c, close) for c in ("open", "high", "low", "close")), volume=pl.lit(2.0)
    )
    return candles_1m(made.filter(pl.Series(keep)), DAY)


def test_two_sound_sources_are_grade_a_and_the_configured_one_stays(truth, rng, tmp_path: Path) -> None:
    other = truth * np.exp(rng.normal(0, 1e-4, 1440))
    made = compared(tmp_path, DAY, bars(minutes(truth), "coinbase/tardis", DAY, "ticks"),
                    bars(minutes(other), "coinbase/coinbase", DAY), primary="coinbase/coinbase",
                    sides={"coinbase/tardis": 0.8})  # fmt: skip
    assert made.height == 2 and made["grade"].to_list() == ["A", "A"]
    row = one(made, "coinbase/coinbase", "coinbase/tardis")
    assert row["is_primary"] and row["reason"] == (
        "the configured primary: grade A, 100.0 % of the minutes, confirmed by 1 of 1 others"
    )
    assert (row["volume_ratio"], row["coverage_frac"], row["neither_n"], row["missing_overlap_frac"]) == (1, 1, 0, None)
    expected = np.abs(1e4 * np.log(other / truth))
    assert row["diff_median_bps"] == pytest.approx(np.median(expected))
    beside = one(made, "coinbase/tardis", "coinbase/coinbase")
    assert beside["tick_rule_frac"] == 0.8 and not beside["is_primary"]
    assert beside["reason"].startswith("coinbase/coinbase is chosen: grade A")


def test_a_shifted_source_is_graded_c_and_its_lag_named(truth, tmp_path: Path) -> None:
    late = np.concatenate([truth[:1], truth[:-1]])  # stamped at the minute's end: each close a minute later
    third = truth * 1.0001
    made = compared(tmp_path, DAY, bars(minutes(truth), "coinbase/tardis", DAY), bars(minutes(late), "kraken/files", DAY),
                    bars(minutes(third), "coinbase/coinbase", DAY), primary="kraken/files")  # fmt: skip
    row = one(made, "coinbase/tardis", "kraken/files")
    assert row["shift_min"] == 1 and row["corr_p1"] > 0.99 > abs(row["corr_0"])
    assert one(made, "kraken/files", "coinbase/tardis")["shift_min"] == -1
    assert set(made.filter(pl.col("venue") == "kraken")["grade"]) == {"C"}
    assert one(made, "coinbase/tardis", "coinbase/coinbase")["grade"] == "A"
    assert not made.filter(pl.col("is_primary"))["venue"].is_in(["kraken"]).any()


@pytest.mark.parametrize(
    ("off_bps", "missing", "share", "grade"),
    [
        (9.0, 0, None, "A"), (11.0, 0, None, "B"), (26.0, 0, None, "C"), (1.0, 72, None, "A"), (1.0, 73, None, "B"),
        (1.0, 145, None, "C"), (1.0, 0, 0.6, "A"), (1.0, 0, 0.3, "C"),
    ],
)  # fmt: skip
def test_the_grades_turn_at_their_limits(off_bps, missing, share, grade, truth, tmp_path: Path) -> None:
    sides = {} if share is None else {"x/files": share}
    mine = bars(minutes(truth * np.exp(off_bps / 1e4), slice(0, missing)), "x/files", DAY)
    made = compared(tmp_path, DAY, mine, bars(minutes(truth), "y/files", DAY), primary="x/files", sides=sides)
    assert one(made, "x/files", "y/files")["grade"] == grade


def test_a_source_alone_says_so(truth, tmp_path: Path) -> None:
    made = compared(tmp_path, DAY, bars(minutes(truth), "coinbase/tardis", DAY), primary="coinbase/tardis")
    (row,) = made.iter_rows(named=True)
    assert (row["other_venue"], row["other_source"], row["grade"], row["is_primary"]) == ("none", "none", "B", True)
    assert row["reason"] == "the configured primary: grade B, 100.0 % of the minutes, the only source of the day"
    assert row["diff_mean_bps"] is None and row["shift_min"] is None
    assert compared(tmp_path / "b", DAY, primary="coinbase/tardis").is_empty()
    other = compared(tmp_path / "c", DAY, bars(minutes(truth), "kraken/files", DAY), primary="coinbase/tardis")
    assert other["reason"][0].endswith("the only source of the day; the configured coinbase/tardis has no minute")


def test_the_lineage_reaches_the_bars() -> None:
    deps = SOURCE_COMPARISON_LINEAGE.deps_by_column
    assert {(d.asset_key.path[-1], d.column_name) for d in deps["diff_median_bps"]} == {("trades_1m", "close")}


# --- the tick rule ------------------------------------------------------------------------------------------


def test_tick_rule_by_hand() -> None:
    ticks = pl.DataFrame(
        {
            "venue": ["a"] * 7 + ["b"] * 2,
            "seq": [3, 2, 1, 0, 4, 5, 6, 0, 1],
            "price": [101.0, 101.0, 101.0, 100.0, 100.0, 100.0, 99.0, 50.0, 50.0],
            "side": ["buy", "sell", "buy", "buy", "sell", None, "buy", "buy", "sell"],
        }
    )
    # a: seq 0 has no tick before it; 1 buy up, 2 sell up, 3 buy up, 4 sell down, 6 buy down: 3 of 5. b never moves.
    assert tick_rule_agreement(ticks.lazy()) == {"a": pytest.approx(3 / 5)}


def test_a_flipped_side_is_seen_on_the_sandbox_s_tape(market) -> None:
    ticks = with_clocks(tape(market, SYMBOL, DAYS[1])).with_columns(venue=pl.lit("coinbase"))
    flipped = ticks.with_columns(side=pl.col("side").replace({"buy": "sell", "sell": "buy"}))
    sound = tick_rule_agreement(ticks.lazy())["coinbase"]
    assert sound > 0.6 and tick_rule_agreement(flipped.lazy())["coinbase"] == pytest.approx(1 - sound)
