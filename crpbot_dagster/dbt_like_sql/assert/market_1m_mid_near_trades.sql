-- Offending rows: minutes whose book mid lies more than 5 % from the last trade: wrong symbol, wrong day or wrong unit.
select ts, tick_close, mid
from this
where abs(mid / tick_close - 1) > 0.05
