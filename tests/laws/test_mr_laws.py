"""The laws over mean reversion: twin, no look-ahead, true reach, partitions, units, sides, nulls, ranges, catalogue."""

import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from conftest import SHARED
from laws import laws
from laws.mr_inputs import SETTINGS, mr_inputs
from naive_mr import Twin

from crpbot_dagster.assets.features import mean_reversion
from crpbot_dagster.assets.features.inputs import Inputs
from crpbot_dagster.tables.features import READ_FROM, manifest, origins
from crpbot_dagster.tables.features_mr import MEAN_REVERSION, MR_FEATURES

FLIPS = ["imbalance", "imbalance_ma5", "ob_imbalance_1", "ob_imbalance_10", "ob_imbalance_25", "aggressor_flow",
         "trade_flow_net_ratio_15m", "flow_zscore", "liq_imbalance_1h", "kyle_lambda_30m", "effective_spread_bps",
         "price_impact_bps_5s", "ix_imbalance_vol", "ix_spread_imbalance", "ix_zscore_flow"]  # fmt: skip
CLIPPED = ("ou_speed_4h", "hurst_12h", "variance_ratio_5_4h")
STAYS = ["vpin", "vpin_ma10", "spread_bps", "depth_z_4h", "trade_size_z_1h", "ou_speed_4h", "vwap_dev_bps_4h"]


def build(inputs: Inputs) -> pl.DataFrame:
    return mean_reversion.build(inputs, SETTINGS)


@pytest.fixture(scope="module")
def inputs(market, bars, other_bars) -> Inputs:
    return mr_inputs(market, bars, other_bars, np.random.default_rng(7))


@pytest.fixture(scope="module")
def slow_tape(inputs: Inputs) -> Inputs:
    """Buckets so thin that 25 of them reach back the whole 20 hours from row 2,699, and end there: of row 1,500 is one."""
    ts = inputs.trades["ts"]
    first = ts[1500] + timedelta(seconds=30)
    middle = [ts[2500] + timedelta(minutes=5 * i) for i in range(24)]
    after = [ts[2700] + timedelta(seconds=10 + 60 * i) for i in range(30)]
    ends = [first, *middle, *after]
    n = len(ends)
    buckets = pl.DataFrame(
        {"bucket_n": range(n), "end_ts": ends, "bucket_volume": [4.0] * n, "buy_volume": [3.0, *[2.2] * (n - 1)],
         "sell_volume": [1.0, *[1.8] * (n - 1)]},
        schema_overrides={"end_ts": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    return replace(inputs, buckets=buckets)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.21, 0.6])
def test_l4_and_l11_twin_and_null_mask(share: float, inputs: Inputs, rng) -> None:
    lossy = laws.masked(inputs, share, rng)
    ours, twin = build(lossy), Twin(lossy)
    n = ours.height
    edges = [0, 1, 5, 14, 16, 59, 60, 61, 191, 240, 241, 300, 575, 577, 720, 1208, 1379, 1439, 1440, 2880]
    rows = sorted({*edges, *rng.integers(60, n, 8).tolist(), *range(n - 12, n)})
    slow = [twin.row(t) for t in rows]
    wrong = []
    for c in MEAN_REVERSION.features:
        expected = pl.Series([row[c.name] for row in slow], dtype=pl.Float64, strict=False)
        if not laws.close(ours[c.name].gather(rows).cast(pl.Float64), expected):
            wrong.append(c.name)
    assert wrong == []
    assert laws.not_plain(MEAN_REVERSION, ours) == set()


def test_l1_no_look_ahead(inputs: Inputs, rng) -> None:
    cuts = (1439, 2879, *rng.integers(1440, 4318, 2).tolist(), inputs.trades.height - 2)
    assert laws.looks_ahead(MEAN_REVERSION, build, inputs, rng, cuts) == set()


