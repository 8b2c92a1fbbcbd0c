"""The laws every feature of every set obeys: no look-ahead, true reach, partition invariance, units, nulls.

A new column is under them by being in ``tables/features.py``. Each law is first seen catching a feature made
to break it (``test_planted_leaks``), so a law that cannot fail would fail here.
"""

from collections.abc import Callable
from datetime import timedelta

import naive
import numpy as np
import polars as pl
import pytest
from conftest import DAYS, SHARED, bars_of

from crpbot_dagster.assets.features.labels import labels
from crpbot_dagster.assets.features.microstructure import v5
from crpbot_dagster.assets.features.price import v4
from crpbot_dagster.tables.features import V4, V5, manifest
from crpbot_dagster.tables.schema import Table

Bars = tuple[pl.DataFrame, pl.DataFrame]
Build = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]

SETS: dict[str, tuple[Table, Build, Build]] = {
    "v4": (V4, lambda t, b: v4(t), lambda t, b: naive.v4(t)),
    "v5": (V5, v5, naive.v5),
}
PRICES = ("open", "high", "low", "close", "open_1s", "vwap", "best_bid", "best_ask", "mid", "microprice", "mid_1s",
          "mid_high", "mid_low")  # fmt: skip
VALUES = ("volume_usd", "buy_volume_usd", "sell_volume_usd", "large_buy_volume_usd", "large_sell_volume_usd")
SIZES = ("volume", "buy_volume", "sell_volume", "unknown_volume", "large_threshold", "ofi_coin", "depth_1_tw",
         "remove_coin", *(f"{s}_depth_{k}" for s in ("bid", "ask") for k in (1, 5, 10, 25)))  # fmt: skip
PRICE_FACTOR = {"USD": 2.0, "USDv": 2.0, "bps/M$": 0.5}
SIZE_FACTOR = {"USDv": 2.0, "coin": 2.0, "bps/M$": 0.5}


def names(table: Table) -> list[str]:
    return [c.name for c in table.features]


def same(a: pl.DataFrame, b: pl.DataFrame, columns: list[str]) -> list[str]:
    """The columns that are not equal bit for bit, nulls included."""
    return [c for c in columns if not a[c].equals(b[c], null_equal=True)]


def close(a: pl.Series, b: pl.Series, scale: float = 0.0) -> bool:
    """Equal null masks, values to 1e-9 relative and 1e-12 absolute (of ``scale``, the size of the inputs)."""
    if (a.is_null() != b.is_null()).any():
        return False
    x, y = a.drop_nulls().cast(pl.Float64).to_numpy(), b.drop_nulls().cast(pl.Float64).to_numpy()
    return bool(np.allclose(x, y, rtol=1e-9, atol=1e-12 * max(1.0, scale)))


def masked(frame: pl.DataFrame, share: float, rng: np.random.Generator) -> pl.DataFrame:
    lost = pl.Series(rng.random(frame.height) < share)
    return frame.with_columns(pl.when(~lost).then(pl.col(c)).alias(c) for c in frame.columns if c != "ts")


def later(frame: pl.DataFrame, cut: int, form: str, rng: np.random.Generator) -> pl.DataFrame:
    """The frame with everything after row ``cut`` deleted, shuffled, or replaced by another market."""
    head, tail = frame.head(cut + 1), frame.slice(cut + 1)
    values = [c for c in frame.columns if c != "ts"]
    if form == "delete":
        changed = tail.with_columns(pl.lit(None, frame.schema[c]).alias(c) for c in values)
    elif form == "shuffle":
        order = pl.Series(rng.permutation(tail.height))
        changed = tail.with_columns(tail[c].gather(order).alias(c) for c in values)
    else:
        changed = tail.with_columns((pl.col(c) * 10).cast(frame.schema[c]).alias(c) for c in values)
    return pl.concat([head, changed])


