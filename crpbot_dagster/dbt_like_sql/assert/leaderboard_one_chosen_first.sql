-- Offending rows: those of a leaderboard without exactly one chosen family, or whose chosen family is not first.
select family, rank_n, is_chosen
from this
where is_chosen <> (rank_n = 1) or (select count(*) from this where is_chosen) <> 1
