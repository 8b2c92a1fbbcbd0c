"""Naive twins of ``bars/trades_1m`` and ``bars/book_1m``, written from features.md alone (law L4).

Not here: the twins of features and labels (``naive.py``) and the kernels (``crpbot_dagster/assets/bars``).
Times are integers in microseconds since 1970, UTC.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import accumulate, groupby, pairwise

import polars as pl
from naive import Value, add_up, imbalance, microprice, ofi_events

SECOND = 1_000_000
MINUTE = 60 * SECOND
DEPTHS = (1, 5, 10, 25)
TRADE_PRICES = ["open", "high", "low", "close", "open_1s"]
TRADE_COLUMNS = [
    *TRADE_PRICES, "volume", "volume_usd", "vwap", "trade_count_n", "buy_volume", "sell_volume",
    "buy_volume_usd", "sell_volume_usd", "buy_count_n", "sell_count_n", "unknown_volume", "large_threshold",
    "large_buy_volume_usd", "large_sell_volume_usd", "is_gap",
]  # fmt: skip
BOOK_COLUMNS = [
    "best_bid", "best_ask", "mid", "microprice", "mid_1s", "mid_high", "mid_low",
    *[f"{side}_depth_{k}" for k in DEPTHS for side in ("bid", "ask")],
    "spread_bps_tw", "imbalance_1_tw", "imbalance_5_tw", "depth_1_tw", "ofi_coin",
    "add_n", "modify_n", "delete_n", "remove_coin", "best_ask_up_n", "best_bid_down_n",
    "eff_spread_bps", "impact_5s_bps", "valid_frac", "crossed_n", "reset_n", "is_masked",
]  # fmt: skip
COUNTED = [
    "add_n", "modify_n", "delete_n", "remove_coin", "best_ask_up_n", "best_bid_down_n", "crossed_n", "reset_n"
]  # fmt: skip


def microseconds(frame: pl.DataFrame, column: str) -> list[int]:
    """Return a time column as integers."""
    return frame[column].dt.epoch("us").to_list()


def minutes_of(day: date) -> list[int]:
    """Return the 1440 minute starts of a UTC day."""
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND
    return [midnight + i * MINUTE for i in range(1440)]


def to_frame(starts: Sequence[int], names: Sequence[str], rows: Sequence[dict[str, Value]]) -> pl.DataFrame:
    """Return ts and the named columns: counts Int64, flags Int8, all else Float64."""
    columns = [pl.Series("ts", starts, pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")]
    for name in names:
        kind = pl.Int64 if name.endswith("_n") else pl.Int8 if name.startswith("is_") else pl.Float64
        columns.append(pl.Series(name, [row[name] for row in rows], pl.Float64, strict=False).cast(kind))
    return pl.DataFrame(columns)


# --- trades (2.1) -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trade:
    """One trade; ``side`` is the aggressor's, None if unknown."""

    received: int
    exchange: int
    seq: int
    side: str | None
    price: float
    amount: float


def read_trades(ticks: pl.DataFrame) -> list[Trade]:
    """Return the trades with a price and a size above 0, in the order of the frame."""
    times = zip(microseconds(ticks, "ts_received"), microseconds(ticks, "ts_exchange"), strict=True)
    values = ticks.select("seq", "side", "price", "amount").rows()
    trades = [Trade(*time, *value) for time, value in zip(times, values, strict=True)]
    return [trade for trade in trades if trade.price > 0 and trade.amount > 0]


