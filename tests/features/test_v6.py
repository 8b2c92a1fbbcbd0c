"""V6: the dictionary is the catalogue; known answers; calendars; slow tables by availability; what an absent source empties."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import naive_v6_slow
import numpy as np
import polars as pl
import pytest
from laws.every_source import SETTINGS, inputs_of, random_trades

from crpbot_dagster.assets.features import market_calendar, multi_source, slow, technical, technical_windows
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.assets.features.microstructure import amihud
from crpbot_dagster.tables.features import origins
from crpbot_dagster.tables.features_v6 import V6, V6_FEATURES
from crpbot_dagster.tables.papers import PAPERS

NAN = float("nan")
START = datetime(2024, 3, 1, tzinfo=UTC)


def minutes(n: int, start: datetime = START) -> pl.Series:
    end = start + timedelta(minutes=n)
    return pl.datetime_range(start, end, "1m", closed="left", eager=True, time_unit="us").alias("ts")


def test_every_line_names_what_it_is_made_of_and_its_paper() -> None:
    assert origins(V6.column("gap_kraken_bps")) == (("bars/trades_1m", "close"), ("bars/trades_1m", "close"))
    assert origins(V6.column("corr_dxy_30d")) == (("bars/macro_1d", "value"), ("bars/daily", "close"))
    assert {c.source for c in V6_FEATURES} - {"–", "ours"} <= set(PAPERS)


# --- known answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("high", "low", "bps"),
    [((102.0, 102.5), (100.0, 100.5), 78.30785), ((101.0, 101.0), (100.0, 100.0), 99.50249), ((101.0, 103.0), (100.0, 101.5), 0.0)],
)  # fmt: skip
def test_corwin_schultz_known_answers(high: tuple, low: tuple, bps: float) -> None:
    spread = multi_source.corwin_schultz_spread(np.array(high), np.array(low))
    assert np.isnan(spread[0])
    assert 1e4 * spread[1] == pytest.approx(bps, abs=5e-5)


def test_amihud_known_answer_over_sixty_rows() -> None:
    close = 100 * np.exp(np.cumsum(np.tile([0.0010, -0.0020, 0.0005], 21)))
    assert amihud(close, np.tile([1e6, 2e6, 0.5e6], 21), 60)[-1] == pytest.approx(10.0)


def test_a_line_and_a_zigzag() -> None:
    close = 100 * np.exp(1e-4 * np.arange(1500))
    made = technical.volatility(close, close, close)
    assert made["realized_vol_1d"][-1] == pytest.approx(0.0724983, abs=5e-8)
    assert made["vol_ratio_1h_1d"][-1] == pytest.approx(1.0)
    assert technical.plain_strength_index(close, 14, 5)[-1] == 100
    plus, minus = technical.directional_movement(close, close, close, 14)
    assert (plus[-1], minus[-1]) == (pytest.approx(1.0), 0.0)
    assert technical.average_directional_index(plus, minus, 14)[-1] == pytest.approx(100.0)
    zigzag = 100 + np.tile([0.0, 1.0], 300)
    assert technical.plain_strength_index(zigzag, 14, 5)[-1] == pytest.approx(50.0)
    assert np.isnan(technical.plain_strength_index(np.full(300, 5.0), 14, 15)[-1])


def test_extremes_and_their_age_equal_a_search(rng) -> None:
    x = rng.integers(0, 9, 300).astype(float)
    x[rng.random(300) < 0.2] = NAN
    top, age = technical_windows.window_max(x, 26, 21), technical_windows.rows_since_max(x, 26, 21)
    for i in range(300):
        window = x[max(0, i - 25) : i + 1]
        if (~np.isnan(window)).sum() < 21:
            assert np.isnan(top[i]) and np.isnan(age[i])
        else:
            assert top[i] == np.nanmax(window)
            assert age[i] == list(window[::-1]).index(np.nanmax(window))


def test_value_area_starts_at_the_fullest_bin_and_takes_the_fuller_neighbour() -> None:
    assert technical_windows.value_area(np.array([1.0, 5, 3, 1])) == (1, 1, 2)  # 8 of 10
    assert technical_windows.value_area(np.array([3.0, 5, 3, 1])) == (1, 0, 2)  # a tie goes up, then down
    assert technical_windows.value_area(np.array([5.0, 0, 4, 3])) == (0, 0, 2)  # an edge has one side
    assert technical_windows.value_area(np.array([0.0, 1, 0])) == (1, 1, 1)


def test_volume_profile_of_two_prices() -> None:
    """Three quarters of the volume at the bottom: the fullest bin is the first, the area is that bin."""
    price = np.array([100.0, 100, 100, 110])
    ends = np.log(np.full(4, 100.0)), np.log(np.full(4, 110.0))
    centre, low, high = technical_windows.volume_profile(np.log(price), np.ones(4), *ends, 4, 4)[-1]
    width = np.log(1.1) / 50
    assert centre == pytest.approx(np.log(100) + width / 2)
    assert (low, high) == (pytest.approx(np.log(100)), pytest.approx(np.log(100) + width))
    nothing = technical_windows.volume_profile(np.log(price), np.zeros(4), *ends, 4, 4)
    assert np.isnan(nothing).all()


# --- venues -----------------------------------------------------------------------------------------


def small(n: int = 3) -> Inputs:
    ts = minutes(n)
    trades = random_trades(1, np.random.default_rng(1)).head(n).with_columns(ts)
    book = pl.DataFrame({"ts": ts, "best_bid": [100.0] * n, "best_ask": [100.1] * n})
    return Inputs(trades, book=book)


def test_arbitrage_is_the_best_pair_after_both_fees_with_usdt_at_its_price() -> None:
    inputs = small()
    ts = inputs.trades["ts"]
    kraken = pl.DataFrame({"ts": ts, "best_bid": [100.4, 100.4, None], "best_ask": [100.5] * 3})
    binance = pl.DataFrame({"ts": ts, "best_bid": [101.0] * 3, "best_ask": [101.1] * 3})
    fx = pl.DataFrame({"ts": ts, "usdt_usd": [0.99, None, None], "is_stale": [0, 1, 1]})
    made = multi_source.build(replace(inputs, venue_books={"kraken": kraken, "binance": binance}, fx=fx), SETTINGS)
    expected = 1e4 * np.log(100.4 / (101.1 * 0.99)) - 5 - 3  # buy at binance, sell at kraken
    assert made["arb_net_bps"][0] == pytest.approx(expected)
    assert made["arb_net_bps"][1] == pytest.approx(1e4 * np.log(100.4 / 100.1) - 6 - 5)  # binance has no price in USD
    assert made["arb_net_bps"][2] is None  # one venue is left
    assert made["is_stale_fx"].to_list() == [0, 1, 1]


def test_funding_is_the_median_per_eight_hours_of_at_least_two_venues() -> None:
    inputs = small()

    def perpetual(rate: list, hours: float, is_stale: int) -> pl.DataFrame:
        return pl.DataFrame({"ts": inputs.trades["ts"], "mark": [100.1] * 3, "index": [100.0] * 3, "funding_rate": rate,
                             "funding_interval_h": [hours] * 3, "open_interest": [5.0] * 3, "is_stale": [is_stale] * 3})  # fmt: skip

    given = {"kraken_futures": perpetual([1e-5] * 3, 1.0, 0), "deribit": perpetual([2e-4, None, None], 8.0, 1),
             "binance-futures": perpetual([3e-4, 3e-4, None], 8.0, 0)}  # fmt: skip
    made = multi_source.build(replace(inputs, derivatives=given), SETTINGS)
    assert made["funding_rate_bps_8h"].to_list() == [pytest.approx(2.0), pytest.approx((0.8 + 3.0) / 2), None]
    assert made["funding_dispersion_bps_8h"].to_list() == [pytest.approx(2.2), pytest.approx(2.2), None]
    assert made["basis_bps"][0] == pytest.approx(1e4 * np.log(1.001))
    assert made["is_stale_derivatives"].to_list() == [1, 1, 1]


def test_dispersion_takes_three_venues_a_minute_late() -> None:
    logs = np.log(np.array([[100.0, 100.0], [101.0, 101.0], [102.0, NAN]]))
    found = multi_source.dispersion(logs, 3)
    assert found[0] == pytest.approx(np.std(logs[:, 0])) and np.isnan(found[1])


def test_settings_refuse_a_venue_without_a_fee_and_a_lone_funding_venue() -> None:
    with pytest.raises(multi_source.UnknownVenue, match="no taker fee for kraken"):
        replace(SETTINGS, taker_fee_bps={"coinbase": 1.0, "binance": 1.0})
    with pytest.raises(multi_source.UnknownVenue, match="at least two venues, got deribit"):
        replace(SETTINGS, funding_venues=("deribit",))


def test_a_table_on_another_grid_is_refused() -> None:
    inputs = small()
    late = inputs.trades.with_columns(pl.col("ts") + timedelta(minutes=1))
    with pytest.raises(ValueError, match="not on the grid of trades: T:kraken"):
        multi_source.build(replace(inputs, venue_trades={"kraken": late}), SETTINGS)


# --- slow tables ------------------------------------------------------------------------------------


def greed(rows: list[tuple[date, datetime, float | None]]) -> dict[str, pl.DataFrame]:
    days, known, x = zip(*rows, strict=True)
    return {
        "S": pl.DataFrame(
            {"obs_day": days, "available_ts": pl.Series(known, dtype=pl.Datetime("us", "UTC")), "fear_greed": x}
        )
    }


def test_a_daily_value_is_read_from_the_minute_it_is_available_and_never_older_than_its_age() -> None:
    known = START + timedelta(minutes=5)
    long = small(1440)
    inputs = replace(
        long,
        slow=greed(
            [(date(2024, 2, 28), START - timedelta(days=3, minutes=-2), 40.0), (date(2024, 2, 29), known, 55.0)]
        ),
    )
    made = multi_source.build(inputs, SETTINGS)["fear_greed_index"].to_list()
    assert made[:7] == [40.0, 40.0, 40.0, None, None, 55.0, 55.0]  # 72 h after the old one it ends
    flags = multi_source.build(inputs, SETTINGS)["is_stale_sentiment"].to_list()
    assert flags[:7] == [1, 1, 1, 1, 1, 0, 0]


def test_what_is_read_as_of_a_minute_is_the_newest_value_and_a_history_ends_with_the_newest_observation() -> None:
    before = START - timedelta(hours=30)
    rows = [(date(2024, 2, 27) - timedelta(days=i), before - timedelta(days=i), 50.0 + i) for i in range(40)]
    made = multi_source.build(
        replace(small(), slow=greed([*rows, (date(2024, 2, 28), before + timedelta(days=1), None)])), SETTINGS
    )
    assert made["fear_greed_index"].to_list() == [50.0] * 3
    assert made["fear_greed_z_30d"].null_count() == made["fear_greed_change_7d"].null_count() == 3
    assert made["is_stale_sentiment"].to_list() == [1, 1, 1]  # the value used has been known for 30 hours
    made = multi_source.build(replace(small(), slow=greed(rows)), SETTINGS)
    assert made["fear_greed_index"].to_list() == [50.0] * 3
    assert made["fear_greed_change_7d"].to_list() == [-7.0] * 3
    x = 50.0 + np.arange(30)
    assert made["fear_greed_z_30d"][0] == pytest.approx((50 - x.mean()) / x.std(ddof=1))
    assert made["is_stale_sentiment"].to_list() == [1, 1, 1]  # known for 30 hours


def test_a_value_that_is_told_no_more_leaves_its_flag_however_far_back_is_read() -> None:
    hours = minutes(80 * 60, START - timedelta(hours=78)).gather_every(60)
    skew = [0.01 if h <= START - timedelta(hours=70) else None for h in hours]
    o = pl.DataFrame({"currency": "ETH", "hour": hours, "available_ts": hours.dt.offset_by("61m"), "dvol_frac": 0.5,
                      "skew_25d_frac": skew, **dict.fromkeys(slow.VALUES["O"][2:], None)},
                     schema_overrides=dict.fromkeys(slow.VALUES["O"], pl.Float64))  # fmt: skip
    for read in (
        o,
        o.filter(pl.col("hour") > START - timedelta(hours=60)),
        o.filter(pl.col("hour") > START - timedelta(hours=6)),
    ):
        made = multi_source.build(replace(small(), slow={"O": read}), SETTINGS)
        assert made["iv_skew_25d_frac"].null_count() == 3 and made["is_stale_options"].to_list() == [0, 0, 0]


def test_a_value_stated_once_a_day_is_read_until_it_is_six_hours_old() -> None:
    """Deribit tells open interest and skew in one of 24 hourly rows, its volatility index in all of them."""
    hours = minutes(24 * 60, START - timedelta(days=1)).gather_every(60)
    snapshot = [1.0 if h == START - timedelta(hours=3) else None for h in hours]  # known at 22:01 of the day before
    o = pl.DataFrame({"currency": "ETH", "hour": hours, "available_ts": hours.dt.offset_by("61m"), "dvol_frac": 0.5,
                      "put_volume": 1.0, "call_volume": 1.0, "put_oi": snapshot, "call_oi": snapshot,
                      "skew_25d_frac": snapshot}, schema_overrides=dict.fromkeys(("put_oi", "call_oi", "skew_25d_frac"), pl.Float64))  # fmt: skip
    made = multi_source.build(replace(small(600), slow={"O": o}), SETTINGS)
    for name, last in (("put_call_oi_ratio", 4 * 60 + 1), ("iv_skew_25d_frac", 4 * 60 + 1), ("dvol_frac", 6 * 60 + 1)):
        assert made[name].is_not_null().arg_true().to_list() == list(range(last + 1)), name
    assert made["is_stale_options"].to_list() == [0] * 2 + [1] * 598, "the oldest value used counts: 22:01 is 2 h ago"


def test_two_values_of_one_formula_are_of_one_observation() -> None:
    days = [date(2024, 2, 27), date(2024, 2, 28)]
    known = [START - timedelta(hours=30), START - timedelta(hours=6)]
    c = pl.DataFrame({"symbol": "ETH-USD", "obs_day": days, "available_ts": pl.Series(known, dtype=pl.Datetime("us", "UTC")),
                      "price_usd": 1.0, "market_cap_usd": [100.0, 200.0], "total_volume_usd": [10.0, None],
                      "market_cap_rank": [2.0, None]})  # fmt: skip
    made = multi_source.build(replace(small(), slow={"C": c}), SETTINGS)
    assert made.select("market_cap_usd", "market_cap_rank_n", "turnover_frac_1d").row(0) == (200.0, 2.0, 0.1)
    assert made["is_stale_coin"].to_list() == [1, 1, 1]


def test_a_change_over_days_is_null_when_that_very_day_is_missing() -> None:
    rows = [
        (date(2024, 2, 28) - timedelta(days=i), START - timedelta(days=i, hours=1), 50.0) for i in range(30) if i != 7
    ]
    made = multi_source.build(replace(small(), slow=greed(rows)), SETTINGS)
    assert made["fear_greed_change_7d"].null_count() == 3 and made["fear_greed_index"].null_count() == 0


def test_a_counter_that_fell_says_nothing() -> None:
    at = np.array([0, 30])
    h = slow.Observations(
        "H", at, at, {"commits_4w_n": np.ones(2), "stars_n": np.array([10.0, 11]), "prs_merged_n": np.array([9.0, 3])}
    )
    assert np.isnan(slow.developers(h)["github_prs_merged_n_30d"])
    assert slow.developers(h)["github_stars_change_log_30d"] == pytest.approx(np.log(1.1))


def test_a_weekend_is_one_return_on_both_sides() -> None:
    """A coin that moves with the index by day, and at week-ends wanders off and back, correlates perfectly."""
    days = np.arange(19_700, 19_800)  # 2023-12-09 …
    trading = market_calendar.session_days(19_800, 60)
    level = np.exp(np.cumsum(np.where(np.isin(days, trading), 0.01 * np.sin(days), 0.0)))
    d = slow.Observations("D", days, days, {"close": level * np.where(np.isin(days, trading), 1.0, 1.5)})
    m = slow.Observations("M", trading, trading, {"value": 5000 * np.interp(trading, days, level)})
    assert slow.correlation_with("corr_spx_30d")(m, d)["corr_spx_30d"] == pytest.approx(1.0)


# --- calendars --------------------------------------------------------------------------------------


HOLIDAYS = {  # New York Stock Exchange, "Holidays and Trading Hours", weekdays closed, as published for each year
    2015: "01-01 01-19 02-16 04-03 05-25 07-03 09-07 11-26 12-25",
    2016: "01-01 01-18 02-15 03-25 05-30 07-04 09-05 11-24 12-26",
    2017: "01-02 01-16 02-20 04-14 05-29 07-04 09-04 11-23 12-25",
    2018: "01-01 01-15 02-19 03-30 05-28 07-04 09-03 11-22 12-05 12-25",
    2019: "01-01 01-21 02-18 04-19 05-27 07-04 09-02 11-28 12-25",
    2020: "01-01 01-20 02-17 04-10 05-25 07-03 09-07 11-26 12-25",
    2021: "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24",
    2022: "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26",
    2023: "01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25",
    2024: "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25",
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
}
EARLY = """2015-11-27 2015-12-24 2016-11-25 2017-07-03 2017-11-24 2018-07-03 2018-11-23 2018-12-24 2019-07-03 2019-11-29
2019-12-24 2020-11-27 2020-12-24 2021-11-26 2022-11-25 2023-07-03 2023-11-24 2024-07-03 2024-11-29 2024-12-24 2025-07-03
2025-11-28 2025-12-24 2026-11-27 2026-12-24 2027-11-26"""


@pytest.fixture(scope="module")
def noons() -> pl.DataFrame:
    """The clock at 16:30 and 19:30 UTC of every day (11:30 or 12:30, 14:30 or 15:30 in New York), 2015 to 2027."""
    days = pl.datetime_range(
        datetime(2015, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC), "1d", eager=True, time_unit="us"
    )
    at = pl.concat([days.dt.offset_by("16h29m"), days.dt.offset_by("19h29m")]).sort().alias("ts")
    return pl.DataFrame({"ts": at}).with_columns(pl.Series(n, x) for n, x in market_calendar.clock_columns(at).items())


def test_new_york_holidays_and_early_closes_are_the_published_ones(noons: pl.DataFrame) -> None:
    closed = noons.filter(pl.col("is_nyse_holiday") == 1)["ts"].dt.date().unique().sort().to_list()
    assert closed == [date.fromisoformat(f"{y}-{day}") for y, days in HOLIDAYS.items() for day in days.split()]
    by_day = noons.group_by(pl.col("ts").dt.date(), maintain_order=True).agg("is_nyse_open")
    early = by_day.filter(pl.col("is_nyse_open").list.first() > pl.col("is_nyse_open").list.last())["ts"].to_list()
    assert early == [date.fromisoformat(d) for d in EARLY.split()]
    weekdays = noons.filter(
        (pl.col("day_of_week") < 5) & (pl.col("is_nyse_holiday") == 0) & (pl.col("ts").dt.hour() == 16)
    )
    assert weekdays["is_nyse_open"].unique().to_list() == [1.0]


def test_the_clock_equals_the_rules_of_its_twin_across_the_years(rng) -> None:
    days = [datetime(2018, 12, 1, tzinfo=UTC), datetime(2024, 3, 8, tzinfo=UTC), datetime(2024, 10, 25, tzinfo=UTC),
            datetime(2025, 1, 8, tzinfo=UTC), datetime(2025, 12, 23, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC)]  # fmt: skip
    for start in days:
        ts = minutes(5 * 1440, start)[sorted(rng.choice(5 * 1440, 60, replace=False).tolist())]
        made = market_calendar.clock_columns(ts)
        for i, at in enumerate(ts.to_list()):
            twin = naive_v6_slow.calendar_row(at)
            assert {n: float(x[i]) for n, x in made.items()} == pytest.approx(twin, abs=1e-12), at


def test_an_unscheduled_closure_is_known_from_its_announcement(monkeypatch) -> None:
    """Carter's day of mourning, 2025-01-09, had it been announced in the evening before only."""
    told = datetime(2025, 1, 8, 23, 0, tzinfo=UTC)
    monkeypatch.setitem(market_calendar.ANNOUNCED, date(2025, 1, 9), told)
    ts = minutes(26 * 60, datetime(2025, 1, 8, 21, 0, tzinfo=UTC))
    made = market_calendar.clock_columns(ts)
    known = ts.dt.offset_by("1m")
    until_thursday = (datetime(2025, 1, 9, 14, 30, tzinfo=UTC) - known[0]).total_seconds() / 60
    until_friday = (datetime(2025, 1, 10, 14, 30, tzinfo=UTC) - known[119]).total_seconds() / 60
    assert made["nyse_countdown_min"][0] == until_thursday
    assert (made["nyse_countdown_min"][118], made["nyse_countdown_min"][119]) == (until_thursday - 118, until_friday)
    at_noon = ts.to_list().index(datetime(2025, 1, 9, 17, 0, tzinfo=UTC))
    assert (made["is_nyse_open"][at_noon], made["is_nyse_holiday"][at_noon]) == (0, 1)


