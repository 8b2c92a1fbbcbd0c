-- One minute of a symbol, what its sources say side by side: Tardis ticks, Coinbase's own candles, the book.
with ticks as (
    select venue, ts, close, volume, is_gap
    from bars.trades_1m
    where symbol = $symbol and day = $day and source = 'tardis'
),
candles as (
    select venue, ts, close, volume, is_gap
    from bars.trades_1m
    where symbol = $symbol and day = $day and source = 'coinbase'
),
book as (
    select venue, ts, mid
    from bars.book_1m
    where symbol = $symbol and day = $day and source = 'tardis'
)
select
    $symbol::varchar as symbol,
    $day::date as day,
    coalesce(ticks.venue, candles.venue) as venue,
    coalesce(ticks.ts, candles.ts) as ts,
    ticks.close as tick_close,
    candles.close as candle_close,
    10000 * ln(ticks.close / candles.close) as close_diff_bps,
    ticks.volume as tick_volume,
    candles.volume as candle_volume,
    ticks.volume / nullif(candles.volume, 0) as volume_ratio,
    book.mid as mid,
    ticks.is_gap as is_tick_gap,
    candles.is_gap as is_candle_gap
from ticks
full join candles on ticks.venue = candles.venue and ticks.ts = candles.ts
left join book on coalesce(ticks.venue, candles.venue) = book.venue and coalesce(ticks.ts, candles.ts) = book.ts
