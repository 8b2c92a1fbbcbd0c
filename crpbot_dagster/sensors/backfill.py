"""The catch-up sensor: what is missing or failed of the last days is asked for again.

It also asks for the labels of a day, as soon as the day after is in the lake. Nothing else does: one asker cannot ask
twice. The decision is ``work.catch_up``.
"""

import dagster as dg

from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.sensors import facts, work
from crpbot_dagster.settings import Settings


def catch_up_sensor(config: Settings, lake: Lake) -> dg.SensorDefinition:
    """Return the sensor that asks for day runs and label runs."""

    @dg.sensor(
        name="catch_up",
        target=facts.selection((*facts.DAY_TABLES, *facts.LABEL_TABLES, *facts.MARKET_TABLES)),
        minimum_interval_seconds=config.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for missing and failed days of the last week, newest first, and for labels.",
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return facts.answer([work.catch_up(facts.state(context.instance, lake, config), facts.rules(config))])

    return catch_up