def test_every_closure_without_a_rule_has_its_announcement() -> None:
    assert set(market_calendar._sessions(2028)[3]) == set(market_calendar.ANNOUNCED)


def test_tokyo_closes_half_an_hour_later_since_november_2024() -> None:
    ts = pl.Series([datetime(2024, 11, d, 6, 10, tzinfo=UTC) for d in (1, 5)], dtype=pl.Datetime("us", "UTC"))
    assert market_calendar.clock_columns(ts)["is_tokyo_open"].tolist() == [0, 1]


def test_the_countdowns_look_at_the_moment_the_row_is_known() -> None:
    ts = pl.Series(
        [datetime(2024, 3, 1, 7, m, tzinfo=UTC) for m in (58, 59)], dtype=pl.Datetime("us", "UTC")
    )  # a Friday
    made = market_calendar.clock_columns(ts)
    assert made["funding_countdown_frac"].tolist() == [1 / 480, 1.0]
    assert made["option_expiry_countdown_frac"].tolist() == [1 / 10080, 1.0]


# --- what is absent ---------------------------------------------------------------------------------


def test_an_absent_source_empties_its_columns_and_says_so(rng) -> None:
    whole = inputs_of(random_trades(2, rng), rng)
    assert multi_source.absent(whole, SETTINGS) == {}
    lacks = {
        "kraken": replace(whole, venue_trades={v: f for v, f in whole.venue_trades.items() if v != "kraken"}),
        "USDT": replace(whole, fx=None),
        "funding": replace(whole, derivatives={"deribit": whole.derivatives["deribit"]}),
        "everything": Inputs(whole.trades.with_columns(vwap=pl.lit(None, pl.Float64))),
        **{letter: replace(whole, slow={k: f for k, f in whole.slow.items() if k != letter}) for letter in whole.slow},
        "the currency": replace(whole, slow={**whole.slow, "O": whole.slow["O"].filter(pl.col("currency") == "BTC")}),
    }
    for what, inputs in lacks.items():
        made = multi_source.build(inputs, SETTINGS)
        empty = {c.name for c in V6_FEATURES if made[c.name].null_count() == made.height}
        assert set(multi_source.absent(inputs, SETTINGS)) == empty, what
        assert empty, what
    assert multi_source.absent(lacks["kraken"], SETTINGS) == dict.fromkeys(
        ("gap_kraken_bps", "gap_kraken_z_1h", "kraken_volume_frac_1h"), "no trades of kraken"
    )
    assert multi_source.absent(lacks["funding"], SETTINGS)["basis_bps"] == (
        "X:*.mark has 1 of the 2 venues it takes: without kraken_futures, binance-futures"
    )
    unknown = whole.derivatives["deribit"].with_columns(funding_interval_h=pl.lit(None, pl.Float64))
    unsure = replace(whole, derivatives={"deribit": unknown, "kraken_futures": whole.derivatives["kraken_futures"]})
    assert multi_source.absent(unsure, SETTINGS)["funding_z_30d"] == (
        "X:*.funding_interval_h has 1 of the 2 venues it takes: without deribit, binance-futures"
    )
    assert "oi_change_log_1d" not in multi_source.absent(lacks["funding"], SETTINGS)  # one venue is enough
    assert multi_source.absent(lacks["everything"], SETTINGS)["vp_poc_dev_bps_1d"] == "T.vwap has no value"


def test_an_hour_alone_is_legal() -> None:
    made = multi_source.build(small(60), SETTINGS)
    assert made.height == 60 and made["ret_log_1h"].null_count() == 60 and made["ret_log_1m"].null_count() == 1
