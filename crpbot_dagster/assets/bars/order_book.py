"""Replay of order-book updates into one row per minute (docs/conventions.md).

One compiled pass over the day: the book is two arrays of sizes over the day's distinct prices, so that an
update is one store and the best levels are a short walk from the best price. Not here: frames in and
out (``book_minutes.py``), the proof against the vendor's snapshots (``book_integrity.py``), trades to minutes
(``tape.py``).

A *message* is a run of rows with one (ts_received, ts_exchange, is_snapshot); the state is looked at after
each. It is *valid* while both sides are present, best bid < best ask, and the last message is at most 60 s old.
"""

import numpy as np
from numba import njit

from crpbot_dagster.assets.bars.tape import MINUTE_US, SECOND_US

STALE_US = 60 * SECOND_US  # docs/conventions.md: a state without a message for 60 s is not valid
IMPACT_US = 5 * SECOND_US  # docs/conventions.md: impact is measured 5 s after the trade
CROSS_US = 5 * SECOND_US  # docs/conventions.md: a book crossed for longer is not believed

COLUMNS = (
    "best_bid",
    "best_ask",
    "mid",
    "microprice",
    "mid_1s",
    "mid_high",
    "mid_low",
    "bid_depth_1",
    "ask_depth_1",
    "bid_depth_5",
    "ask_depth_5",
    "bid_depth_10",
    "ask_depth_10",
    "bid_depth_25",
    "ask_depth_25",
    "spread_bps_tw",
    "imbalance_1_tw",
    "imbalance_5_tw",
    "depth_1_tw",
    "ofi_coin",
    "add_n",
    "modify_n",
    "delete_n",
    "remove_coin",
    "best_ask_up_n",
    "best_bid_down_n",
    "eff_spread_bps",
    "impact_5s_bps",
    "valid_frac",
    "crossed_n",
    "reset_n",
)
# Places in a row of the kernel's output.
BID, ASK, MID, MICRO, MID_1S, HIGH, LOW, DEPTHS = range(8)
(
    SPREAD,
    IMB1,
    IMB5,
    DEPTH1,
    OFI,
    ADD,
    MODIFY,
    DELETE,
    REMOVE,
    ASK_UP,
    BID_DOWN,
    EFF,
    IMPACT,
    VALID,
    CROSSED,
    RESET,
) = range(15, 31)
IMB5_TIME, MESSAGES, MASKED, UNKNOWN, CROSSED_US, WIDTH = range(31, 37)  # scratch columns
SUMS = (OFI, ADD, MODIFY, DELETE, REMOVE, ASK_UP, BID_DOWN, CROSSED, RESET)
TIMED = (SPREAD, IMB1, IMB5, DEPTH1, EFF, IMPACT, HIGH, LOW)
COUNTS = ("add_n", "modify_n", "delete_n", "best_ask_up_n", "best_bid_down_n", "crossed_n", "reset_n")


@njit(cache=True)
def rank(price, known):  # type: ignore[no-untyped-def]
    """Return each price's place in the ascending array ``known``, through an open-addressing hash table."""
    bits = 4
    while (1 << bits) < 2 * len(known):
        bits += 1
    mask = (1 << bits) - 1
    table = np.full(mask + 1, -1, np.int32)
    keys = known.view(np.uint64)
    mix, shift = np.uint64(0x9E3779B97F4A7C15), np.uint64(64 - bits)
    for i in range(len(known)):
        slot = np.int64((keys[i] * mix) >> shift)
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = i
    out = np.empty(len(price), np.int32)
    asked = price.view(np.uint64)
    for i in range(len(price)):
        slot = np.int64((asked[i] * mix) >> shift)
        while keys[table[slot]] != asked[i]:
            slot = (slot + 1) & mask
        out[i] = table[slot]
    return out


@njit(cache=True)
def _walk(size, best, step):  # type: ignore[no-untyped-def]
    """Return (size of the best 5 levels or NaN, place of the tenth level or the array's end) from ``best``."""
    total, five, levels, at = 0.0, np.nan, 0, best
    while 0 <= at < len(size):
        if size[at] > 0:
            total += size[at]
            levels += 1
            if levels == 5:
                five = total
            if levels == 10:
                return five, at
        at += step
    return five, at


@njit(cache=True)
def _depth(size, best, step, levels):  # type: ignore[no-untyped-def]
    """Return the size of the best ``levels`` levels in coin, NaN when there are fewer."""
    total, found, at = 0.0, 0, best
    while 0 <= at < len(size):
        if size[at] > 0:
            total += size[at]
            found += 1
            if found == levels:
                return total
        at += step
    return np.nan