def known_at_its_own_midnight(inputs: Inputs) -> Inputs:
    daily = inputs.slow["D"]
    opened = pl.col("obs_day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return replace(inputs, slow={"D": daily.with_columns(available_ts=opened)})


LEAKS = {
    "imbalance": lambda i: replace(i, book=i.book.with_columns(pl.col("imbalance_5_tw").shift(-1))),
    "lead_ret_log_5m": lambda i: replace(i, partner_book=i.partner_book.with_columns(pl.col("mid").shift(-1))),
    "vpin": lambda i: replace(i, buckets=i.buckets.with_columns(pl.col("end_ts") - pl.duration(minutes=1))),
    "funding_z_30d": known_at_its_own_midnight,
    "realized_vol_rank_1d": lambda i: replace(
        i, book=i.book.with_columns(pl.col("mid").rolling_mean(5, center=True, min_samples=1))
    ),
    "rsi": lambda i: replace(i, trades=i.trades.with_columns(pl.col("close").fill_null(strategy="backward"))),
}


@pytest.mark.parametrize("column", LEAKS)
def test_l1_catches_planted_leaks(column: str, inputs: Inputs, rng) -> None:
    lossy = laws.masked(inputs, 0.05, rng)
    ts, lost = inputs.trades["ts"], lossy.trades["close"].is_null().arg_true()
    completed = ts.search_sorted(inputs.buckets["end_ts"][150], side="right") - 1
    cut = {"vpin": completed - 1, "rsi": lost.filter(lost > 2000)[0]}.get(column, 2000)

    def leaky(i: Inputs) -> pl.DataFrame:
        return build(LEAKS[column](i))

    assert column in laws.looks_ahead(MEAN_REVERSION, leaky, lossy, rng, [cut])


def test_l2_nothing_older_than_the_reach_matters(inputs: Inputs, slow_tape: Inputs, rng) -> None:
    assert laws.reads_more(MEAN_REVERSION, build, inputs, rng) == set()
    cut = laws.between(slow_tape, inputs.trades["ts"][0], inputs.trades["ts"][2699])
    assert laws.reads_more(MEAN_REVERSION, build, cut, rng, {1200, 1209}) == set()


def test_l2_the_whole_reach_matters(slow_tape: Inputs, rng) -> None:
    # A flag seldom turns on one row of 540: its reach is that of adx_14m, which is asked.
    assert laws.reads_less(MEAN_REVERSION, build, slow_tape, rng, 1500) - {"is_ranging"} == set()


def test_l3_partition_invariance(inputs: Inputs) -> None:
    assert laws.depends_on_partition(MEAN_REVERSION, build, inputs, (1500, 2000, 2881, 4319)) == set()


def test_l5_l6_units(inputs: Inputs) -> None:
    prices, sizes = laws.PRICES | laws.VALUES, laws.SIZES | laws.VALUES
    scale = float(inputs.trades["close"].max())
    assert laws.scales_wrongly(MEAN_REVERSION, build, inputs, prices, laws.PRICE_FACTOR, scale) == set()
    buckets = {"bucket_volume", "buy_volume", "sell_volume"}
    assert buckets < sizes
    assert laws.scales_wrongly(MEAN_REVERSION, build, inputs, sizes, laws.SIZE_FACTOR, scale) == set()


def swapped(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with buy and sell, and sizes of bid and ask, changed over; prices stay."""
    made = {}
    for c in frame.columns:
        for a, b in (("buy", "sell"), ("bid_depth", "ask_depth")):
            if a in c and c.replace(a, b) in frame.columns and not c.startswith("best"):
                made[c], made[c.replace(a, b)] = pl.col(c.replace(a, b)), pl.col(c)
    signed = [c for c in ("imbalance_1_tw", "imbalance_5_tw", "ofi_coin", "eff_spread_bps", "impact_5s_bps")
              if c in frame.columns]  # fmt: skip
    return frame.with_columns(**made, **{c: -pl.col(c) for c in signed})


def test_l9_sides(inputs: Inputs) -> None:
    plain, other = build(inputs), build(laws.over_all(inputs, swapped))
    assert [c for c in FLIPS if not laws.close(-plain[c], other[c])] == []
    assert [c for c in STAYS if not laws.close(plain[c], other[c])] == []


def test_l10_a_week_later_is_the_same(inputs: Inputs) -> None:
    assert laws.moves_with_the_week(MEAN_REVERSION, build, inputs) == set()


@pytest.mark.parametrize(
    ("column", "w", "need", "frame"),
    [
        ("imbalance_ma5", 5, 4, "book"),
        ("ofi_15m", 15, 12, "book"),
        ("flow_zscore", 60, 48, "trades"),
        ("price_zscore_240min", 240, 192, "book"),
        ("vwap_dev_bps_4h", 240, 192, "trades"),
        ("ratio_zscore_4h", 240, 192, "partner_book"),
    ],
)
def test_l11_exactly_n_valid_rows_are_enough(column, w, need, frame, inputs: Inputs) -> None:
    own = getattr(inputs, frame)
    for extra in (0, 1):
        lost = range(1000 - (w - need) - extra, 1000)
        holes = own.with_columns(
            pl.when(~pl.int_range(pl.len()).is_in(lost)).then(pl.col(c)).alias(c) for c in laws.values(own)
        )
        assert (build(replace(inputs, **{frame: holes}))[column][1000] is None) == bool(extra)


@pytest.mark.parametrize("kind", ["constant", "gaps", "one trade an hour"])
def test_l12_dead_market(kind: str, inputs: Inputs) -> None:
    quiet = laws.dead(inputs, kind)
    made = build(quiet)
    assert laws.not_plain(MEAN_REVERSION, made) == laws.out_of_range(MEAN_REVERSION, made) == set()
    if kind == "gaps":
        clock = {"minute_of_day_sin", "minute_of_day_cos", "funding_countdown_frac", "vpin", "vpin_ma10"}
        alive = {c.name for c in MEAN_REVERSION.features if made[c.name].null_count() < made.height}
        assert alive == clock
    if kind == "constant":
        assert made["liq_imbalance_1h"].drop_nulls().unique().to_list() == [0.0]
        assert made["realized_vol_60min"].drop_nulls().unique().to_list() == [0.0]
        for name in (
            "hurst_12h",
            "ou_speed_4h",
            "variance_ratio_5_4h",
            "jump_z_4h",
            "price_zscore_60min",
            "is_ranging",
        ):
            assert made[name].is_null().all(), name


@pytest.mark.parametrize("share", [0.0, 0.15, 0.19])
def test_l13_range_on_extremes(share: float, inputs: Inputs, rng) -> None:
    """Bursts of size, jumps of price and stretches in which nothing moves; holes beside."""
    n = inputs.trades.height
    burst = pl.Series(np.where(rng.random(n) < 0.02, 1e4, 1.0))
    still = np.cumsum(rng.random(n) < 0.005) % 2 == 0
    path = pl.Series(np.exp(np.cumsum(np.where(still, 0.0, rng.standard_t(1.2, n) * 1e-4).clip(-0.3, 0.3))))

    def wild(frame: pl.DataFrame) -> pl.DataFrame:
        moved = [(path * 100).alias(c) for c in ("mid", "close", "high", "low") if c in frame.columns]
        sizes = [c for c in ("volume", "buy_volume", *laws.VALUES) if c in frame.columns]
        return frame.with_columns(moved).with_columns(pl.col(c) * burst for c in sizes)

    made = build(laws.masked(laws.over_minutes(inputs, wild), share, rng))
    assert laws.out_of_range(MEAN_REVERSION, made) == laws.not_plain(MEAN_REVERSION, made) == set()


def test_l14_no_column_is_another(inputs: Inputs, rng) -> None:
    """The sandbox's levels all lean one way; here each has its own noise, as books have."""
    noise = {c: rng.lognormal(0, 0.5, inputs.trades.height) for c in inputs.book.columns if "_depth_" in c}
    noise["imbalance_5_tw"] = rng.uniform(-1, 1, inputs.trades.height) / inputs.book["imbalance_5_tw"].to_numpy()
    book = inputs.book.with_columns(pl.col(c) * pl.Series(v) for c, v in noise.items())
    made = build(replace(inputs, book=book))
    columns = laws.transformed(MEAN_REVERSION, made, inputs.trades["close"])
    alike, least = laws.twin_columns(columns)
    assert (alike, len(columns)) == (set(), 59)
    assert least > 1e-6


def test_an_absent_source_is_null_and_named(inputs: Inputs) -> None:
    book, partner, buckets = "bars/book_1m", "bars/book_1m", "bars/volume_buckets"
    cases = {
        "book": (replace(inputs, book=None), book, "hurst_12h"),
        "partner": (replace(inputs, partner_book=None), partner, "lead_corr_4h"),
        "buckets": (replace(inputs, buckets=None), buckets, "ix_vpin_size"),
        "daily": (replace(inputs, slow={}), "bars/daily", "funding_z_30d"),
        "derivatives": (replace(inputs, derivatives={}), "bars/derivatives_1m", "is_stale_derivatives"),
        "one venue": (
            replace(inputs, derivatives={"deribit": inputs.derivatives["deribit"]}), "bars/derivatives_1m", "basis_bps"
        ),
    }  # fmt: skip
    whole = build(inputs)
    assert mean_reversion.absent(inputs, SETTINGS) == {}
    for name, (less, table, example) in cases.items():
        made, why = build(less), mean_reversion.absent(less, SETTINGS)
        empty = {c.name for c in MEAN_REVERSION.features if made[c.name].null_count() == made.height}
        assert empty == set(why) and why[example] == table, name
        of_any_venue = {"liq_imbalance_1h", "is_stale_derivatives"} if name == "one venue" else set()
        rest = [c for c in laws.names(MEAN_REVERSION) if c not in why and c not in of_any_venue]
        assert laws.same(whole, made, rest) == set(), name
    nothing = build(Inputs(trades=inputs.trades))
    assert nothing["rsi"].equals(whole["rsi"])


def test_another_grid_is_refused(inputs: Inputs) -> None:
    with pytest.raises(ValueError, match="book is not on the minutes of trades"):
        build(replace(inputs, book=inputs.book.head(100)))


def catalogue() -> dict[str, tuple[str, ...]]:
    """The rows of features.md section 6, with `#n` in reads put in words and the group of the bold row above."""
    text = (SHARED / "features.md").read_text(encoding="utf8").split("## 6. Mean reversion")[1].split("## 7.")[0]
    rows, group = [], ""
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if bold := re.match(r"\| \| \*\*(.+) \(\d+\)\*\*", line):
            group = bold[1].replace(" ", "_")
        elif len(cells) == 10 and cells[0].isdigit():
            rows.append((*cells[1:], group))

    def read(text: str) -> list[str]:
        found: list[str] = []
        for part in text.split(", "):
            number = re.fullmatch(r"(?:as )?#(\d+)", part)
            found += [p for p in (read(rows[int(number[1]) - 1][4]) if number else [part]) if p not in found]
        return found

    return {r[0]: (*r[:4], ", ".join(read(r[4])), *r[5:]) for r in rows}


@pytest.mark.skipif(not (SHARED / "features.md").is_file(), reason="the catalogue is not on this machine")
def test_l17_the_dictionary_is_the_catalogue() -> None:
    expected = catalogue()
    ours = {
        c.name: (c.name, c.text, c.unit, c.range, ", ".join(c.reads), c.slow_reach or str(c.reach), c.valid,
                 c.transform, c.source, c.group)
        for c in MR_FEATURES
    }  # fmt: skip
    assert list(ours) == list(expected)
    for name, row in expected.items():
        # Where an estimator left its range in degenerate windows it is clipped: docs/decisions/0015.
        clipped = "; clipped to the range" if name in CLIPPED else ""
        assert ours[name] == (name, row[1].replace("**", "") + clipped, *row[2:]), name


def test_l17_counts_and_manifest() -> None:
    assert (len(MR_FEATURES), sum(c.is_input for c in MR_FEATURES), len(MEAN_REVERSION.columns) - 1) == (60, 59, 64)
    assert len(manifest(MEAN_REVERSION)) == 61 and len(set(manifest(MEAN_REVERSION))) == 61
    groups = [c.group for c in MR_FEATURES]
    sizes = [groups.count(g) for g in dict.fromkeys(groups)]
    assert sizes == [10, 8, 6, 6, 6, 4, 3, 5, 5, 2, 5]
    for c in MEAN_REVERSION.features:
        assert all(table in READ_FROM.values() for table, _ in origins(c)), c.name
