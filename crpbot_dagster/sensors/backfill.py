"""The catch-up sensors: what is missing or failed of the last days is asked for again.

One for the symbols, one for the whole market. The symbols' also asks for the labels of a day, as soon as the day
after is in the lake. Nothing else does: one asker cannot ask twice. The decision is ``work.catch_up``.
"""

import dagster as dg

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts, work
from crpbot_dagster.sensors.facts import Scope
from crpbot_dagster.settings import Settings

NAMES: dict[Scope, str] = {"symbols": "catch_up", "market": "catch_up_market"}
WORDS: dict[Scope, str] = {
    "symbols": "Asks again for missing and failed days of the last week, newest first, and for labels.",
    "market": "Asks again for missing and failed days of the market-wide tables.",
}


def catch_up_sensor(config: Settings, lake: Lake, scope: Scope = "symbols") -> dg.SensorDefinition:
    """Return the sensor that asks for day runs and label runs."""

    @dg.sensor(
        name=NAMES[scope],
        target=facts.selection(facts.TABLES_OF[scope]),
        minimum_interval_seconds=config.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=WORDS[scope],
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return facts.answer([work.catch_up(facts.state(context.instance, lake, config, scope), facts.rules(config))])

    return catch_up
