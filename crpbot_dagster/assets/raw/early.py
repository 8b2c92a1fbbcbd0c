"""Days that a vendor has not published yet: their absence is no news, and no state of the day.

Not here: what a vendor answers (``resources/``), or when a day is asked for (``sensors/``).
"""

from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from crpbot_dagster import settings


def require_over(what: str, day: date, delay: timedelta) -> None:
    """Refuse to take a day for missing before its vendor has had ``delay`` after its end.

    Raises
    ------
    dg.Failure
        It is earlier; nothing is written, so the day stays to be asked for again.
    """
    ready = datetime.combine(day + timedelta(days=1), time(), UTC) + delay
    if settings.load().now() < ready:
        raise dg.Failure(
            f"{what} is not there yet: a day is ready about {ready:%Y-%m-%d %H:%M} UTC. Nothing was written; run the "
            "partition again after that.",
            allow_retries=False,
        )
