-- One (venue, source) of a symbol's day beside each other one: whether they agree, and which one the day can be read from.
-- Grade A: 95 % of the minutes have a close, the median |difference| to the other is at most 10 bps, returns move together
-- most in the same minute, and at least 60 % of the trades agree with the tick rule where there are ticks.
-- Grade B: the same with 90 % and 25 bps; or alone in the day with 95 %: nobody confirms it. Grade C: all else.
-- Primary of the day: the best grade beside any other; of equals the configured one, then the one with more minutes.
with minutes as (
    select
        venue,
        source,
        ts,
        close,
        volume,
        ln(close / lag(close) over (partition by venue, source order by ts)) as ret
    from bars.trades_1m
    where symbol = $symbol and day = $day
),
sides as (
    select
        venue,
        source,
        venue || '/' || source as name,
        count(close) / count(*) as coverage_frac,
        list_extract($tick_rule_fracs::double[], list_position($tick_rule_names::varchar[], any_value(venue || '/' || source)))
            as tick_rule_frac
    from minutes
    group by venue, source
),
aligned as (
    select
        one.venue || '/' || one.source as name,
        other.venue || '/' || other.source as other_name,
        one.close as close,
        other.close as other_close,
        10000 * ln(one.close / other.close) as diff_bps,
        one.volume as volume,
        other.volume as other_volume,
        one.ret as ret,
        lag(other.ret, 3) over pair as ret_m3,
        lag(other.ret, 2) over pair as ret_m2,
        lag(other.ret, 1) over pair as ret_m1,
        other.ret as ret_0,
        lead(other.ret, 1) over pair as ret_p1,
        lead(other.ret, 2) over pair as ret_p2,
        lead(other.ret, 3) over pair as ret_p3
    from minutes as one
    inner join minutes as other
        on one.ts = other.ts and (one.venue <> other.venue or one.source <> other.source)
    window pair as (partition by one.venue, one.source, other.venue, other.source order by one.ts)
),
measured as (
    select
        name,
        other_name,
        count(diff_bps) as both_n,
        count(close) - count(diff_bps) as only_n,
        count(other_close) - count(diff_bps) as other_only_n,
        count(*) - count(close) - count(other_close) + count(diff_bps) as neither_n,
        median(abs(diff_bps)) as diff_median_bps,
        avg(diff_bps) as diff_mean_bps,
        stddev_samp(diff_bps) as diff_sd_bps,
        sum(volume) filter (where other_volume is not null)
            / nullif(sum(other_volume) filter (where volume is not null), 0) as volume_ratio,
        nullif(corr(ret, ret_m3), 'nan'::double) as corr_m3,
        nullif(corr(ret, ret_m2), 'nan'::double) as corr_m2,
        nullif(corr(ret, ret_m1), 'nan'::double) as corr_m1,
        nullif(corr(ret, ret_0), 'nan'::double) as corr_0,
        nullif(corr(ret, ret_p1), 'nan'::double) as corr_p1,
        nullif(corr(ret, ret_p2), 'nan'::double) as corr_p2,
        nullif(corr(ret, ret_p3), 'nan'::double) as corr_p3
    from aligned
    group by name, other_name
),
shifted as (
    select
        *,
        [corr_m3, corr_m2, corr_m1, corr_0, corr_p1, corr_p2, corr_p3] as corrs,
        -- Beside fewer than an hour of common minutes the largest of seven correlations is a matter of luck.
        case when both_n >= 60 then list_position(corrs, list_max(corrs)) - 4 end as shift_min
    from measured
),
graded as (
    select
        sides.*,
        shifted.* exclude (name),
        case
            when coalesce(sides.tick_rule_frac, 1) < 0.6 then 'C'
            when shifted.name is null and sides.coverage_frac >= 0.95 then 'B'
            when shifted.name is null or shifted.shift_min is distinct from 0 then 'C'
            when sides.coverage_frac >= 0.95 and shifted.diff_median_bps <= 10 then 'A'
            when sides.coverage_frac >= 0.9 and shifted.diff_median_bps <= 25 then 'B'
            else 'C'
        end as grade
    from sides
    left join shifted on sides.name = shifted.name
),
ranked as (
    select
        name,
        coverage_frac,
        min(grade) as best_grade,
        count(*) filter (where grade < 'C' and other_name is not null) as confirmed_n,
        row_number() over (
            order by min(grade), name <> $primary, coverage_frac desc, name
        ) as rank_n
    from graded
    group by name, coverage_frac
),
chosen as (
    select
        ranked.name,
        ranked.best_grade,
        printf('grade %s, %.1f %% of the minutes', ranked.best_grade, 100 * ranked.coverage_frac) as said,
        case
            when (select count(*) from ranked) = 1 then 'the only source of the day'
            else printf('confirmed by %d of %d others', ranked.confirmed_n, (select count(*) from ranked) - 1)
        end as backed,
        coalesce(
            printf('the configured %s has grade %s, %.1f %%', $primary, configured.best_grade, 100 * configured.coverage_frac),
            printf('the configured %s has no minute', $primary)
        ) as instead
    from ranked
    left join ranked as configured on configured.name = $primary
    where ranked.rank_n = 1
)
select
    $symbol::varchar as symbol,
    $day::date as day,
    graded.venue as venue,
    graded.source as source,
    coalesce(split_part(graded.other_name, '/', 1), 'none') as other_venue,
    coalesce(split_part(graded.other_name, '/', 2), 'none') as other_source,
    graded.coverage_frac as coverage_frac,
    other.coverage_frac as other_coverage_frac,
    graded.both_n as both_n,
    graded.only_n as only_n,
    graded.other_only_n as other_only_n,
    graded.neither_n as neither_n,
    graded.neither_n / nullif(graded.neither_n + graded.only_n + graded.other_only_n, 0) as missing_overlap_frac,
    graded.diff_median_bps as diff_median_bps,
    graded.diff_mean_bps as diff_mean_bps,
    graded.diff_sd_bps as diff_sd_bps,
    graded.volume_ratio as volume_ratio,
    graded.corr_m3 as corr_m3,
    graded.corr_m2 as corr_m2,
    graded.corr_m1 as corr_m1,
    graded.corr_0 as corr_0,
    graded.corr_p1 as corr_p1,
    graded.corr_p2 as corr_p2,
    graded.corr_p3 as corr_p3,
    graded.shift_min as shift_min,
    graded.tick_rule_frac as tick_rule_frac,
    graded.grade as grade,
    graded.name = $primary as is_configured,
    graded.name = chosen.name as is_primary,
    case
        when graded.name <> chosen.name then printf('%s is chosen: %s, %s', chosen.name, chosen.said, chosen.backed)
        when graded.name = $primary then printf('the configured primary: %s, %s', chosen.said, chosen.backed)
        else printf('%s, %s; %s', chosen.said, chosen.backed, chosen.instead)
    end as reason
from graded
left join sides as other on graded.other_name = other.name
cross join chosen
order by graded.name, other_source, other_venue
