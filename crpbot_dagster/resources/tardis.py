"""Tardis.dev dataset files through the vendor's client, one symbol-day per call.

Not here: what the columns mean (``assets/raw/``). Vendor's page: https://docs.tardis.dev/downloadable-csv-files
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError

import dagster as dg

from crpbot_dagster.resources.deadline import within
from crpbot_dagster.resources.politeness import FINAL_STATES, NOT_SERVED, SourceError


@dataclass(frozen=True)
class Fetched:
    """A downloaded file, or the state that explains why there is none."""

    path: Path | None
    state: str
    url: str
    seconds: float


class TardisDatasets(dg.ConfigurableResource):
    """Tardis dataset files at ``endpoint`` (``None``: the local market is not served)."""

    endpoint: str | None
    api_key: str = ""
    timeout_s: float

    @contextmanager
    def fetch(self, exchange: str, data_type: str, name: str, day: date) -> Iterator[Fetched]:
        """Download one symbol-day to a temporary folder that lives as long as the context.

        Raises
        ------
        SourceError
            No endpoint is set, the vendor refuses for another reason than licence or absence, or the
            total timeout passes.
        """
        if self.endpoint is None:
            raise SourceError(f"tardis: {NOT_SERVED}")
        file = name.replace("/", "-").replace(":", "-").upper()  # as the client writes it
        url = f"{self.endpoint}/{exchange}/{data_type}/{day:%Y/%m/%d}/{file}.csv.gz"
        started = time.perf_counter()
        with TemporaryDirectory(prefix="tardis-") as folder:
            state = self._download(exchange, data_type, name, day, folder, url)
            files = list(Path(folder).glob("*.csv.gz"))
            if state == "complete" and not files:
                raise SourceError(f"{url}: the client reported success and left no file")
            path = files[0] if state == "complete" else None
            yield Fetched(path, state, url, time.perf_counter() - started)

    def _download(self, exchange: str, data_type: str, name: str, day: date, folder: str, url: str) -> str:
        import tardis_dev

        def download() -> None:
            # The client's own retries can add up to 48 minutes, hence the total timeout around them.
            tardis_dev.download_datasets(
                exchange=exchange,
                data_types=[data_type],
                symbols=[name],
                from_date=day.isoformat(),
                to_date=(day + timedelta(days=1)).isoformat(),
                api_key=self.api_key,
                download_dir=folder,
                endpoint=str(self.endpoint),
                concurrency=1,
            )

        try:
            within(self.timeout_s, download)
        except HTTPError as error:
            if error.code in (401, 403) and self.api_key:
                raise SourceError(
                    f"Tardis refuses {url} ({error.code}) although CRPBOT_TARDIS_API_KEY is set: the key is wrong or "
                    "its plan does not cover this file; unset it to go on without"
                ) from error
            if error.code in FINAL_STATES:
                return FINAL_STATES[error.code]
            raise SourceError(f"Tardis answered {error.code} to {url}: {error.reason}") from error
        except TimeoutError as error:
            raise SourceError(f"no complete answer from {url} within {self.timeout_s:.0f} s") from error
        return "complete"
