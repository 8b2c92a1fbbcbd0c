-- One model family of a verdict and its rank: the chosen one, then the highest lower bound of the accuracy.
with verdicts as (
    select family, verdict, is_chosen
    from promotion.promoted_model
    where symbol = $symbol and day = $day and gate = 'verdict'
),
numbers as (
    select
        family,
        any_value(model_day) as model_day,
        any_value(value) filter (where metric = 'accuracy_frac') as accuracy_frac,
        any_value(value) filter (where metric = 'accuracy_low_frac') as accuracy_low_frac,
        any_value(value) filter (where metric = 'accuracy_high_frac') as accuracy_high_frac,
        any_value(value) filter (where metric = 'n') as n,
        any_value(value) filter (where metric = 'n_eff') as n_eff,
        any_value(value) filter (where metric = 'brier_skill') as brier_skill,
        any_value(value) filter (where metric = 'ece_upper') as ece_upper
    from evaluations.metrics
    where symbol = $symbol and day = $day
    group by family
)
select
    $symbol::varchar as symbol,
    $day::date as day,
    row_number() over (
        order by
            verdicts.is_chosen desc,
            numbers.accuracy_low_frac desc nulls last,
            numbers.accuracy_frac desc nulls last,
            verdicts.family
    ) as rank_n,
    verdicts.family as family,
    numbers.model_day as model_day,
    numbers.accuracy_frac as accuracy_frac,
    numbers.accuracy_low_frac as accuracy_low_frac,
    numbers.accuracy_high_frac as accuracy_high_frac,
    numbers.n as n,
    numbers.n_eff as n_eff,
    numbers.brier_skill as brier_skill,
    numbers.ece_upper as ece_upper,
    verdicts.verdict as verdict,
    verdicts.is_chosen as is_chosen
from verdicts
left join numbers on verdicts.family = numbers.family
order by rank_n