def trade_minute(trades: Sequence[Trade], times: Sequence[int], start: int, large: float | None) -> dict[str, Value]:
    """Return the columns of one minute; ``trades`` in order, ``times`` on the clock in use."""
    prices = [trade.price for trade in trades]
    late = [trade.price for trade, time in zip(trades, times, strict=True) if time >= start + SECOND]
    row: dict[str, Value] = {
        "open": prices[0] if prices else None,
        "high": max(prices, default=None),
        "low": min(prices, default=None),
        "close": prices[-1] if prices else None,
        "open_1s": late[0] if late else None,
        "volume": add_up([trade.amount for trade in trades]),
        "volume_usd": add_up([trade.price * trade.amount for trade in trades]),
        "trade_count_n": len(trades),
        "unknown_volume": add_up([trade.amount for trade in trades if trade.side is None]),
        "large_threshold": large,
        "is_gap": 0,
    }
    row["vwap"] = row["volume_usd"] / row["volume"] if trades else None
    for side in ("buy", "sell"):
        own = [trade for trade in trades if trade.side == side]
        row[f"{side}_volume"] = add_up([trade.amount for trade in own])
        row[f"{side}_volume_usd"] = add_up([trade.price * trade.amount for trade in own])
        row[f"{side}_count_n"] = len(own)
        big = [trade.price * trade.amount for trade in own if large is not None and trade.amount >= large]
        row[f"large_{side}_volume_usd"] = None if large is None else add_up(big)
    return row


def trades_1m(ticks: pl.DataFrame, day: date, large_threshold: float | None, clock: str) -> pl.DataFrame:
    """Return the 1440 minutes of a day, cut and ordered on the clock 'received' or 'exchange'."""
    starts = minutes_of(day)
    by_minute: dict[int, list[Trade]] = {start: [] for start in starts}
    for trade in read_trades(ticks):
        start = getattr(trade, clock) // MINUTE * MINUTE
        if start in by_minute:
            by_minute[start].append(trade)
    rows = []
    silent = 0
    for start in starts:
        trades = sorted(by_minute[start], key=lambda trade: (getattr(trade, clock), trade.seq))
        silent = 0 if trades else silent + 1
        if silent >= 10:
            rows.append(dict.fromkeys(TRADE_COLUMNS) | {"is_gap": 1})
        else:
            times = [getattr(trade, clock) for trade in trades]
            rows.append(trade_minute(trades, times, start, large_threshold))
    return to_frame(starts, TRADE_COLUMNS, rows)


# --- replay of the book (2.2) -------------------------------------------------------------------------

Levels = list[tuple[float, float]]  # (price, size), best first


@dataclass(frozen=True)
class State:
    """The book after one message, and what the message did."""

    received: int
    exchange: int
    is_snapshot: bool
    bids: Levels
    asks: Levels
    counts: dict[str, float]

    @property
    def two_sided(self) -> bool:
        return bool(self.bids) and bool(self.asks)

    @property
    def in_order(self) -> bool:
        return self.two_sided and self.bids[0][0] < self.asks[0][0]

    @property
    def mid(self) -> float:
        return (self.bids[0][0] + self.asks[0][0]) / 2

    @property
    def quote(self) -> tuple[float, float, float, float]:
        return *self.bids[0], *self.asks[0]

    def valid_at(self, instant: int) -> bool:
        return self.in_order and instant - self.received <= MINUTE

    def depth(self, side: str, k: int) -> Value:
        levels = self.bids if side == "bid" else self.asks
        return add_up([size for _, size in levels[:k]]) if len(levels) >= k else None


def best_levels(book: dict[str, dict[float, float]], side: str) -> Levels:
    """Return the best 25 levels of a side."""
    prices = sorted(book[side], reverse=side == "bid")
    return [(price, book[side][price]) for price in prices[:25]]


def apply_row(book: dict[str, dict[float, float]], side: str, price: float, size: float) -> tuple[str | None, float]:
    """Set one level and return (what happened, by how much the size fell)."""
    before = book[side].get(price, 0.0)
    if size > 0:
        book[side][price] = size
    else:
        book[side].pop(price, None)
    if size == before:
        return None, 0.0
    kind = "add_n" if before == 0 else "delete_n" if size == 0 else "modify_n"
    return kind, max(before - size, 0.0)


