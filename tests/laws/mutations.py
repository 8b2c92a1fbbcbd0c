"""Leaks and other faults planted into copies of real functions, one expression each, and the law that must see it.

``document()`` is docs/laws.md: ``PYTHONPATH=tests python -m laws.mutations`` writes it. Not here: asking the laws
(``test_mutations.py``).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

from laws.every_source import MR_SETTINGS, SETTINGS
from laws.holes import NOT_COUNTED
from laws.laws import ROUNDING

from crpbot_dagster.assets.bars import book_minutes, tape
from crpbot_dagster.assets.features import mean_reversion, microstructure, multi_source, price, reversion, slow, windows
from crpbot_dagster.settings import PROJECT

DOCUMENT = PROJECT / "docs" / "laws.md"
Built = Callable[..., Any]  # of a set from its inputs, of bars from ticks


class NotPlanted(AssertionError):
    """The expression is not in the function once: the function was rewritten, and its mutation must be too."""


@dataclass(frozen=True)
class Mutation:
    """``before`` in ``module.function`` becomes ``after``; ``subject`` is a set of ``SUBJECTS``, or a table of bars."""

    leak: str
    module: ModuleType
    function: str
    before: str
    after: str
    subject: str
    column: str
    law: str

    @property
    def where(self) -> str:
        return f"{self.module.__name__.rpartition('.')[2]}.{self.function}"

    def changed(self) -> ModuleType:
        """Return a copy of the module with the fault in it."""
        function = getattr(self.module, self.function)
        body = inspect.getsource(getattr(function, "py_func", function))
        if body.count(self.before) != 1:
            raise NotPlanted(
                f"{self.where} has {self.before!r} {body.count(self.before)} times: change the mutation too"
            )
        return copy_of(self.module, (body, body.replace(self.before, self.after)))

    def build(self) -> Built:
        """Return what makes the set's (or the table's) rows with the fault in it."""
        return BUILDS[self.module, self.subject](self.changed(), self.function)


def copy_of(module: ModuleType, change: tuple[str, str] = ("", ""), **instead: object) -> ModuleType:
    """Return the module made again from its own source with ``change``, then with other names ``instead``."""
    source = inspect.getsource(module).replace(*change) if change[0] else inspect.getsource(module)
    made = ModuleType(module.__name__)
    # A kernel of a source without a file cannot be kept on disk.
    exec(compile(source.replace("@njit(cache=True)", "@njit"), f"<{module.__name__}>", "exec"), made.__dict__)
    made.__dict__.update(instead)
    return made


def _v4_of(price_: Any) -> Built:
    return lambda i: price_.v4(i.trades)


def _v5_of(microstructure_: Any) -> Built:
    return lambda i: microstructure_.v5(i.trades, i.book)


def _v6_of(multi_source_: Any) -> Built:
    return lambda i: multi_source_.build(i, SETTINGS)


def _mr_of(mean_reversion_: Any) -> Built:
    return lambda i: mean_reversion_.build(i, MR_SETTINGS)


def _one_kernel(changed: Any, function: str) -> SimpleNamespace:
    """The real kernels, but for the changed one: a copy is compiled anew."""
    return SimpleNamespace(**{**vars(reversion), function: getattr(changed, function)})


# What builds with a changed module, given the changed function's name.
BUILDS: dict[tuple[ModuleType, str], Callable[[Any, str], Built]] = {
    (price, "v4"): lambda m, f: _v4_of(m),
    (windows, "v4"): lambda m, f: _v4_of(copy_of(price, **{f: getattr(m, f)})),
    (microstructure, "v5"): lambda m, f: _v5_of(m),
    (windows, "v5"): lambda m, f: _v5_of(copy_of(microstructure, **{f: getattr(m, f)})),
    (multi_source, "v6"): lambda m, f: _v6_of(m),
    (slow, "v6"): lambda m, f: _v6_of(copy_of(multi_source, slow=m, over_arrivals=m.over_arrivals, stale=m.stale)),
    (mean_reversion, "mean_reversion"): lambda m, f: _mr_of(m),
    (reversion, "mean_reversion"): lambda m, f: _mr_of(copy_of(mean_reversion, reversion=_one_kernel(m, f))),
    (tape, "trades_1m"): lambda m, f: lambda t, d, day: m.trades_1m(t.lazy(), day, None, "received"),
    (book_minutes, "book_1m"): lambda m, f: lambda t, d, day: m.book_1m(d.lazy(), t.lazy(), day),
}
ENCODED = (
    'pl.DataFrame({"h": trades["ts"].dt.hour(), "y": np.append(np.diff(np.log(close)), np.nan)})'
    '.select(pl.col("y").fill_nan(None).mean().over("h")).to_series().to_numpy()'
)
# fmt: off
MUTATIONS = (
    Mutation("backward fill of the frame", price, "v4_columns",
             'arrays(trades, "open", "high"', 'arrays(trades.fill_null(strategy="backward"), "open", "high"',
             "v4", "close", "L1"),
    Mutation("shift(-1)", microstructure, "v5_columns", 'c["vwap_1m"] = vwap', 'c["vwap_1m"] = np.append(vwap[1:], np.nan)',
             "v5", "vwap_1m", "L1"),
    Mutation("centred window", windows, "window_mean",
             "range(max(0, i - w + 1), i + 1)", "range(max(0, i - w // 2), min(len(x), i + w // 2 + 1))",
             "v4", "sma_50", "L1"),
    Mutation("quantile of the full sample", price, "volatility_regime",
             "window_quantiles(v, REGIME_ROWS, needed(REGIME_ROWS), np.array(REGIME_QUANTILES))",
             "np.tile(np.nanquantile(v, REGIME_QUANTILES), (len(v), 1))", "v4", "volatility_high", "L1"),
    Mutation("whole-day group total", price, "v4_columns", "window_mean(volume, 20, needed(20))",
             'arrays(trades.select(pl.col("volume").mean().over(pl.col("ts").dt.date())), "volume")[0]',
             "v4", "volume_ma", "L1"),
    Mutation("right-closed boundary: a bucket that ends as the row is known", reversion, "volume_synchronised_imbalance",
             "end_us[after] < known_us[i]", "end_us[after] <= known_us[i]", "mean_reversion", "vpin", "L1"),
    Mutation("right-closed boundary: a trade at the minute's end", tape, "_sum_minutes",
             "offset = when[i] - start", "offset = when[i] - start - 1", "trades_1m", "close", "L1"),
    Mutation("daily sentiment at 00:00 of its own day", slow, "observations", "microseconds(rows[known])",
             'microseconds(rows[known] if kind != "S" else rows["obs_day"].cast(pl.Datetime("us", "UTC")))',
             "v6", "fear_greed_index", "L1"),
    Mutation("5 s impact stamped at the trade's time", book_minutes, "_trade_columns",
             "at % MINUTE_US < 55 * SECOND_US", "at >= 0", "book_1m", "impact_5s_bps", "L1"),
    Mutation("resampled bar joined on its open", multi_source, "price_volume", "ratio(mean(volume, 60), mean(volume, 1440))",
             'ratio(arrays(trades.select(pl.col("volume").mean().over(pl.col("ts").dt.truncate("1h"))), "volume")[0], '
             "mean(volume, 1440))", "v6", "volume_ratio_1h_1d", "L1"),
    Mutation("scaler fitted on all rows", mean_reversion, "_flow_and_book", '_z(c["aggressor_flow"], 60)',
             '(c["aggressor_flow"] - np.nanmean(c["aggressor_flow"])) / np.nanstd(c["aggressor_flow"])',
             "mean_reversion", "flow_zscore", "L1"),
    Mutation("target encoding: the hour's mean next return", price, "v4_columns", "100 * ratio(high - low, close)", ENCODED,
             "v4", "spread_pct", "L1"),
    Mutation("forward-filled masked minute", microstructure, "v5_columns", 'arrays(book, "spread_bps_tw", ',
             'arrays(book.fill_null(strategy="forward"), "spread_bps_tw", ', "v5", "spread_bps", "L4"),
    Mutation("moving average started at the first row", windows, "ema", "10 * span", "len(x)", "v4", "macd", "L2"),
    Mutation("cumulative volume-weighted price", microstructure, "volume_weighted_price",
             "ratio(window_sum(value, w, needed(w)), window_sum(volume, w, needed(w)))",
             "ratio(np.nancumsum(value), np.nancumsum(volume))", "v5", "vwap_15m", "L3"),
    Mutation("a window that accepts one row", price, "v4_columns", "window_mean(close, w, needed(w))",
             "window_mean(close, w, 1)", "v4", "sma_50", "L11"),
    Mutation("another symbol's daily rows", slow, "observations",
             "*(pl.col(name) == value for name, value in where.items())", "", "v6", "market_cap_change_log_7d", "L7"),
    Mutation("the maker's side taken for the aggressor's", microstructure, "v5_columns",
             'c["trade_flow_buy"], c["trade_flow_sell"] = buy, sell', 'c["trade_flow_buy"], c["trade_flow_sell"] = sell, buy',
             "v5", "trade_flow_buy", "L4"),
    Mutation("an epsilon in a denominator", windows, "ratio", "np.divide(a, b, ", "np.divide(a, b + 1e-8, ",
             "v5", "ofi_1m", "L4"),
    Mutation("a price level where a ratio is named", microstructure, "log_ratio", "np.log(quotient,", "np.log(a,",
             "v5", "vwap_dev_bps_1h", "L5"),
    Mutation("a count taken from the next minute", tape, "trades_1m",
             '_blank_gaps(filled)', '_blank_gaps(filled.with_columns(pl.col("trade_count_n").shift(-1)))',
             "trades_1m", "trade_count_n", "L1"),
    Mutation("page views read before they are published", slow, "observations",
             '"wiki_available_ts" if kind == "wiki" else "available_ts"', '"available_ts"',
             "v6", "wiki_views_z_30d", "L16"),
    Mutation("a late value that is called late too late", slow, "stale", "> STALE_AFTER[", "> 2 * STALE_AFTER[",
             "v6", "is_stale_sentiment", "L4"),
    Mutation("a window shorter than it says", price, "v4_columns", "window_mean(close, w, needed(w))",
             "window_mean(close, w - 1, needed(w) - 1)", "v4", "sma_50", "L2"),
    Mutation("a size where a ratio is named", microstructure, "v5_columns", 'ratio(*arrays(book, "ofi_coin", "depth_1_tw"))',
             'arrays(book, "ofi_coin")[0]', "v5", "ofi_1m", "L6"),
    Mutation("another venue's volume", multi_source, "price_volume", "ratio(mean(volume, 5), ",
             'ratio(mean(venues.column(venues.trades("binance"), "volume"), 5), ', "v6", "volume_ratio_5m_1h", "L8"),
    Mutation("a flow without its sign", mean_reversion, "_flow_and_book", '= bought - sold', "= np.abs(bought - sold)",
             "mean_reversion", "aggressor_flow", "L9"),
    Mutation("a level that drifts with the date", price, "v4_columns", "100 * ratio(high - low, close)",
             '100 * ratio(high - low, close) * (1 + 1e-6 * trades["ts"].dt.ordinal_day().to_numpy())', "v4", "spread_pct", "L10"),
    Mutation("a place in a flat band", price, "bollinger_bands", "np.where(spread == 0, np.nan, ", "np.where(spread == 0, 0.5, ",
             "v4", "bb_position", "L12"),
    Mutation("a limit left out", mean_reversion, "_flow_and_book", "= np.maximum(0.0, 1 - ", "= np.asarray(1 - ",
             "mean_reversion", "queue_cancel_frac_15m", "L13"),
    Mutation("one quantity under two names", microstructure, "v5_columns", "share(buys, sells)", "share(buy, sell)",
             "v5", "trade_flow_count_ratio", "L14"),
)
# fmt: on


def _factors() -> str:
    units: dict[float, list[str]] = {}
    for unit, factor in ROUNDING.items():
        units.setdefault(factor, []).append(f"`{unit}`")
    return ", ".join(f"{factor:,.0f} for {' and '.join(of)}" for factor, of in units.items())


def _not_counted() -> str:
    columns: dict[str, list[str]] = {}
    for name, why in NOT_COUNTED.items():
        columns.setdefault(why, []).append(f"`{name}`")
    return "; ".join(f"{', '.join(of)} ({why})" for why, of in columns.items())


LAWS = {
    "L1": (
        "No look-ahead",
        "what was received later is deleted, shuffled or replaced, sides included: no earlier row changes, bit for bit; at "
        "random cuts, midnight of a month's end, the first row and near the last, edges of gaps, the minute before a late value",
    ),
    "L2": (
        "Reach is true",
        "what is older than the reach changes nothing; the oldest row, day or hour inside it does (with weights, a row of "
        "its last tenth; a flag, where it hangs by the last bit of a price)",
    ),
    "L3": (
        "Partition invariance",
        "a day with the one before, and one row with its own 1,441, give the bits of all days",
    ),
    "L4": (
        "Twin",
        "equal to a slow twin written from the catalogue, with the same nulls: 1e-9 relative, and absolute 1e-12 times the "
        f"size of what was subtracted: the highest price for USD, {_factors()}, 1 for the others",
    ),
    "L5": ("Price units", "all prices doubled: each column follows its unit, to the tolerance of L4"),
    "L6": ("Size units", "all sizes doubled: each column follows its unit, to the tolerance of L4"),
    "L7": ("Symbol independence", "another symbol's rows change the columns that declare it, and no other"),
    "L8": ("Venue independence", "another venue's rows change the columns that declare it, and no other"),
    "L9": (
        "Sides",
        "buy and sell changed over: flows and imbalances turn, everything else stays, to the tolerance of L4 (the "
        "microprice's distance to a hundredth)",
    ),
    "L10": ("Time shift", "all data a week earlier: the same bits"),
    "L11": (
        "Null mask",
        "null or finite under random masks of 5, 21 and 60 %; with as many of the oldest rows, days or hours lost as a "
        "window can spare there is a value, with one more there is none. What is read as of a minute and what the clock "
        f"says have no rows to count, and these are not counted: {_not_counted()}",
    ),
    "L12": (
        "Dead market",
        "everything frozen: each column is its one documented constant, or null throughout; a feed that is down: null; one "
        "trade an hour: in range, and without a trade in the formula the same constant or null",
    ),
    "L13": ("Range", "jumps, bursts and standstills stay inside the stated range"),
    "L14": ("No twin columns", "no pair of inputs correlates beyond 0.9999, and the matrix has full rank"),
    "L15": ("Known answers", "worked examples of every kernel (`tests/features`, `tests/bars`)"),
    "L16": ("Live = history", "three days in random chunks, with a kill and a resume: the bits of the stored columns"),
    "L17": ("Manifest", "names, order, formulas, units, ranges, reach, nulls and transforms are the catalogue's"),
}


def document() -> str:
    """Return the text of docs/laws.md."""
    lines = [
        "# The laws of features",
        "",
        "Each is one test over every column of V4, V5, V6 and mean reversion (`tests/laws`). A column that breaks one cannot",
        "land; on real data L1 to L3 are asked of three rows of every partition (the check `no_look_ahead`), one of them among",
        "those with the fewest nulls; the materialisation says how many columns had a value in one (`look_ahead_compared_n`).",
        "",
        "| | law | what the test does |",
        "|---|---|---|",
        *(f"| {key} | {name} | {text} |" for key, (name, text) in LAWS.items()),
        "",
        "## Planted faults",
        "",
        "Each is put into a copy of the real function, in place of one expression, and must be caught by the law named; without",
        "it the law is silent. Written by `PYTHONPATH=tests python -m laws.mutations`.",
        "",
        "| fault | planted in | column | caught by |",
        "|---|---|---|---|",
        *(f"| {m.leak} | `{m.where}` | `{m.column}` of {m.subject} | {m.law} {LAWS[m.law][0]} |" for m in MUTATIONS),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf8")
