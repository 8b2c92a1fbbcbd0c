"""The daily schedules: at 06:30 UTC, when Tardis has yesterday, the day runs of yesterday, symbols and market.

The schedule's own clock is Dagster's; which day is yesterday, the platform's clock says. Labels of the day before, and
every second attempt, are the catch-up sensor's (``backfill.py``), which leaves a new day to the schedule for half an
hour. The decision is ``work.daily``.
"""

import dagster as dg

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts, work
from crpbot_dagster.sensors.facts import Scope
from crpbot_dagster.settings import Settings

NAMES: dict[Scope, str] = {"symbols": "daily", "market": "daily_market"}
WORDS: dict[Scope, str] = {
    "symbols": "Yesterday from raw to features, for every symbol.",
    "market": "Yesterday of the market-wide tables.",
}


def daily_schedule(config: Settings, lake: Lake, scope: Scope = "symbols") -> dg.ScheduleDefinition:
    """Return the schedule that asks for yesterday."""

    @dg.schedule(
        name=NAMES[scope],
        cron_schedule="30 6 * * *",
        execution_timezone="UTC",
        target=facts.selection(facts.TABLES_OF[scope]),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=WORDS[scope],
    )
    def daily(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        plan = work.daily(facts.state(context.instance, lake, config, scope), facts.rules(config))
        return [facts.run_request(r) for r in plan.requests] or dg.SkipReason(facts.in_words(plan.waits))

    return daily
