-- Offending rows: those of a day whose chosen source is not one and the same in all of its rows.
select venue, source, other_venue, other_source, is_primary
from this
where (select count(distinct (venue, source)) from this where is_primary) <> 1
