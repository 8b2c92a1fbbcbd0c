"""The daily schedule: at 06:30 UTC, when Tardis has yesterday, the day run of yesterday for every symbol.

The schedule's own clock is Dagster's; which day is yesterday, the platform's clock says. Labels of the day before, and
every second attempt, are the catch-up sensor's (``backfill.py``), which leaves a new day to the schedule for half an
hour. The decision is ``work.daily``.
"""

import dagster as dg

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts, work
from crpbot_dagster.settings import Settings


def daily_schedule(config: Settings, lake: Lake) -> dg.ScheduleDefinition:
    """Return the schedule that asks for yesterday."""

    @dg.schedule(
        name="daily",
        cron_schedule="30 6 * * *",
        execution_timezone="UTC",
        target=facts.selection((*facts.DAY_TABLES, *facts.MARKET_TABLES)),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday from raw to features, for every symbol.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        plan = work.daily(facts.state(context.instance, lake, config), facts.rules(config))
        return [facts.run_request(r) for r in plan.requests] or dg.SkipReason(facts.in_words(plan.waits))

    return daily
