"""Crypto Lake's Parquet files in S3 through the vendor's client, one table, symbol and day per call.

The only home of lakeapi, boto3 and the pandas frames they make. The client lists a whole table, keeps what it was told
in ``.lake_cache`` of the working directory, tells some errors by failing to read their code as a number, and prints
what it leaves out: all of that ends here. Not here: what the columns mean (``assets/raw/crypto_lake.py``).
Vendor's page: https://lake-api.readthedocs.io
"""

import functools
import hashlib
import logging
import sys
import threading
from contextlib import chdir, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import polars as pl
import pyarrow as pa

from crpbot_dagster.resources.deadline import within
from crpbot_dagster.resources.politeness import NOT_SERVED, Politeness, SourceError

BUCKET, SAMPLE_BUCKET = "qnt.data/market-data/cryptofeed", "sample.crypto.lake"
REGION = "eu-west-1"
LISTING_S = 900  # how long a listing of a table is believed
FRESH_S = 60  # one in which a day is absent is asked for again, unless it is as young as this
DENIED = ("AccessDenied", "403")
WRONG_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch")
# What pyarrow, pandas and polars say of a Parquet file that is none.
UNREADABLE = (ValueError, TypeError, pa.ArrowException, pl.exceptions.PolarsError)
LEFT_OUT = ("Unexpected status code", "No data available")  # what the client prints when it goes on without a file
ONE_AT_A_TIME = threading.Lock()  # the client patches botocore while it lists


@dataclass(frozen=True)
class Delivered:
    """A day's rows as the client hands them over, or the state that explains why there are none."""

    frame: pl.DataFrame | None
    state: str
    origin: str  # bucket, table and partition