@njit(cache=True)
def _order_flow(bid, bid_size, ask, ask_size, bid_0, bid_size_0, ask_0, ask_size_0):  # type: ignore[no-untyped-def]
    """Return e_n in coin of one update: now against the state before (suffix _0).

    Source: Cont, Kukanov & Stoikov (2014), J. Financial Econometrics 12(1), 47-88,
    https://doi.org/10.1093/jjfinec/nbt003
    """
    e = 0.0
    if bid >= bid_0:
        e += bid_size
    if bid <= bid_0:
        e -= bid_size_0
    if ask <= ask_0:
        e -= ask_size
    if ask >= ask_0:
        e += ask_size_0
    return e


@njit(cache=True)
def order_flow_imbalance(bid, bid_size, ask, ask_size):  # type: ignore[no-untyped-def]
    """Return the signed change in demand minus supply at the best quotes, per quote update.

    Positive means net buying: bids were added or raised, or asks were removed or lifted.

    Parameters
    ----------
    bid, ask : float64[n], USD
        Best prices after each of ``n`` updates, without NaN.
    bid_size, ask_size : float64[n], base coin
        Sizes resting at those prices.

    Returns
    -------
    float64[n], base coin
        Element ``i`` reads updates ``i - 1`` and ``i`` only; element 0 is 0.

    Source
    ------
    Cont, Kukanov & Stoikov (2014), "The Price Impact of Order Book Events", J. Financial
    Econometrics 12(1), 47-88, their e_n. https://doi.org/10.1093/jjfinec/nbt003
    """
    flow = np.zeros(len(bid))
    for i in range(1, len(bid)):
        flow[i] = _order_flow(
            bid[i], bid_size[i], ask[i], ask_size[i], bid[i - 1], bid_size[i - 1], ask[i - 1], ask_size[i - 1]
        )
    return flow


# The state of the book between messages, float64[S_SIZE]: numba passes it by reference, a class would not be.
(
    S_BID,  # best bid, USD
    S_ASK,
    S_BID_SIZE,
    S_ASK_SIZE,
    S_BID_5,  # size of the best five, NaN when there are fewer
    S_ASK_5,
    S_OK,  # 1: both sides present and bid < ask
    S_LAST,  # ts_received of the last message, µs since the day's start
    S_NOW,  # integrated up to here, µs since the day's start
    S_LAST_EXCHANGE,  # ts_exchange of the last message, same origin
    S_BEST_BID_AT,  # places in the price array
    S_BEST_ASK_AT,
    S_TENTH_BID_AT,
    S_TENTH_ASK_AT,
    S_WAS_SNAPSHOT,
    S_CROSSED_AT,  # when bid met ask, µs since the day's start; NaN while they are apart
    S_SIZE,
) = range(17)


