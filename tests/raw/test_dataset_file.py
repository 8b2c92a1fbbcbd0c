"""Dataset files: every row is kept, quarantined with a reason, or the file is refused as a whole."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpbot_dagster.assets.raw.dataset_file import DamagedFile, parse
from crpbot_dagster.assets.raw.tardis import BOOK, SNAPSHOTS, TRADES, trades_from

HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
GOOD = "coinbase,BTC-USD,1704153600000000,1704153600010000,1,buy,37000.5,0.25"


def write(folder: Path, *lines: str, newline: str = "\n", end: str = "\n") -> Path:
    path = folder / "trades.csv.gz"
    path.write_bytes(gzip.compress((newline.join(lines) + end).encode()))
    return path


def row(price: str = "37000.5", amount: str = "0.25", side: str = "buy", ts: str = "1704153600000000") -> str:
    return f"coinbase,BTC-USD,{ts},1704153600010000,1,{side},{price},{amount}"


def test_sound_rows_take_the_fast_path(tmp_path: Path) -> None:
    parsed = parse(write(tmp_path, HEADER, GOOD, row("1e-7"), row("2.5E+3")), TRADES, tmp_path / "s.parquet")
    assert parsed.refused.is_empty() and parsed.rows == 3
    assert trades_from(parsed.frame).collect()["price"].to_list() == [37000.5, 1e-7, 2500.0]


REFUSED = {
    "short row": ("coinbase,BTC-USD,1704153600000000", "not 8 fields"),
    "long row": (GOOD + ",extra", "not 8 fields"),
    "zero price": (row("0"), "price is not a positive number"),
    "negative price": (row("-1"), "price is not a positive number"),
    "minus zero": (row("-0"), "price is not a positive number"),
    "zero size": (row(amount="0"), "amount is not a positive number"),
    "NaN": (row("NaN"), "a number is not written as a number"),
    "Inf": (row("inf"), "a number is not written as a number"),
    "null": (row("null"), "a number is not written as a number"),
    "empty": (row(""), "price is not a positive number"),
    "1e400": (row("1e400"), "a number is not written as a number"),
    "decimal comma": (row('"1,5"'), "not 8 fields"),
    "thousands": (row("1 000"), "a number is not written as a number"),
    "underscore": (row("1_000.5"), "a number is not written as a number"),
    "Arabic digit": (row("١"), "a number is not written as a number"),
    "timestamp 0": (row(ts="0"), "timestamp is not a moment between 2009 and 2100"),
    "milliseconds": (row(ts="1704153600000"), "timestamp is not a moment between 2009 and 2100"),
    "nanoseconds": (row(ts="1704153600000000000"), "timestamp is not a moment between 2009 and 2100"),
    "ISO time": (row(ts="2024-01-02T00:00:00Z"), "a number is not written as a number"),
    "side": (row(side="hold"), "side is none of buy, sell, unknown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_bad_row_is_refused_with_its_line_and_reason(tmp_path: Path, name: str) -> None:
    line, reason = REFUSED[name]
    parsed = parse(write(tmp_path, HEADER, GOOD, line, GOOD), TRADES, tmp_path / "s.parquet")
    assert parsed.refused.rows() == [(3, reason, line)]
    assert parsed.frame.collect().height == 2 and parsed.rows == 3


def test_unknown_side_is_kept_as_null(tmp_path: Path) -> None:
    parsed = parse(write(tmp_path, HEADER, row(side="unknown"), row(side="sell")), TRADES, tmp_path / "s.parquet")
    assert trades_from(parsed.frame).collect()["side"].to_list() == [None, "sell"]


def test_two_gzip_members_are_both_read(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()) + gzip.compress(f"{GOOD}\n".encode()))
    assert parse(path, TRADES, tmp_path / "s.parquet").rows == 2


@pytest.mark.parametrize("cut", [5, 20])
def test_a_truncated_file_is_refused_as_a_whole(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, HEADER, *[GOOD] * 500)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DamagedFile):
        parse(path, TRADES, tmp_path / "s.parquet")


def test_a_wrong_checksum_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *[GOOD] * 500)
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(DamagedFile):
        parse(path, TRADES, tmp_path / "s.parquet")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Service unavailable</html>", gzip.compress(b"<html>\n<p>no</p>"), b"\x1f\x8b\x08"],
)
def test_something_else_than_the_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DamagedFile):
        parse(path, TRADES, tmp_path / "s.parquet")


def test_a_renamed_column_is_refused_and_an_extra_or_moved_one_accepted(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match="the header lacks amount"):
        parse(write(tmp_path, HEADER.replace("amount", "size"), GOOD), TRADES, tmp_path / "a.parquet")
    moved = "amount,price,side,id,local_timestamp,timestamp,symbol,exchange,fee"
    line = "0.25,37000.5,buy,1,1704153600010000,1704153600000000,BTC-USD,coinbase,0.1"
    found = parse(write(tmp_path, moved, line), TRADES, tmp_path / "b.parquet").frame.collect()
    assert (found["price"][0], found["amount"][0]) == (37000.5, 0.25)


def test_header_only_is_empty_and_windows_lines_are_read(tmp_path: Path) -> None:
    assert parse(write(tmp_path, HEADER), TRADES, tmp_path / "a.parquet").rows == 0
    path = write(tmp_path, HEADER, GOOD, GOOD, newline="\r\n", end="")
    assert parse(path, TRADES, tmp_path / "b.parquet").frame.collect().height == 2


@given(
    prices=st.lists(
        st.one_of(
            st.floats(allow_nan=True, allow_infinity=True).map(repr),
            st.text(st.characters(codec="ascii", exclude_characters="\n\r\x00"), max_size=8),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_rows_in_are_rows_kept_plus_rows_refused(tmp_path_factory: pytest.TempPathFactory, prices: list[str]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = write(folder, HEADER, *(row(price) for price in prices))
    try:
        parsed = parse(path, TRADES, folder / "s.parquet")
    except DamagedFile:
        return
    kept = parsed.frame.collect()
    assert kept.height + parsed.refused.height == parsed.rows == len(prices)
    assert kept["price"].is_finite().all() and (kept["price"] > 0).all()


def test_byte_exact_vendor_samples_are_read(shared_data: Path, tmp_path: Path) -> None:
    samples = {
        "bitmex_trades_XBTUSD.csv": TRADES,
        "deribit_incremental_book_L2_BTC-PERPETUAL.csv": BOOK,
        "binance-futures_book_snapshot_25_BTCUSDT.csv": SNAPSHOTS,
    }
    for name, layout in samples.items():
        raw = (shared_data / "tardis_samples" / name).read_bytes()
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress(raw))
        parsed = parse(path, layout, tmp_path / f"{name}.parquet")
        assert parsed.refused.is_empty()
        assert parsed.rows == raw.decode().strip().count("\n")
        assert isinstance(parsed.frame.collect(), pl.DataFrame)
