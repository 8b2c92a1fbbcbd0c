-- Offending rows: features of which not every minute of the day was counted, or more values than minutes.
select feature_set, feature, rows_n, valid_n
from this
where rows_n <> 1440 or valid_n > rows_n