@njit(cache=True)
def _integrate(out, s, until):  # type: ignore[no-untyped-def]
    """Add the state in force from S_NOW to ``until`` (inside one minute) to its minute's time-weighted sums."""
    start, end = s[S_NOW], min(until, s[S_LAST] + STALE_US)
    s[S_NOW] = until
    if s[S_OK] == 0.0 or end <= start or start >= 1440.0 * MINUTE_US:
        return
    row, dt = out[int(start) // MINUTE_US], end - start
    mid = 0.5 * (s[S_BID] + s[S_ASK])
    row[VALID] += dt
    row[SPREAD] += dt * 1e4 * (s[S_ASK] - s[S_BID]) / mid
    row[IMB1] += dt * (s[S_BID_SIZE] - s[S_ASK_SIZE]) / (s[S_BID_SIZE] + s[S_ASK_SIZE])
    row[DEPTH1] += dt * 0.5 * (s[S_BID_SIZE] + s[S_ASK_SIZE])
    if not np.isnan(s[S_BID_5] + s[S_ASK_5]):
        row[IMB5] += dt * (s[S_BID_5] - s[S_ASK_5]) / (s[S_BID_5] + s[S_ASK_5])
        row[IMB5_TIME] += dt
    row[HIGH] = mid if np.isnan(row[HIGH]) else max(row[HIGH], mid)
    row[LOW] = mid if np.isnan(row[LOW]) else min(row[LOW], mid)


@njit(cache=True)
def _close_minute(out, s, minute, bids, asks):  # type: ignore[no-untyped-def]
    """Write the state in force at the end of ``minute``, if it is valid then."""
    if s[S_OK] == 0.0 or (minute + 1) * MINUTE_US - s[S_LAST] > STALE_US:
        return
    row = out[minute]
    row[BID], row[ASK] = s[S_BID], s[S_ASK]
    row[MID] = 0.5 * (s[S_BID] + s[S_ASK])
    for i, levels in enumerate((1, 5, 10, 25)):
        row[DEPTHS + 2 * i] = _depth(bids, int(s[S_BEST_BID_AT]), -1, levels)
        row[DEPTHS + 2 * i + 1] = _depth(asks, int(s[S_BEST_ASK_AT]), 1, levels)
    row[MICRO] = (s[S_ASK] * s[S_BID_SIZE] + s[S_BID] * s[S_ASK_SIZE]) / (s[S_BID_SIZE] + s[S_ASK_SIZE])


@njit(cache=True)
def _advance(out, s, marks, until, bids, asks):  # type: ignore[no-untyped-def]
    """Integrate up to ``until`` (the next message's time), writing minute ends and 1-second marks on the way.

    ``marks`` int64[2]: the next minute whose 1-second mark, and the next whose end, is still to be written.
    A message at exactly ts + 1 s counts for that mark; one at exactly the end of the minute does not.
    """
    while True:
        one, end = marks[0] * MINUTE_US + SECOND_US, (marks[1] + 1) * MINUTE_US
        if one < end and marks[0] < 1440:
            if one >= until:
                break
            _integrate(out, s, one)
            if s[S_OK] == 1.0 and one - s[S_LAST] <= STALE_US:
                out[marks[0]][MID_1S] = 0.5 * (s[S_BID] + s[S_ASK])
            marks[0] += 1
        else:
            if end > until or marks[1] >= 1440:
                break
            _integrate(out, s, end)
            _close_minute(out, s, marks[1], bids, asks)
            marks[1] += 1
    _integrate(out, s, until)


@njit(cache=True)
def _apply(row, s, first, last, snapshot, side, at, amount, bids, asks, stamp, n):  # type: ignore[no-untyped-def]
    """Apply the rows ``first`` … ``last - 1`` of message ``n``; count them unless they are a snapshot's.

    ``stamp`` remembers the message that filled a price, per side: a size that came and went inside one
    message was not among the best ten before it. Returns True when the best ten levels may have changed.
    """
    near = snapshot
    tenth_bid, tenth_ask = s[S_TENTH_BID_AT], s[S_TENTH_ASK_AT]
    for i in range(first, last):
        p, q, is_ask = at[i], amount[i], side[i] == 1
        size = asks if is_ask else bids
        before = size[p]
        size[p] = q
        inside = p <= tenth_ask if is_ask else p >= tenth_bid
        near = near or inside
        if is_ask and q > 0 and p < s[S_BEST_ASK_AT]:
            s[S_BEST_ASK_AT] = p
        elif not is_ask and q > 0 and p > s[S_BEST_BID_AT]:
            s[S_BEST_BID_AT] = p
        if before == 0 and q > 0:
            stamp[side[i], p] = n
        if snapshot:
            continue
        if before == 0:
            row[ADD] += q > 0
            row[UNKNOWN] += q == 0
            continue
        row[DELETE] += q == 0
        row[MODIFY] += q > 0 and q != before
        if q < before and inside and stamp[side[i], p] != n:
            row[REMOVE] += before - q
    return near


@njit(cache=True)
def _look(s, prices, bids, asks):  # type: ignore[no-untyped-def]
    """Recompute the best levels after a message that touched them."""
    at = int(s[S_BEST_BID_AT])
    while at >= 0 and bids[at] == 0:
        at -= 1
    s[S_BEST_BID_AT] = at
    s[S_BID_5], s[S_TENTH_BID_AT] = _walk(bids, at, -1)
    low = int(s[S_BEST_ASK_AT])
    while low < len(asks) and asks[low] == 0:
        low += 1
    s[S_BEST_ASK_AT] = low
    s[S_ASK_5], s[S_TENTH_ASK_AT] = _walk(asks, low, 1)
    if at >= 0:
        s[S_BID], s[S_BID_SIZE] = prices[at], bids[at]
    if low < len(asks):
        s[S_ASK], s[S_ASK_SIZE] = prices[low], asks[low]
    s[S_OK] = 1.0 if at >= 0 and low < len(asks) and at < low else 0.0


@njit(cache=True)
def _close_cross(out, s, until):  # type: ignore[no-untyped-def]
    """End the crossed stretch at ``until``: note its length, and mask its minutes.

    A minute is masked when the book had been crossed for more than 5 s by the minute's own end, so that the mask,
    like every value, reads messages received before that end only.
    """
    since = s[S_CROSSED_AT]
    end = min(until, 1440.0 * MINUTE_US)
    s[S_CROSSED_AT] = np.nan
    if end <= since:
        return
    first = int(since) // MINUTE_US
    out[first, CROSSED_US] = max(out[first, CROSSED_US], end - since)
    for minute in range(first, int(end - 1) // MINUTE_US + 1):
        if min(end, (minute + 1.0) * MINUTE_US) - since > CROSS_US:
            out[minute, MASKED] = 1.0


@njit(cache=True)
def replay(received, exchange, snapshot, side, at, amount, prices, trades):  # type: ignore[no-untyped-def] # noqa: PLR0912, PLR0915
    """Replay one day; times are µs since its start. Longer than a screen: the one loop all columns share.

    ``trades`` = (times received, sorted; times exchange, sorted): the mids they ask for come back as the
    second and third result: in force before the trade (exchange clock), and 5 s after (receive clock).
    """
    out = np.full((1440, WIDTH), np.nan)
    out[:, SPREAD:] = 0.0
    asked_received, asked_exchange = trades
    before = np.full(len(asked_exchange), np.nan)
    after = np.full(len(asked_received), np.nan)
    bids, asks = np.zeros(len(prices)), np.zeros(len(prices))
    stamp = np.full((2, len(prices)), -1, np.int64)
    s = np.zeros(S_SIZE)
    s[S_CROSSED_AT] = np.nan
    s[S_BEST_BID_AT] = s[S_TENTH_BID_AT] = -1
    s[S_BEST_ASK_AT] = s[S_TENTH_ASK_AT] = len(prices)
    marks = np.zeros(2, np.int64)
    next_before, next_after, n, i, rows = 0, 0, 0, 0, len(received)
    while i < rows and not snapshot[i]:
        i += 1
    while i < rows:
        j = i + 1
        while j < rows and received[j] == received[i] and exchange[j] == exchange[i] and snapshot[j] == snapshot[i]:
            j += 1
        t, te, snap = float(received[i]), float(exchange[i]), bool(snapshot[i])
        mid = 0.5 * (s[S_BID] + s[S_ASK])
        while next_before < len(before) and asked_exchange[next_before] <= te:
            if s[S_OK] == 1.0 and asked_exchange[next_before] - s[S_LAST_EXCHANGE] <= STALE_US:
                before[next_before] = mid
            next_before += 1
        while next_after < len(after) and asked_received[next_after] + IMPACT_US < t:
            if s[S_OK] == 1.0 and asked_received[next_after] + IMPACT_US - s[S_LAST] <= STALE_US:
                after[next_after] = mid
            next_after += 1
        _advance(out, s, marks, t, bids, asks)
        if t < 0 or t >= 1440.0 * MINUTE_US:
            i = j
            continue
        row = out[int(t) // MINUTE_US]
        row[MESSAGES] += 1
        fresh = s[S_OK] == 1.0 and s[S_WAS_SNAPSHOT] == 0.0 and t - s[S_LAST] <= STALE_US
        both = s[S_BEST_BID_AT] >= 0 and s[S_BEST_ASK_AT] < len(prices)
        bid_0, ask_0, bid_size_0, ask_size_0 = s[S_BID], s[S_ASK], s[S_BID_SIZE], s[S_ASK_SIZE]
        if snap and (n == 0 or s[S_WAS_SNAPSHOT] == 0.0):
            bids[:] = 0.0
            asks[:] = 0.0
            s[S_BEST_BID_AT], s[S_BEST_ASK_AT] = -1, len(prices)
            row[RESET] += 1
            if not np.isnan(s[S_CROSSED_AT]):
                _close_cross(out, s, t)
        if _apply(row, s, i, j, snap, side, at, amount, bids, asks, stamp, n):
            _look(s, prices, bids, asks)
        now_both = s[S_BEST_BID_AT] >= 0 and s[S_BEST_ASK_AT] < len(prices)
        is_crossed = now_both and s[S_OK] == 0.0
        row[CROSSED] += is_crossed
        if is_crossed == np.isnan(s[S_CROSSED_AT]):
            if is_crossed:
                s[S_CROSSED_AT] = t
            else:
                _close_cross(out, s, t)
        if not snap and both and now_both:
            row[ASK_UP] += s[S_ASK] > ask_0
            row[BID_DOWN] += s[S_BID] < bid_0
            if fresh and s[S_OK] == 1.0:
                row[OFI] += _order_flow(
                    s[S_BID], s[S_BID_SIZE], s[S_ASK], s[S_ASK_SIZE], bid_0, bid_size_0, ask_0, ask_size_0
                )
        s[S_LAST], s[S_LAST_EXCHANGE], s[S_WAS_SNAPSHOT] = t, te, 1.0 if snap else 0.0
        n += 1
        i = j
    mid = 0.5 * (s[S_BID] + s[S_ASK])
    for k in range(next_before, len(before)):
        if s[S_OK] == 1.0 and asked_exchange[k] - s[S_LAST_EXCHANGE] <= STALE_US:
            before[k] = mid
    for k in range(next_after, len(after)):
        if s[S_OK] == 1.0 and asked_received[k] + IMPACT_US - s[S_LAST] <= STALE_US:
            after[k] = mid
    _advance(out, s, marks, 1440.0 * MINUTE_US, bids, asks)
    if not np.isnan(s[S_CROSSED_AT]):
        _close_cross(out, s, 1440.0 * MINUTE_US)
    return out, before, after