def replay(deltas: pl.DataFrame) -> list[State]:
    """Return the state after each message, from the first snapshot on."""
    times = zip(microseconds(deltas, "ts_received"), microseconds(deltas, "ts_exchange"), strict=True)
    rows = list(zip(times, deltas.select("is_snapshot", "side", "price", "amount").rows(), strict=True))
    book: dict[str, dict[float, float]] = {"bid": {}, "ask": {}}
    states: list[State] = []
    for (received, exchange, is_snapshot), message in groupby(rows, key=lambda row: (*row[0], row[1][0])):
        if not states and not is_snapshot:
            continue
        counts = dict.fromkeys(COUNTED, 0.0)
        if is_snapshot and (not states or not states[-1].is_snapshot):
            book = {"bid": {}, "ask": {}}
            counts["reset_n"] += 1
        top_10 = {side: {price for price, _ in best_levels(book, side)[:10]} for side in ("bid", "ask")}
        for _, (_, side, price, size) in message:
            kind, fall = apply_row(book, side, price, size)
            if kind and not is_snapshot:
                counts[kind] += 1
                counts["remove_coin"] += fall if price in top_10[side] else 0.0
        bids, asks = best_levels(book, "bid"), best_levels(book, "ask")
        state = State(received, exchange, is_snapshot, bids, asks, counts)
        if not is_snapshot and states[-1].two_sided and state.two_sided:
            counts["best_ask_up_n"] += state.asks[0][0] > states[-1].asks[0][0]
            counts["best_bid_down_n"] += state.bids[0][0] < states[-1].bids[0][0]
        counts["crossed_n"] += state.two_sided and not state.in_order
        states.append(state)
    assert all(a.received <= b.received for a, b in pairwise(states)), "messages are not in receive order"
    return states


# --- minutes of the book ------------------------------------------------------------------------------


def order_flow(states: Sequence[State]) -> list[float]:
    """Return e of each message; 0 at a snapshot or next to an invalid state."""
    flow = [0.0] if states else []
    for before, after in pairwise(states):
        usable = before.valid_at(after.received) and after.in_order
        usable = usable and not before.is_snapshot and not after.is_snapshot
        flow.append(ofi_events([before.quote, after.quote])[0] if usable else 0.0)
    return flow


def valid_stretches(states: Sequence[State], received: Sequence[int], start: int) -> Iterator[tuple[State, int]]:
    """Yield each valid state in force inside the minute and for how many microseconds."""
    end = start + MINUTE
    first, last = max(bisect_left(received, start) - 1, 0), bisect_left(received, end)
    for i in range(first, last):
        until = received[i + 1] if i + 1 < len(received) else end
        lasted = min(until, received[i] + MINUTE, end) - max(received[i], start)
        if states[i].in_order and lasted > 0:
            yield states[i], lasted


def weighted(stretches: Sequence[tuple[State, int]], value: Callable[[State], Value]) -> Value:
    """Return the time-weighted mean of ``value`` over the stretches that have one."""
    kept = [(value(state), lasted) for state, lasted in stretches if value(state) is not None]
    total = sum(lasted for _, lasted in kept)
    return add_up([x * lasted for x, lasted in kept]) / total if total else None


def spread_bps(state: State) -> float:
    return 1e4 * (state.asks[0][0] - state.bids[0][0]) / state.mid


def depth_1(state: State) -> float:
    return (state.bids[0][1] + state.asks[0][1]) / 2


def imbalance_k(k: int) -> Callable[[State], Value]:
    """Return a function of a state: the imbalance of its best k levels."""
    return lambda state: imbalance([size for _, size in state.bids], [size for _, size in state.asks], k)


@dataclass(frozen=True)
class Execution:
    """A trade with a side and the mid before it; ``mid_5s`` is None if there is none."""

    trade: Trade
    direction: int
    mid: float
    mid_5s: Value


def executions(states: Sequence[State], trades: Sequence[Trade]) -> list[Execution]:
    """Return the trades that have a side and a valid mid strictly before them."""
    received = [state.received for state in states]
    newest = list(accumulate((state.exchange for state in states), max))
    result = []
    for trade in trades:
        i = bisect_left(newest, trade.exchange) - 1  # just before the first message at or after the trade
        if trade.side is None or i < 0:
            continue
        before = states[i]
        if not before.in_order or trade.exchange - before.exchange > MINUTE:
            continue
        instant = trade.received + 5 * SECOND
        j = bisect_right(received, instant) - 1
        later = states[j].mid if j >= 0 and states[j].valid_at(instant) else None
        result.append(Execution(trade, 1 if trade.side == "buy" else -1, before.mid, later))
    return result


