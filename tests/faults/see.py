"""How the cases of files and rows look at the platform: through the parser, through the asset, through the checks."""

import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
from raw.test_tardis import materialise

from crpbot_dagster.assets.checks import audit
from crpbot_dagster.assets.raw.candle_files import candles_of
from crpbot_dagster.assets.raw.dataset_file import DamagedFile, Layout, Parsed, parse, received_on
from crpbot_dagster.assets.raw.jumps import without_jumps
from crpbot_dagster.assets.raw.minute_file import read_day
from crpbot_dagster.assets.raw.tardis import BOOK, TRADES, book_from, deduplicated, trades_from
from crpbot_dagster.resources.lake import Built, Lake
from crpbot_dagster.sandbox.server import create_app, serve
from crpbot_dagster.tables import TABLES

DAY, SYMBOL = date(2023, 11, 20), "BTC-USD"
START = 1_700_438_400_000_000  # of DAY, µs
END = START + 86_400_000_000
HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
BOOK_HEADER = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
CANDLE_HEADER = "ts,open,high,low,close,volume"
ROWS = 2_000
FLAGS = ("clock_skew", "trade_ids", "price_steps", "frozen")
Rows = list[str]


def row(i: int, **cells: str) -> str:
    """The i-th sound trade of the day, with some cells replaced."""
    sound = {"exchange": "coinbase", "symbol": SYMBOL, "timestamp": str(START + i * 40_000_000)}
    sound |= {"local_timestamp": str(START + i * 40_000_000 + 9), "id": str(i + 1), "side": "buy"}
    sound |= {"price": f"{37_000 + i % 7}.5", "amount": "0.25"}
    return ",".join((sound | cells).values())


def rows(n: int = ROWS) -> Rows:
    return [row(i) for i in range(n)]


def text(lines: Rows, header: str = HEADER, newline: str = "\n") -> bytes:
    return newline.join([header, *lines, ""]).encode()


def packed(lines: Rows, header: str = HEADER) -> bytes:
    return gzip.compress(text(lines, header), mtime=0)


def code_of(error: DamagedFile) -> str:
    return f"file refused: {str(error).partition(':')[0]}"


def read(folder: Path, payload: bytes, layout: Layout = TRADES) -> tuple[Parsed, int]:
    path = folder / "file.csv.gz"
    path.write_bytes(payload)
    parsed, repeated = parse(path, received_on(layout, DAY), folder / "staged.parquet"), 0
    if layout is TRADES:
        parsed, repeated = deduplicated(without_jumps(parsed))
    assert parsed.frame.collect().height + parsed.refused.height + repeated == parsed.rows
    return parsed, repeated


def words(parsed: Parsed, repeated: int, layout: Layout) -> str:
    """What became of a file, in the words of docs/faults.md."""
    said = [f"row refused: {reason}" for reason in parsed.refused["reason"].unique().sort()]
    said += [f"repaired: {what}" for what in parsed.notes if what != "columns not read"]
    said += [f"repaired: {repeated} repeat dropped"] if repeated else []
    said += (
        [f"noted: columns not read: {parsed.notes['columns not read']}"] if "columns not read" in parsed.notes else []
    )
    flags = flagged(parsed, layout) if parsed.refused.is_empty() else []
    said = said or [", ".join(["accepted", *(f"flag {name}" for name in flags)])]
    return "; ".join(said)


def flagged(parsed: Parsed, layout: Layout) -> list[str]:
    """The checks that warn, of those that look at single rows."""
    table = TABLES["raw/tardis_trades" if layout is TRADES else "raw/tardis_book"]
    keys = [pl.lit(v).alias(k) for k, v in {"symbol": SYMBOL, "day": DAY, "venue": "coinbase"}.items()]
    frame = (trades_from if layout is TRADES else book_from)(parsed.frame).select(*keys, pl.all())
    built = Built(frame, "complete", "tardis", {"quarantined_frac": 0.0, "duplicates_n": 0.0})
    found, _ = audit(table, built, SYMBOL, DAY)
    assert all(passed for check, passed, _ in found if check.blocking)
    return [check.name for check, passed, _ in found if check.name in FLAGS and not passed]


