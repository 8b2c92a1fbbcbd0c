"""Tardis.dev dataset files through the vendor's client, one symbol-day per call, landed until they are published.

A complete file lies in ``landing/<name>/<its sha256>/``, put there by one rename; it goes when its partition is in the
lake. So a killed run finds what it had already downloaded, and a file that someone changed is not mistaken for it.
Length is compared by the client, the gzip's end and checksum by whoever reads it (``assets/raw/dataset_file.py``).
Not here: what the columns mean (``assets/raw/``). Vendor's page: https://docs.tardis.dev/downloadable-csv-files
"""

import asyncio
import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import dagster as dg

from crpbot_dagster.resources.deadline import within
from crpbot_dagster.resources.politeness import (
    FINAL_STATES,
    NOT_SERVED,
    NoAnswer,
    Politeness,
    SourceError,
    without,
)

ROOM = 64 * 2**20  # bytes that a download leaves free: the client itself would go on asking at a full disk
PART = "part-"  # a folder that is being filled
GRACE_S = 5.0  # for a client that is told to end
ABANDONED_S = 3_600.0  # a part this much older than any total time belongs to nobody


@dataclass(frozen=True)
class Fetched:
    """A downloaded file, or the state that explains why there is none.

    ``done`` removes the file: once its partition is published, or when it turns out to be bad. ``notes`` are its facts
    for the partition's metadata.
    """

    path: Path | None
    state: str
    url: str
    seconds: float
    notes: Mapping[str, Any] = field(default_factory=dict)
    done: Callable[[], None] = lambda: None


class TardisDatasets(dg.ConfigurableResource):
    """Tardis dataset files at ``endpoint`` (``None``: the local market is not served).

    ``landing`` is the folder that outlives a run; without one, a file lives as long as its context.
    """

    endpoint: str | None
    api_key: str = ""
    timeout_s: float
    landing: str = ""
    politeness: Politeness = Politeness()

    @contextmanager
    def fetch(self, exchange: str, data_type: str, name: str, day: date) -> Iterator[Fetched]:
        """Yield one symbol-day's file; a complete one that an earlier run left behind is not asked for again.

        It stays until ``done`` is called: once its rows are published, or it turned out to be damaged or refused.

        Raises
        ------
        SourceError
            No endpoint is set, the vendor refuses for another reason than licence or absence, the
            total timeout passes, or the disk takes no more.
        """
        if self.endpoint is None:
            raise SourceError(f"tardis: {NOT_SERVED}")
        file = name.replace("/", "-").replace(":", "-").upper()  # as the client writes it
        url = f"{self.endpoint}/{exchange}/{data_type}/{day:%Y/%m/%d}/{file}.csv.gz"
        started = time.perf_counter()
        with ExitStack() as stack:
            root = self.landing or stack.enter_context(tempfile.TemporaryDirectory(prefix="tardis-"))
            _sweep(Path(root), self.timeout_s + ABANDONED_S)
            berth = Path(root) / f"{exchange}_{data_type}_{day}_{name.replace('/', '-')}"
            path, state = _left_behind(berth), "complete"
            is_reused = path is not None
            if path is None:
                try:
                    path, state = self._landed(berth, exchange, data_type, name, day, url)
                except OSError as error:
                    raise SourceError(
                        f"{url} cannot be kept in {root}: {error}. Nothing of it stays; run it again when there is room"
                    ) from error
            seconds = time.perf_counter() - started
            if path is None:
                yield Fetched(None, state, url, seconds)
                return
            notes = {"sha256": path.parent.name, "file_bytes": path.stat().st_size, "reused_file": is_reused}
            yield Fetched(path, state, url, seconds, notes, lambda: _remove(berth))

    def _landed(
        self, berth: Path, exchange: str, data_type: str, name: str, day: date, url: str
    ) -> tuple[Path | None, str]:
        berth.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PART, dir=berth, ignore_cleanup_errors=True) as part:
            state = self._download(exchange, data_type, name, day, part, url)
            files = list(Path(part).glob("*.csv.gz"))
            if state == "complete" and not files:
                raise SourceError(f"{url}: the client reported success and left no file")
            if state == "complete":
                whole = berth / _sha256(files[0])
                Path(part).rename(whole)
                return whole / files[0].name, state
        _remove(berth)
        return None, state

    def _download(self, exchange: str, data_type: str, name: str, day: date, folder: str, url: str) -> str:
        import tardis_dev

        # At debug level it repeats the bodies of refusals, which may repeat the request, key and all.
        logging.getLogger("tardis_dev").setLevel(logging.INFO)

        def download() -> None:
            # The client's own retries can add up to 48 minutes, hence the total time, after which they end.
            work = tardis_dev.download_datasets_async(
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
            asyncio.run(asyncio.wait_for(work, self.timeout_s))

        _require_room(folder)
        self.politeness.turn("tardis")
        try:
            within(self.timeout_s + GRACE_S, download, lambda: _require_room(folder))
        except HTTPError as error:
            self._hear(error)
            if error.code in (401, 403) and self.api_key:
                raise SourceError(
                    f"Tardis refuses {url} ({error.code}) although CRPBOT_TARDIS_API_KEY is set: the key is wrong or "
                    "its plan does not cover this file; unset it to go on without"
                ) from None
            if error.code in FINAL_STATES:
                return FINAL_STATES[error.code]
            # Without its cause: the body that the vendor sends may repeat the request, key and all.
            said = without(str(error.reason), self.api_key)[:200]
            raise SourceError(f"Tardis answered {error.code} to {url}: {said}") from None
        except TimeoutError:
            raise SourceError(f"no complete answer from {url} within {self.timeout_s:.0f} s") from None
        return "complete"

    def _hear(self, error: HTTPError) -> None:
        try:
            self.politeness.heard("tardis", error.code, dict(error.headers.items()) if error.headers else {})
        except NoAnswer:
            return  # the client has asked again as often as it may


def _left_behind(berth: Path) -> Path | None:
    """Return the complete file of an earlier run, None when there is none that is still what it was."""
    if not berth.is_dir():
        return None
    for folder in sorted(berth.iterdir()):
        if folder.name.startswith(PART):
            continue
        files = list(folder.glob("*.csv.gz"))
        if len(files) == 1 and _sha256(files[0]) == folder.name:
            return files[0]
        _remove(folder)
    return None


def _require_room(folder: str) -> None:
    if (free := shutil.disk_usage(folder).free) < ROOM:
        raise OSError(f"the disk is full, {free >> 20} MiB are left")


def _sweep(root: Path, age_s: float) -> None:
    """Remove what killed or overdue downloads have left half done."""
    for part in root.glob(f"*/{PART}*"):
        if time.time() - part.stat().st_mtime > age_s:
            _remove(part)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