class CryptoLake(dg.ConfigurableResource):
    """Crypto Lake at ``endpoint`` (``None``: the local market is not served).

    ``sample`` reads the vendor's free sample, a few days of a few markets, without credentials. ``cache`` is the
    folder for the client's listings.
    """

    endpoint: str | None
    key_id: str = ""
    secret: str = ""
    sample: bool = False
    cache: str
    timeout_s: float
    politeness: Politeness = Politeness()

    @property
    def source(self) -> str:
        """Who delivers, as the rows and their lineage say it."""
        return "crypto_lake (sample)" if self.sample else "crypto_lake"

    def fetch(self, table: str, exchange: str, name: str, day: date) -> Delivered:
        """Return the rows of one table, exchange, symbol and day.

        Raises
        ------
        SourceError
            No endpoint is set, the key is wrong, a file is damaged or was left out, or the total timeout passes.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if self.endpoint is None:
            raise SourceError(f"crypto_lake: {NOT_SERVED}")
        bucket = SAMPLE_BUCKET if self.sample else BUCKET
        origin = f"s3://{bucket}/{table}/exchange={exchange}/symbol={name}/dt={day}"
        self.politeness.turn("crypto_lake")  # one place for a day's half a dozen requests
        try:
            frame = within(self.timeout_s, lambda: self._load(bucket, table, exchange, name, day))
        except TimeoutError as error:
            raise SourceError(f"no complete answer for {origin} within {self.timeout_s:.0f} s") from error
        except ClientError as error:
            return self._refused(error, origin)
        except UNREADABLE as error:
            # The client takes the code of S3's refusal for a number.
            if isinstance(error.__context__, ClientError):
                return self._refused(error.__context__, origin)
            raise SourceError(f"{origin} cannot be read: {error}; run the partition again") from error
        except (BotoCoreError, OSError) as error:
            raise SourceError(f"Crypto Lake did not deliver {origin}: {error}") from error
        if frame is None:
            return Delivered(None, "missing", origin)
        return Delivered(frame, "complete" if frame.height else "empty", origin)

    def _refused(self, error: Any, origin: str) -> Delivered:
        code = error.response["Error"]["Code"]
        if code in WRONG_KEY:
            raise SourceError(
                f"Crypto Lake does not know the key ({code}): check CRPBOT_CRYPTO_LAKE_KEY_ID and _SECRET"
            ) from error
        if code in DENIED:
            return Delivered(None, "not_licensed", origin)
        raise SourceError(f"Crypto Lake answered {code} for {origin}") from error

    def _load(self, bucket: str, table: str, exchange: str, name: str, day: date) -> pl.DataFrame | None:
        start = datetime.combine(day, time())
        said: list[str] = []
        with ONE_AT_A_TIME:
            lake = _client(self._cache_folder())
            lake.main.print = lambda *words: said.append(" ".join(map(str, words)))
            lake.use_sample_data(anonymous_access=self.sample)
            session = _session(str(self.endpoint), self.key_id, self.secret)
            if lake.main._login(session, table)[1] == "forceupgrade":
                raise SourceError("Crypto Lake serves this version of its client no longer: raise lakeapi's pin")
            for listing_s in (LISTING_S, FRESH_S):
                lake.main.cache.ttl = lake.main.contents_cache.ttl = listing_s
                try:
                    found = lake.load_data(
                        table,
                        start=start,
                        end=start + timedelta(days=1),
                        symbols=[name],
                        exchanges=[exchange],
                        bucket=bucket,
                        boto3_session=session,
                        use_threads=False,
                        drop_partition_cols=True,
                        cached=False,
                    )
                except lake.exceptions.NoFilesFound:
                    continue
                if left_out := [line for line in said if any(words in line for words in LEFT_OUT)]:
                    raise SourceError(f"Crypto Lake's client left files out: {'; '.join(left_out)}")
                return pl.from_pandas(found)
        return None

    def _cache_folder(self) -> Path:
        # One per address: a listing of one market says nothing of another.
        address = f"{self.endpoint} {self.sample}".encode()
        return Path(self.cache) / hashlib.sha256(address).hexdigest()[:12]


@functools.lru_cache(maxsize=2)  # it reads the models of the services, and every call is the same
def _session(endpoint: str, key_id: str, secret: str) -> Any:
    """Return a session of these keys, nothing of the process's environment; a server of our own is asked alone."""
    import boto3
    import botocore.session
    from botocore.config import Config

    host = urlsplit(endpoint).hostname or ""
    inner = botocore.session.Session()
    inner.set_config_variable("ignore_configured_endpoint_urls", True)
    # The sample wants no keys, and a server of our own takes any: what is not set here is not looked for elsewhere.
    session = boto3.Session(key_id or "none", secret or "none", region_name=REGION, botocore_session=inner)
    if not host.endswith(".amazonaws.com"):
        inner.set_default_client_config(Config(s3={"addressing_style": "path"}))
        make = session.client
        session.client = lambda *args, **options: make(*args, **(options | {"endpoint_url": endpoint}))
    return session


def _client(folder: Path) -> Any:
    """Return lakeapi, its caches in ``folder``: half a second at first, which only a fetch should pay."""
    folder.mkdir(parents=True, exist_ok=True)
    # It makes a folder where it is imported.
    with chdir(folder) if "lakeapi" not in sys.modules else nullcontext():
        import lakeapi
        import lakeapi.exceptions
        import lakeapi.main
    for cache, name in (
        (lakeapi.main.cache, "boto"),
        (lakeapi.main.contents_cache, "contents"),
        (lakeapi.main._login.cache, "login"),
    ):
        cache.path = folder / ".lake_cache" / name
        cache.path.mkdir(parents=True, exist_ok=True)
    logging.getLogger("botocache").setLevel(logging.CRITICAL)  # it tells every refusal that is raised anyway
    for wordy in ("boto3", "botocore", "s3transfer", "urllib3"):
        logging.getLogger(wordy).setLevel(logging.INFO)  # at debug level they tell the headers, credentials included
    return lakeapi