def looks_ahead(build: Build, bars: Bars, columns: list[str], rng: np.random.Generator) -> set[str]:
    """Columns of which a row up to a cut changes when what comes after the cut does (law L1)."""
    trades, book = bars
    whole = build(trades, book)
    n = trades.height
    gap_edges = trades["close"].is_null().arg_true().to_list()[-3:]
    cuts = [1439, 1440, n - 2, 2000, 2879, *rng.integers(60, n - 1, 3).tolist(), *gap_edges]
    found: set[str] = set()
    for cut in cuts:
        for form in ("delete", "shuffle", "replace"):
            again = build(later(trades, cut, form, rng), later(book, cut, form, rng))
            found |= set(same(whole.head(cut + 1), again.head(cut + 1), columns))
    return found


@pytest.mark.parametrize("name", SETS)
def test_l1_no_look_ahead(name: str, bars: Bars, rng) -> None:
    table, build, _ = SETS[name]
    assert looks_ahead(build, bars, names(table), rng) == set()


LEAKS: dict[str, pl.Expr] = {
    "backward fill": pl.col("close").fill_null(strategy="backward"),
    "shift(-1)": pl.col("close").shift(-1),
    "centred window": pl.col("close").rolling_mean(5, center=True),
    "full-sample quantile": (pl.col("volume") > pl.col("volume").quantile(0.67, "linear")).cast(pl.Float64),
    "whole-day total": pl.col("volume").sum().over(pl.col("ts").dt.date()),
    "scaler over all rows": (pl.col("close") - pl.col("close").mean()) / pl.col("close").std(),
    "daily value at its own midnight": pl.col("close").last().over(pl.col("ts").dt.date()),
    "bar joined on its open": pl.col("close").last().over(pl.col("ts").dt.truncate("1h")),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_planted_leaks_are_caught(leak: str, bars: Bars, rng) -> None:
    trades, book = masked(bars[0], 0.1, rng), bars[1]

    def leaky(t: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
        return v4(t).with_columns(t.select(LEAKS[leak].alias("planted")))

    assert "planted" in looks_ahead(leaky, (trades, book), ["planted", "close"], rng)
    assert "close" not in looks_ahead(leaky, (trades, book), ["close"], rng)


@pytest.mark.parametrize("name", SETS)
def test_l2_reach_is_true(name: str, bars: Bars) -> None:
    table, build, _ = SETS[name]
    trades, book = bars
    at = trades.height - 1
    whole = build(trades, book)
    reaches = sorted({c.reach for c in table.features if c.reach is not None})

    def changed_at(row: int) -> set[str]:
        """Columns of the last row that change when row ``row`` and everything older is another market."""
        t, b = (
            pl.concat(
                [
                    f.head(row + 1).with_columns((pl.col(c) * 1.5).cast(f.schema[c]) for c in f.columns if c != "ts"),
                    f.slice(row + 1),
                ]
            )
            for f in (trades, book)
        )
        return set(same(whole.tail(1), build(t, b).tail(1), names(table)))

    for reach in reaches:
        own = {c.name for c in table.features if c.reach == reach}
        assert not own & changed_at(at - reach), f"reads more than {reach} rows"
    # The oldest row inside the reach matters somewhere: checked over many rows, not one.
    windowed = [c for c in table.features if c.reach is not None and c.reach > 1 and c.name not in _FLAGS]
    for c in windowed:
        assert _some_row_reads(c.name, c.reach or 0, build, trades, book), f"{c.name} reads less than {c.reach} rows"


_FLAGS = {"volatility_low", "volatility_medium", "volatility_high"}


def _some_row_reads(name: str, reach: int, build: Build, trades: pl.DataFrame, book: pl.DataFrame) -> bool:
    # Rows t − reach + 1 of many t at once: change every row of a stretch, look at rows `reach − 1` later.
    first = 1500
    factor = pl.when(pl.int_range(pl.len()) == first).then(3.0).otherwise(1.0)
    t, b = (
        f.with_columns((pl.col(c) * factor).cast(f.schema[c]) for c in f.columns if c != "ts") for f in (trades, book)
    )
    changed = not build(trades, book)[name][first + reach - 1 :][:1].equals(
        build(t, b)[name][first + reach - 1 :][:1], null_equal=True
    )
    # An exponential tail may be lost in rounding at its very last row: then it must show a few rows earlier.
    return changed or _shows_within(name, first, reach, build, trades, book, t, b)


def _shows_within(name, first, reach, build, trades, book, t, b) -> bool:
    span = slice(first + int(reach * 0.9) - 1, first + reach)
    return not build(trades, book)[name][span].equals(build(t, b)[name][span], null_equal=True)


@pytest.mark.parametrize("name", SETS)
def test_l3_partition_invariance(name: str, bars: Bars) -> None:
    table, build, _ = SETS[name]
    trades, book = bars
    whole = build(trades, book)
    for day in DAYS[1:]:
        two = [f.filter(pl.col("ts").dt.date().is_between(day - timedelta(days=1), day)) for f in bars]
        alone = build(*two).filter(pl.col("ts").dt.date() == day)
        assert same(whole.filter(pl.col("ts").dt.date() == day), alone, names(table)) == []
    for row in (1500, 2000, 2881, 4319):  # one row at a time, from its own 1,441 rows
        one = build(trades.slice(row - 1440, 1441), book.slice(row - 1440, 1441)).tail(1)
        assert same(whole.slice(row, 1), one, names(table)) == []


@pytest.mark.parametrize("share", [0.0, 0.05, 0.21, 0.6])
@pytest.mark.parametrize("name", SETS)
def test_l4_and_l11_twin_and_null_mask(name: str, share: float, bars: Bars, rng) -> None:
    table, build, twin = SETS[name]
    trades, book = (masked(f.head(2000), share, rng) for f in bars)
    ours, slow = build(trades, book), twin(trades, book)
    scale = float(trades["close"].max() or 1.0)
    # Differences of prices carry the rounding of the prices they come from.
    wrong = [c.name for c in table.features if not close(ours[c.name], slow[c.name], scale if c.unit == "USD" else 0.0)]
    assert wrong == []
    for c in table.features:
        if c.dtype == pl.Float64():
            assert ours[c.name].is_nan().sum() == 0 and ours[c.name].is_infinite().sum() == 0


def test_l11_exactly_n_valid_rows_are_enough_and_one_less_is_not(bars: Bars) -> None:
    trades, book = (f.head(300) for f in bars)
    for name, w, need in (("sma_50", 50, 40), ("volume_ma", 20, 16), ("sma_7", 7, 6), ("atr", 14, 12)):
        # atr loses a row of true range for the missing row and for the one after it: mask alternate rows there.
        holes = w - need if name != "atr" else 1
        for extra, is_null in ((0, False), (1, True)):
            lost = [250 - 2 * i for i in range(1, holes + extra + 1)]
            t = trades.with_columns(
                pl.when(~pl.int_range(pl.len()).is_in(lost)).then(pl.col(c)).alias(c)
                for c in trades.columns
                if c != "ts"
            )
            assert (v5(t, book)[name][250] is None) == is_null, f"{name} with {holes + extra} holes"


def scaled(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    return frame.with_columns(pl.col(c) * 2 for c in columns if c in frame.columns)


@pytest.mark.parametrize(
    ("law", "factors", "columns"),
    [
        ("l5 prices", PRICE_FACTOR, PRICES + VALUES),
        ("l6 sizes", SIZE_FACTOR, SIZES + VALUES),
    ],
)
@pytest.mark.parametrize("name", SETS)
def test_l5_l6_units(name: str, law: str, factors: dict[str, float], columns: tuple[str, ...], bars: Bars) -> None:
    table, build, _ = SETS[name]
    plain, doubled = build(*bars), build(scaled(bars[0], columns), scaled(bars[1], columns))
    scale = float(bars[0]["close"].max())
    wrong = [
        c.name
        for c in table.features
        if not close(plain[c.name] * factors.get(c.unit, 1.0), doubled[c.name], scale if c.unit == "USD" else 0.0)
    ]
    assert wrong == [], law


@pytest.mark.parametrize("name", SETS)
def test_l7_l8_another_symbol_or_venue_changes_nothing(name: str, bars: Bars, other_bars: Bars) -> None:
    from crpbot_dagster.assets.features.reading import primary_minutes
    from crpbot_dagster.instruments import Primary

    table, build, _ = SETS[name]

    def stored(own: pl.DataFrame, venue: str, source: str) -> pl.DataFrame:
        return own.with_columns(
            pl.lit(venue).alias("venue"), pl.lit(source).alias("source"), pl.col("ts").dt.date().alias("day")
        )

    primary = Primary("coinbase", "tardis")
    alone = [stored(f, "coinbase", "tardis") for f in bars]
    crowded = [
        pl.concat([stored(o, "binance", "tardis"), a, stored(o, "coinbase", "coinbase")])
        for a, o in zip(alone, other_bars, strict=True)
    ]
    made = [
        build(*(primary_minutes(f.lazy(), primary, DAYS[0], DAYS[-1]) for f in frames)) for frames in (alone, crowded)
    ]
    assert same(made[0], made[1], names(table)) == []


def dead(kind: str, bars: Bars) -> Bars:
    trades, book = (f.head(1500) for f in bars)
    if kind == "gaps":
        return tuple(
            f.with_columns(pl.lit(None, f.schema[c]).alias(c) for c in f.columns if c != "ts") for f in (trades, book)
        )  # type: ignore[return-value]
    prices = [pl.lit(100.0).alias(c) for c in PRICES if c in trades.columns]
    nothing = [
        pl.lit(0, trades.schema[c]).alias(c)
        for c in (*VALUES, *SIZES, "buy_count_n", "sell_count_n")
        if c in trades.columns
    ]
    quotes = [pl.lit(100.0).alias(c) for c in PRICES if c in book.columns]
    flow = [pl.lit(0.0).alias(c) for c in ("ofi_coin", "eff_spread_bps", "impact_5s_bps")]
    if kind == "one trade an hour":
        hour = pl.col("ts").dt.minute() == 0
        kept = [pl.when(hour).then(pl.col(c)).alias(c) for c in PRICES if c in trades.columns]
        sums = [
            pl.when(hour).then(pl.col(c)).otherwise(0).cast(trades.schema[c]).alias(c)
            for c in (*VALUES, "volume", "buy_count_n", "sell_count_n")
        ]
        return trades.with_columns(kept + sums), book.with_columns(quotes + flow)
    return trades.with_columns(prices + nothing), book.with_columns(quotes + flow)


@pytest.mark.parametrize("kind", ["constant", "gaps", "one trade an hour"])
@pytest.mark.parametrize("name", SETS)
def test_l12_dead_market_and_l13_range(name: str, kind: str, bars: Bars) -> None:
    table, build, _ = SETS[name]
    made = build(*dead(kind, bars))
    for c in table.features:
        column = made[c.name].cast(pl.Float64)
        assert column.is_finite().fill_null(True).all(), f"{c.name} is not finite in a dead market"
        assert made.select(c.limits.violated(c.name).sum()).item() == 0, f"{c.name} leaves {c.range}"
    if kind == "gaps":
        measured = [c.name for c in table.features if c.reads != ("ts",)]
        assert made.select(pl.col(measured).is_null().all()).row(0) == (True,) * len(measured)


@pytest.mark.parametrize("name", SETS)
def test_l13_range_on_extremes(name: str, bars: Bars, rng) -> None:
    table, build, _ = SETS[name]
    trades, book = masked(bars[0], 0.15, rng), masked(bars[1], 0.15, rng)
    burst = pl.Series(np.where(rng.random(trades.height) < 0.02, 1e4, 1.0))
    wild = trades.with_columns(pl.col(c) * burst for c in ("volume", *VALUES))
    made = build(wild, book)
    for c in table.features:
        assert made.select(c.limits.violated(c.name).sum()).item() == 0, f"{c.name} leaves {c.range}"


def catalogue() -> dict[str, list[str]]:
    """Names, units, ranges, reach, N and transform of V4 and V5 as the normative catalogue lists them."""
    found: dict[str, list[str]] = {"v4": [], "v5": []}
    section = None
    for line in (SHARED / "features.md").read_text(encoding="utf8").splitlines():
        if line.startswith("## "):
            section = {"## 3": "v4", "## 4": "v5"}.get(line[:4])
        cells = [c.strip() for c in line.strip("|").split("|")]
        if section and len(cells) == 10 and cells[0].isdigit():
            found[section].append("|".join([cells[1], cells[3], cells[4], cells[6], cells[7], cells[8]]))
    return found


@pytest.mark.skipif(not (SHARED / "features.md").is_file(), reason="the catalogue is not on this machine")
def test_l17_the_dictionary_is_the_catalogue() -> None:
    expected = catalogue()
    ours = {
        name: [
            "|".join([c.name, c.unit, c.range, str(c.reach), c.valid, c.transform])
            for c in table.features
            if c.name not in _FLAGS
        ]
        for name, table in (("v4", V4), ("v5", V5))
    }
    # Where the catalogue was found wrong, the dictionary is right: docs/decisions/0011.
    wrong, right = "volume_trend|1/min|[−0.286, 0.286]|", "volume_trend|1/min|[−0.434, 0.434]|"
    assert sum(line.startswith(wrong) for line in expected["v4"]) == 1
    expected["v4"] = [line.replace(wrong, right) for line in expected["v4"]]
    assert ours["v4"] == expected["v4"]
    assert ours["v5"] == expected["v4"] + expected["v5"]


def test_l17_counts_and_manifest() -> None:
    for table, features, inputs, on_disk in ((V4, 33, 24, 39), (V5, 53, 44, 59)):
        own = [c for c in table.features if c.name not in _FLAGS]
        assert (len(own), sum(c.is_input for c in own), len(table.columns) - 1) == (features, inputs, on_disk)
        assert len(manifest(table)) == features + len(_FLAGS)


@pytest.mark.parametrize("source", ["mid", "trade", "ohlcv"])
def test_labels_equal_their_twin_and_read_nothing_past_their_end(source: str, bars: Bars, rng) -> None:
    trades, book = (masked(f.head(1700), 0.05, rng) for f in bars)
    made, slow = labels(trades, book, source), naive.labels(trades, book, source)
    for c in slow.columns:
        same_values = made[c].equals(slow[c]) if made.schema[c].is_temporal() else close(made[c], slow[c])
        assert same_values, c
    cut = 1600
    changed = labels(later(trades, cut, "replace", rng), later(book, cut, "replace", rng), source)
    ends = {"y_ret_15m": 16, "y_up_15m": 16, "y_ret_5m": 6, "y_class_5m": 6, "y_triple_barrier": 61}
    for name, end in ends.items():
        # A label of row t reads rows up to t + end − 1.
        known = cut - (end - 1) + 1
        assert made[name].head(known).equals(changed[name].head(known), null_equal=True), name
    assert not made["y_ret_15m"].equals(changed["y_ret_15m"], null_equal=True)


def test_two_symbols_do_not_share_their_bars(market) -> None:
    a, b = bars_of(market, "BTC-USD", DAYS[:1]), bars_of(market, "SOL-USD", DAYS[:1])
    assert not a[0]["close"].equals(b[0]["close"])
