"""The one Dagster instance every verb uses, and the servers it stands on.

Starts the embedded Postgres unless a URL is set, puts ``dagster.yaml`` where Dagster looks for it, and serves
the local market when the data does not come from the vendors. Not here: what the verbs do (``cli/``).
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crpbot_dagster import settings
from crpbot_dagster.resources import postgres
from crpbot_dagster.resources.lake import Lake
from crpbot_dagster.settings import PROJECT, Settings, SettingsError


@contextmanager
def platform(market: bool) -> Iterator[Settings]:
    """Have databases, DAGSTER_HOME, the lake's tables and, if ``market``, the local market; yield the settings.

    Everything started here stops with the context. Child processes inherit the addresses by environment.

    Raises
    ------
    StampError
        The lake was made from another market.
    SettingsError
        ``dagster.yaml`` is not beside the package: the project must be installed from its checkout.
    """
    from crpbot_dagster.sandbox.server import serve

    config = settings.load()
    with ExitStack() as stack:
        if config.postgres_url is None:
            embedded = postgres.start(config.home_dir / "postgres")
            stack.callback(embedded.server.cleanup)
            tracker = {} if config.mlflow_url is not None else {"mlflow_url": embedded.mlflow_url}
            settings.export(postgres_url=embedded.dagster_url, **tracker)
        os.environ["DAGSTER_HOME"] = str(_dagster_home(config.home_dir))
        # The sixty events that announce a run's assets and checks are written in one go.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "100")
        if market and config.market != "live" and config.sandbox_url is None:
            settings.export(sandbox_url=stack.enter_context(serve(market_app(config))))
        config = settings.load()
        lake_of(config).prepare()
        yield config


def lake_of(config: Settings) -> Lake:
    """Return the lake that the settings name; one for each that looks at it: threads do not share an open one."""
    return Lake(url=config.lake_url, market=config.stamp, start_day=config.start_day.isoformat())


def market_app(config: Settings, api_key: str | None = None):  # type: ignore[no-untyped-def]
    """Return the local market's web application: simulated, or the recordings."""
    from crpbot_dagster.sandbox.market import MarketSpec
    from crpbot_dagster.sandbox.server import create_app

    if config.market == "recordings":
        # With candle files alone there are no recordings: every other source answers that it has none.
        return create_app(None, config.recordings or config.candle_files, api_key)
    spec = MarketSpec(config.sandbox_seed, config.sandbox_density)
    return create_app(spec, None, api_key, today=lambda: config.now().date())


def _dagster_home(home: Path) -> Path:
    source = PROJECT / "dagster.yaml"
    if not source.is_file():
        raise SettingsError(f"{source} is missing: install the project from its checkout (pip install -e .)")
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "dagster.yaml")
    return folder