def cost_bps(done: Sequence[Execution], price: Callable[[Execution], float]) -> Value:
    """Return the size-weighted mean of 2 d (price - m) / m in bps."""
    if not done:
        return None
    paid = [1e4 * x.trade.amount * 2 * x.direction * (price(x) - x.mid) / x.mid for x in done]
    return add_up(paid) / add_up([x.trade.amount for x in done])


def end_columns(states: Sequence[State], received: Sequence[int], start: int) -> dict[str, Value]:
    """Return what the book shows at the end of the minute and at its first second."""
    row: dict[str, Value] = dict.fromkeys(BOOK_COLUMNS)
    last = bisect_left(received, start + MINUTE) - 1
    if last >= 0 and states[last].valid_at(start + MINUTE):
        state = states[last]
        bid, bid_size, ask, ask_size = state.quote
        row |= {"best_bid": bid, "best_ask": ask, "mid": state.mid}
        row["microprice"] = microprice(bid, bid_size, ask, ask_size)
        row |= {f"{side}_depth_{k}": state.depth(side, k) for k in DEPTHS for side in ("bid", "ask")}
    early = bisect_right(received, start + SECOND) - 1
    if early >= 0 and states[early].valid_at(start + SECOND):
        row["mid_1s"] = states[early].mid
    return row


def mean_columns(stretches: Sequence[tuple[State, int]], done: Sequence[Execution], start: int) -> dict[str, Value]:
    """Return the columns that need half a minute of valid book."""
    mids = [state.mid for state, _ in stretches]
    early = [x for x in done if x.trade.received < start + 55 * SECOND and x.mid_5s is not None]
    return {
        "mid_high": max(mids),
        "mid_low": min(mids),
        "spread_bps_tw": weighted(stretches, spread_bps),
        "imbalance_1_tw": weighted(stretches, imbalance_k(1)),
        "imbalance_5_tw": weighted(stretches, imbalance_k(5)),
        "depth_1_tw": weighted(stretches, depth_1),
        "eff_spread_bps": cost_bps(done, lambda x: x.trade.price),
        "impact_5s_bps": cost_bps(early, lambda x: x.mid_5s),
    }


def masked(states: Sequence[State], start: int) -> bool:
    """Return whether the book had been crossed for more than 5 s by the minute's end, inside the minute too."""
    end, since = start + MINUTE, None
    for i, state in enumerate(states):
        begins_anew = state.counts["reset_n"] > 0
        since = state.received if since is None or begins_anew else since
        if state.in_order or not state.two_sided:
            since = None
            continue
        until = states[i + 1].received if i + 1 < len(states) else end
        if until > start and since < end and min(until, end) - since > 5 * SECOND:
            return True
    return False


def book_1m(deltas: pl.DataFrame, ticks: pl.DataFrame, day: date) -> pl.DataFrame:
    """Return the 1440 minutes of a day from L2 updates in file order and the day's trades."""
    states = replay(deltas)
    received = [state.received for state in states]
    flow = order_flow(states)
    trades = sorted(read_trades(ticks), key=lambda trade: (trade.received, trade.seq))
    done = executions(states, trades)
    traded = [x.trade.received for x in done]
    starts, rows = minutes_of(day), []
    for start in starts:
        row = end_columns(states, received, start)
        stretches = list(valid_stretches(states, received, start))
        valid = sum(lasted for _, lasted in stretches)
        row["valid_frac"] = valid / MINUTE
        if 2 * valid >= MINUTE:
            inside = done[bisect_left(traded, start) : bisect_left(traded, start + MINUTE)]
            row |= mean_columns(stretches, inside, start)
        first, after = bisect_left(received, start), bisect_left(received, start + MINUTE)
        if after > first or valid > 0:  # else the feed is down: counts and sums stay null (1.3.5)
            row["ofi_coin"] = add_up(flow[first:after])
            row |= {name: add_up([state.counts[name] for state in states[first:after]]) for name in COUNTED}
        row["is_masked"] = int(masked(states, start))
        if row["is_masked"]:
            kept = ("crossed_n", "reset_n", "is_masked")
            row = {name: row[name] if name in kept else None for name in row} | {"valid_frac": 0}
        rows.append(row)
    return to_frame(starts, BOOK_COLUMNS, rows)