def file(payload: bytes | Callable[[], bytes], layout: Layout = TRADES) -> Callable[[Path], str]:
    """See a dataset file through its parser and its checks."""

    def see(folder: Path) -> str:
        try:
            return words(*read(folder, payload() if callable(payload) else payload, layout), layout)
        except DamagedFile as error:
            return code_of(error)

    return see


def trade(**cells: str) -> Callable[[Path], str]:
    """See a file with one trade among sound ones whose cells are these."""
    return file(packed([*rows(5), row(5, **cells), row(6)]))


def update(**cells: str) -> Callable[[Path], str]:
    """See a file with one book update whose cells are these."""
    return file(packed([book_row(0), book_row(1, **cells)], BOOK_HEADER), BOOK)


def book_row(i: int, **cells: str) -> str:
    at = {"exchange": "coinbase", "symbol": SYMBOL, "timestamp": str(START + i), "local_timestamp": str(START + i + 9)}
    return ",".join((at | {"is_snapshot": "true", "side": "bid", "price": "37000", "amount": "1"} | cells).values())


def candles(content: bytes | Callable[[], bytes], kind: str = "csv") -> Callable[[Path], str]:
    """See a candle file of one's own; DAY's rows are looked at."""

    def see(folder: Path) -> str:
        path = folder / f"{SYMBOL}.{kind}"
        path.write_bytes(content() if callable(content) else content)
        try:
            found = read_day(path, DAY)
        except DamagedFile as error:
            return code_of(error)
        said = [f"row refused: {reason}" for reason in found.refused["reason"].unique().sort()]
        said += [f"repaired: {found.repeated} repeat dropped"] if found.repeated else []
        said += [f"state {found.state}"] if found.state != "complete" else []
        kept = candles_of({"bitfinex": found}, SYMBOL, DAY)
        return "; ".join(said) or ("accepted" if kept.height else "nothing kept")

    return see


def minute(ts: str, **cells: str) -> str:
    return ",".join(
        ({"ts": ts, "open": "100", "high": "102", "low": "99", "close": "101", "volume": "5"} | cells).values()
    )


def whole_day(*lines: str) -> bytes:
    """A candle file that spans DAY, with these lines in it."""
    around = [minute("2023-11-20T00:00:00Z"), minute("2023-11-20T23:59:00Z")]
    return "\n".join([CANDLE_HEADER, around[0], *lines, around[1], ""]).encode()


def delivered(*payloads: bytes) -> Callable[[Path], str]:
    """See the asset: the files of one day, delivered one after another to a lake that kept the ones before."""

    def see(folder: Path) -> str:
        lake = Lake(url=str(folder / "lake"), market="recordings", start_day="2023-11-10")
        home = folder / f"recordings/tardis/coinbase/trades/{DAY}"
        home.mkdir(parents=True)
        said = ""
        with serve(create_app(None, folder / "recordings", None)) as url:
            for payload in payloads:
                before = held(lake)
                (home / f"{SYMBOL}.csv.gz").write_bytes(payload)
                run = materialise(lake, url)
                said = f"state {lake.state('raw/tardis_trades', SYMBOL, DAY)}"
                if not run.success:
                    assert held(lake) == before, "the head changed"
                    said = f"{why(run)}, the day stays"
                elif before[1] and held(lake)[1] == before[1]:
                    said = "accepted, the same rows"
        return said

    return see


def held(lake: Lake) -> tuple[str | None, list[tuple[object, ...]]]:
    found = lake.scan("raw/tardis_trades", SYMBOL, DAY, DAY).sort("seq").collect()
    return lake.state("raw/tardis_trades", SYMBOL, DAY), found.rows()


def why(run) -> str:
    (event,) = (e for e in run.all_events if e.is_step_failure)
    said = event.step_failure_data.error.message
    for cause in ("share of rows quarantined",):
        if cause in said:
            return f"day refused: {cause}"
    return f"file refused: {said.partition('.csv.gz: ')[2].partition(':')[0]}"
