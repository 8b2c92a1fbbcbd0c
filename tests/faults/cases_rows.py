"""Bad rows: moments, order, repeats, ids, prices and sizes (26-51, 79)."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from faults.case import Case
from faults.see import (
    CANDLE_HEADER,
    DAY,
    END,
    ROWS,
    START,
    candles,
    delivered,
    file,
    minute,
    packed,
    read,
    row,
    rows,
    trade,
    update,
    whole_day,
)

from crpbot_dagster.assets.bars.tape import aggregate
from crpbot_dagster.assets.raw.tardis import trades_from

NOT_A_NUMBER = "row refused: a number is not written as a number"
NOT_POSITIVE = "row refused: price is not a positive number"
WRONG_MOMENT = "row refused: timestamp is not a moment between 2009 and 2100"
OTHER_DAY = "row refused: local_timestamp is not on the file's day"


def parquet(**cells: object) -> bytes:
    """A candle file of DAY whose second row has these cells."""
    ts = [datetime(2023, 11, 20, tzinfo=UTC) + timedelta(minutes=m) for m in (0, 1, 1439)]
    frame = pl.DataFrame({"ts": ts, "open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0, "volume": 5.0})
    second = pl.int_range(pl.len()) == 1
    frame = frame.with_columns(pl.when(second).then(pl.lit(v)).otherwise(pl.col(k)).alias(k) for k, v in cells.items())
    buffer = io.BytesIO()
    frame.write_parquet(buffer, statistics=True)
    return buffer.getvalue()


def shuffled(folder: Path) -> str:
    sound = rows(500)
    made = []
    for name, lines in (("a", sound), ("b", [*sound[250:], *sound[:250]])):
        (folder / name).mkdir()
        parsed, _ = read(folder / name, packed(lines))
        made.append(aggregate(trades_from(parsed.frame), DAY, 1.0, "received"))
    return "accepted in the file's order; the minutes are the same" if made[0].equals(made[1]) else "minutes differ"


def prices_kept(*prices: str):
    """See whether the prices come out as the floats their texts are."""

    def see(folder: Path) -> str:
        frame = read(folder, packed([row(i, price=p) for i, p in enumerate(prices)]))[0].frame.collect()
        return "accepted, exact" if frame["price"].to_list() == [float(p) for p in prices] else "changed"

    return see


def sides(folder: Path) -> str:
    lines = [row(0, side="unknown"), row(1, side=""), row(2, side="sell")]
    found = trades_from(read(folder, packed(lines))[0].frame).collect()["side"].to_list()
    minutes = aggregate(trades_from(read(folder, packed(lines[:1]))[0].frame), DAY, 1.0, "received")
    assert minutes["unknown_volume"].sum() == 0.25 and minutes["buy_volume"].sum() == 0
    return f"accepted as null: {found == [None, None, 'sell']}"


def still(i: int) -> str:
    return row(i, price="37000")


SPIKE = packed([*rows(50), row(50, price="37000000"), *(row(i) for i in range(51, 90))])
STEP = packed([*rows(50), *(row(i, price="45000") for i in range(50, 90))])
GAP = packed([*rows(50), *(row(i, id=str(i + 10_000)) for i in range(50, 90))])
RESET = packed([*(row(i, id=str(i + 900_000)) for i in range(50)), *(row(i, id=str(i)) for i in range(50, 90))])
UTC_ISO = "first two FIX to UTC; none → FAIL"

CASES = (
    Case(26, "seconds with a fraction, of a venue that writes them so", "FIX by exact decimal", "repaired: exact µs",
         where="tests/raw/test_kraken.py::test_seconds_with_a_fraction_are_exact"),
    Case(26, "seconds with a fraction where µs are agreed", "QR", NOT_A_NUMBER, trade(timestamp="1700000000.123456")),
    *(Case(27, f"timestamp {t}", "QR", WRONG_MOMENT, trade(timestamp=t))
      for t in ("0", "-1", "4102444800000001", "9000000000000000000")),
    Case(28, "ISO with Z", UTC_ISO, "accepted", candles(whole_day(minute("2023-11-20T12:00:00Z")))),
    Case(28, "ISO with +02:00", UTC_ISO, "accepted", candles(whole_day(minute("2023-11-20T14:00:00+02:00")))),
    Case(28, "ISO without an offset", UTC_ISO, "file refused: unit", candles(whole_day(minute("2023-11-20T12:00:00")))),
    Case(29, "1 µs before midnight", "belongs to D", "accepted", file(packed([row(0), row(1, timestamp=str(END - 9), local_timestamp=str(END - 1))]))),
    Case(29, "exactly midnight", "belongs to D+1; one and only one partition", OTHER_DAY, trade(local_timestamp=str(END))),
    Case(30, "row of D+1 in the file of D", "routed to D+1 staging, D gets none", OTHER_DAY,
         trade(timestamp=str(END + 5), local_timestamp=str(END + 9))),
    Case(30, "row of D−1 in the file of D", "D gets none", OTHER_DAY, trade(local_timestamp=str(START - 1))),
    Case(31, "candle file that ends at 18:00", "`PARTIAL`", "state partial",
         candles("\n".join([CANDLE_HEADER, *(minute(f"2023-11-20T{h:02}:00:00Z") for h in range(18)), ""]).encode())),
    Case(31, "day that the vendor has not had time for", "no PASS before D+1 00:00 + source delay",
         "asked again: after the source's delay",
         where="tests/raw/test_tardis_derivatives.py::test_a_file_that_is_early_is_no_missing_day"),
    Case(32, "23:59:60", "FIX, counted", "accepted", candles(whole_day(minute("2023-11-20T11:59:60Z")))),
    Case(33, "local time without a zone", "FAIL unless source is declared with zone; UTC day always 24 h",
         "file refused: unit", candles(whole_day(minute("2023-11-20 12:00:00")))),
    Case(33, "local time of a declared zone", "UTC day always 24 h", "repaired: to UTC as declared",
         where="tests/raw/test_funding.py::test_declared_right_the_stamps_are_settlements"),
    Case(34, "received 5 s before it happened, and a bit", "ACC + flag", "accepted, flag clock_skew",
         trade(timestamp=str(START + 5 * 40_000_000 + 5_100_000))),
    Case(34, "received 61 s before it happened", "> 60 s → QR", "row refused: received more than 60 s before it happened",
         trade(timestamp=str(START + 5 * 40_000_000 + 61_000_000))),
    Case(35, "rows out of order", "FIX stable sort by (ts, seq, file position)",
         "accepted in the file's order; the minutes are the same", shuffled),
    Case(36, "exact repeat", "FIX dedup by (source, trade_id)", "repaired: 1 repeat dropped",
         file(packed([*rows(9), row(3)]))),
    Case(36, "exact repeat without an id", "no id → keep, flag", "accepted",
         file(packed([*rows(9), row(9, id=""), row(9, id="")]))),
    Case(36, "exact repeat in a candle file", "FIX dedup", "repaired: 1 repeat dropped",
         candles(whole_day(minute("2023-11-20T00:00:00Z")))),
    Case(37, "same trade id, other price", "QR both, alert",
         "row refused: the trade id is there again with another price, size or side",
         file(packed([*rows(9), row(3, price="1.5")]))),
    Case(38, "trade ids leap by 10,000", "ACC, gap recorded, verdict PASS_Q or FAIL by budget", "accepted, flag trade_ids",
         file(GAP)),
    Case(39, "trade ids go back", "new epoch if the instrument table says so; else FAIL", "accepted, flag trade_ids",
         file(RESET)),
    Case(39, "trade ids go back at Kraken, whose pages they are", "else FAIL", "day refused: the ids begin anew",
         where="tests/raw/test_kraken.py::test_one_id_with_two_prices_is_refused_and_ids_that_begin_anew_fail_the_day"),
    Case(40, "same file delivered twice", "no-op by sha256", "accepted, the same rows",
         delivered(packed(rows()), packed(rows()))),
    Case(40, "same file delivered twice: what is downstream", "no-op by sha256", "accepted, nothing becomes stale",
         where="tests/resources/test_redelivery.py::test_children_are_stale_after_other_content_and_not_after_the_same"),
    Case(41, "old day delivered with other content", "new generation", "state complete",
         delivered(packed(rows()), packed(rows(ROWS - 1)))),
    Case(41, "old day delivered with other content: what is said", "diff report, downstream marked stale",
         "noted: the difference; downstream is stale",
         where="tests/resources/test_redelivery.py::test_the_difference_counts_rows_and_names_the_first"),
    *(Case(42, f"price {p}", "QR", NOT_POSITIVE, trade(price=p)) for p in ("0", "-0", "-1")),
    Case(43, "size 0 in a trade", "QR", "row refused: amount is not a positive number", trade(amount="0")),
    Case(43, "size 0 in the book", "ACC", "accepted", update(amount="0")),
    Case(44, "price × 1,000 for one trade", "QR `jump`", "row refused: jump: the price leaps for one trade and comes back",
         file(SPIKE)),
    Case(44, "price + 20 % that stays", "else ACC + flag", "accepted, flag price_steps", file(STEP)),
    Case(45, "one price for an hour of trades", "flag `frozen`", "accepted, flag frozen",
         file(packed([still(i) for i in range(100)]))),
    Case(45, "one price for an hour, live", "realtime HALT", "later: trading", where="later: trading"),
    *(Case(46, f"price {p or 'empty'}", "QR", NOT_A_NUMBER if p else NOT_POSITIVE, trade(price=p))
      for p in ("NaN", "Inf", "-Infinity", "null", "")),
    *(Case(47, what, "QR", NOT_A_NUMBER, trade(price=p)) for what, p in
      (("1e400", "1e400"), ("1e-400", "1e-400"), ("400 digits", "9" * 400), ("400 decimals", "1." + "0" * 400))),
    Case(47, "1e-400 as a size of the book, where 0 deletes", "QR", NOT_A_NUMBER, update(amount="1e-400")),
    Case(48, "1e-7, 2.5E+3", "ACC exact", "accepted, exact", prices_kept("1e-7", "2.5E+3")),
    Case(49, "price 1,5", "QR", "row refused: not 8 fields", trade(price="1,5")),
    *(Case(49, f"price `{p}`", "QR", NOT_A_NUMBER, trade(price=p))
      for p in ("1 000", "1_000.5", "+1", " 1 ", " 1", "০", "１", "١")),
    Case(50, "0.30000000000000004", "rounded to tick only in features, raw kept", "accepted, exact",
         prices_kept("0.30000000000000004", "0.3")),
    Case(51, "NaN in Parquet", "lake has no NaN: null + reason", NOT_A_NUMBER, candles(parquet(close=float("nan")), "parquet")),
    Case(51, "infinity in Parquet", "lake has no NaN: null + reason", NOT_A_NUMBER,
         candles(parquet(volume=float("inf")), "parquet")),
    Case(51, "NaN in Parquet at the door", "lake has no NaN", "day refused: outside its range",
         where="tests/resources/test_lake.py::test_each_hard_rule_is_seen_refusing"),
    Case(79, "aggressor unknown or absent", "ACC as null; features that need it are null", "accepted as null: True", sides),
)  # fmt: skip
