"""Bad markets, names and machines: books, unfinished candles, gaps, symbols, large and damaged days (52-56, 65-78)."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
from faults.case import Case
from faults.see import DAY, START, SYMBOL, delivered, file, held, packed, row, rows

from crpbot_dagster import instruments
from crpbot_dagster.assets.bars.tape import trades_1m
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.tables import TABLES


def name_of(symbol: str):
    """See whether a name is taken for a symbol."""

    def see(folder: Path) -> str:
        try:
            instruments.listing(symbol, "tardis", "coinbase", DAY)
        except instruments.UnknownInstrument:
            return "request refused: not a symbol"
        return "accepted"

    return see


def renamed(folder: Path) -> str:
    day = date(2021, 6, 16)
    before = instruments.listing("SOL-USD", "tardis", "coinbase", day)
    after = instruments.listing("SOL-USD", "tardis", "coinbase", day + timedelta(days=1))
    return "accepted from its first day on" if before is None and after is not None else "not dated"


def outage(folder: Path) -> str:
    start = pl.datetime(2023, 11, 20, time_zone="UTC", time_unit="us")
    minutes = [m for m in range(1440) if not 600 <= m < 840]
    ticks = pl.select(when=start + pl.duration(minutes=pl.Series(minutes))).with_columns(
        ts_exchange="when", ts_received="when", side=pl.lit("buy"), price=pl.lit(100.0), amount=pl.lit(1.0)
    )
    made = trades_1m(ticks.lazy(), DAY, 1.0, "received")
    is_gap = made["is_gap"].to_list()
    assert made["close"].slice(600, 240).null_count() == 240 and made["close"].null_count() == 240
    return "accepted: no price is made up, a gap from the tenth minute on" if is_gap[609:840] == [1] * 231 else "no gap"


def damaged_lake(folder: Path) -> str:
    delivered(packed(rows()))(folder)
    lake = Lake(url=str(folder / "lake"), market="recordings", start_day="2023-11-10")
    (part,) = (folder / "lake/raw/tardis_trades").rglob("*.parquet")
    content = bytearray(part.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    part.write_bytes(bytes(content))
    try:
        held(lake)
    except pl.exceptions.PolarsError:
        return "day refused: its file cannot be read"
    return "accepted"


def small_files(folder: Path) -> str:
    lake = Lake(url=str(folder / "lake"), market="recordings", start_day="2023-11-10")
    for _ in range(20):
        lake.publish("raw/tardis_trades", one_trade(), SYMBOL, DAY, "complete")
    files = lake.delta("raw/tardis_trades").file_uris()
    return (
        f"accepted: the day is {'one file' if len(files) == 1 else len(files)} of the lake, however often it is written"
    )


def one_trade() -> pl.DataFrame:
    at = pl.lit(START).cast(pl.Datetime("us", "UTC"))
    made = {
        "symbol": pl.lit(SYMBOL),
        "day": pl.lit(DAY),
        "venue": pl.lit("coinbase"),
        "seq": pl.lit(0),
        "side": pl.lit("buy"),
    }
    made |= {"ts_exchange": at, "ts_received": at, "trade_id": pl.lit("1"), "price": pl.lit(1.0), "amount": pl.lit(1.0)}
    return pl.select(made[c].cast(t).alias(c) for c, t in TABLES["raw/tardis_trades"].schema.items())


NOT_A_SYMBOL = "request refused: not a symbol"
LATER = "later: trading"
BOOKS = "tests/bars/test_order_book.py"

CASES = (
    Case(52, "crossed book for less than 1 s", "ACC + flag", "accepted, counted in crossed_n",
         where=f"{BOOKS}::test_a_crossed_book_is_counted_and_kept_out"),
    Case(53, "crossed book for more than 5 s", "book invalid until next snapshot; no signal",
         "accepted, its minutes are kept out", where=f"{BOOKS}::test_a_crossed_book_is_counted_and_kept_out"),
    Case(53, "crossed book for more than 5 s, live", "no signal", LATER, where=LATER),
    Case(54, "crossed book of several venues", "ACC", "accepted: a venue's book is not mixed with another's",
         where="tests/laws/test_laws.py::test_l8_the_lake_s_other_venues_and_sources_are_left_out"),
    Case(55, "update before the first snapshot", "dropped, counted", "accepted, not used",
         where=f"{BOOKS}::test_updates_before_the_first_snapshot_are_not_used"),
    Case(55, "lost update", "book invalid", "accepted, flag: the replay differs from the vendor's snapshots",
         where=f"{BOOKS}::test_replay_equals_the_sandbox_s_snapshots_and_a_lost_row_is_seen"),
    Case(56, "delete of an unknown level", "ignored", "accepted, ignored",
         where=f"{BOOKS}::test_book_1m_equals_its_naive_twin_on_a_wild_stream"),
    Case(65, "candle unfinished at fetch time", "dropped until `close_time < now − 5 s`",
         "repaired: the running minute is dropped, state partial",
         where="tests/raw/test_cryptocompare.py::test_the_running_minute_is_dropped_and_the_day_is_partial"),
    Case(66, "missing candles", "not invented; gap rows in coverage table", "accepted: empty minutes stay null",
         where="tests/bars/test_candles.py::test_an_empty_day_is_judged_by_the_gap_rule"),
    Case(67, "page that skips at its edge", "skip → refetch", "asked again: from the last id",
         where="tests/raw/test_kraken.py::test_a_skip_at_a_page_edge_is_asked_for_again"),
    Case(67, "page that repeats at its edge", "dedup + continuity check on ids", "repaired: each id once",
         where="tests/raw/test_coinbase.py::test_pages_overlap_and_each_trade_comes_once"),
    *(Case(68, f"symbol `{shown}`", "REJ by grammar", NOT_A_SYMBOL, name_of(symbol)) for shown, symbol in
      (("../../etc/passwd", "../../etc/passwd"), ("/etc/x", "/etc/x"), ("a\\0b", "a\0b"), ("CON", "CON"),
       ("300 letters", "A" * 300))),
    *(Case(69, f"symbol `{symbol}`", "three different paths", NOT_A_SYMBOL, name_of(symbol))
      for symbol in ("BTC/USD", "BTC:USD")),
    Case(69, "symbol `BTC-USD`", "three different paths", "accepted", name_of("BTC-USD")),
    Case(70, "symbol `x'; DROP TABLE t;--`", "REJ; SQL only with bound parameters", NOT_A_SYMBOL,
         name_of("x'; DROP TABLE t;--")),
    *(Case(71, f"symbol `{shown}`", "REJ (ASCII)", NOT_A_SYMBOL, name_of(symbol))
      for shown, symbol in (("ВТС-USD in Cyrillic", "ВТС-USD"), ("btc-usd", "btc-usd"), ("BTC-USD and a line end", "BTC-USD\n"))),
    Case(72, "listing that begins", "instrument table", "accepted from its first day on", renamed),
    Case(72, "renaming", "series joined only by explicit rule", "accepted by the name of its day",
         where="tests/raw/test_tardis_derivatives.py::test_a_symbol_is_asked_for_by_the_name_it_had_on_that_day"),
    Case(73, "tick size changes inside the day", "ACC", "accepted",
         file(packed([row(i, price=f"37000.{i % 10}" if i < 20 else f"37000.{i % 10}123") for i in range(40)]))),
    Case(74, "50 M-row day", "streams, RSS bound", "accepted, within 3 GiB",
         where="tests/soak/test_large_day.py::test_fifty_million_rows_pass_within_three_gibibytes"),
    Case(75, "many small files of one day", "compaction, open-file limit respected",
         "accepted: the day is one file of the lake, however often it is written", small_files),
    Case(77, "file of the lake corrupted by hand", "fsck/sha on first read → QF, refetch",
         "day refused: its file cannot be read", damaged_lake),
    Case(78, "outage of 4 h", "coverage gap; feature windows touching it are null, not 0",
         "accepted: no price is made up, a gap from the tenth minute on", outage),
)  # fmt: skip
