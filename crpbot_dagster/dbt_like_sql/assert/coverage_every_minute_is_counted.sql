-- Offending rows: features of which not every minute of the day was counted, more values than minutes, or another share.
select feature_set, feature, rows_n, valid_n, null_frac
from this
where rows_n <> 1440 or valid_n > rows_n or abs(null_frac - (1 - valid_n / rows_n)) > 1e-12
