"""Every setting of the platform: the only module that reads the environment.

Not here: the names of symbols at their sources (``instruments.py``) and the layout of the tables
(``tables/``). Each field is ``CRPBOT_<NAME>`` in the environment; a ``CRPBOT_*`` variable that is no
field is an error, because a misspelt threshold that is silently ignored costs money.
"""

import os
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from crpbot_dagster import instruments
from crpbot_dagster.sources import RECORDED, SOURCES

PREFIX = "CRPBOT_"
PROJECT = Path(__file__).resolve().parents[1]

DEMO_PROFILE = {
    "lstm_layers": "1",
    "lstm_hidden": "32",
    "lstm_dropout": "0",
    "lstm_batch": "256",
    "lstm_learning_rate": "0.001",
    "lstm_patience": "2",
    "torch_threads": "1",
}
"""A network of seconds instead of minutes: what the demo trains unless the environment says otherwise."""

Market = Literal["sandbox", "live", "recordings"]


class SettingsError(ValueError):
    """A setting is unknown, missing or contradicts another."""


class Settings(BaseSettings):
    """The platform's settings; ``.env.example`` lists each with a comment."""

    # Errors must not print the input: it holds the keys.
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    # Where things are
    home: Path = Path(".crpbot")
    lake: str | None = None
    postgres_url: SecretStr | None = None
    mlflow_url: SecretStr | None = None

    # Where the data comes from
    market: Market = "sandbox"
    recordings: Path | None = None
    sandbox_url: str | None = None
    sandbox_seed: int = 7
    sandbox_density: float = Field(1.0, gt=0, le=10)
    source_urls: dict[str, str] = Field(default_factory=dict)
    tardis_api_key: SecretStr | None = None
    cryptocompare_api_key: SecretStr | None = None
    coingecko_api_key: SecretStr | None = None
    crypto_lake_key_id: SecretStr | None = None
    crypto_lake_secret: SecretStr | None = None
    crypto_lake_sample: bool = False
    candle_files: Path | None = None
    fetch_timeout_s: float = Field(600.0, gt=0)
    clock: Path | None = None

    # What is built
    symbols: tuple[str, ...] = instruments.symbols()
    start_day: date = date(2023, 11, 10)
    primary: dict[str, str] = Field(default_factory=dict)
    every_source_days: int = Field(7, ge=1)
    taker_fee_bps: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    # Windows, in UTC days
    fit_days: int = Field(14, ge=1)
    stop_days: int = Field(3, ge=1)
    calibrate_days: int = Field(4, ge=1)
    test_days: int = Field(28, ge=1)
    analysis_days: int = Field(90, ge=1)

    # Training and scoring
    logistic_c: float = Field(1.0, gt=0)
    bootstrap_draws: int = Field(1000, ge=1000)
    seed: int = 7
    lstm_layers: int = Field(2, ge=1)
    lstm_hidden: int = Field(128, ge=1)
    lstm_dropout: float = Field(0.3, ge=0, lt=1)
    lstm_sequence: int = Field(60, ge=2, le=1440)
    lstm_stride: int = Field(1, ge=1)
    lstm_batch: int = Field(64, ge=1)
    lstm_learning_rate: float = Field(5e-4, gt=0)
    lstm_weight_decay: float = Field(0.01, ge=0)
    lstm_epochs: int = Field(20, ge=1)
    lstm_patience: int = Field(5, ge=1)
    lstm_clip_norm: float = Field(1.0, gt=0)
    lstm_lr_factor: float = Field(0.5, gt=0, lt=1)
    lstm_lr_patience: int = Field(2, ge=0)
    torch_device: Literal["auto", "cpu", "cuda"] = "auto"
    torch_threads: int = Field(2, ge=1)

    # Gates: the plan's thresholds; a tighter value is always safe
    gate_accuracy: float = Field(0.68, gt=0.5, lt=1)
    gate_tune_accuracy: float = Field(0.60, gt=0.5, lt=1)
    gate_ece: float = Field(0.05, gt=0, lt=1)
    gate_min_n_eff: float = Field(2000, gt=0)
    gate_p_value: float = Field(0.05, gt=0, lt=1)
    gate_strict: bool = False

    # How much at once
    parallel_symbols: int = Field(3, ge=1)

    # What runs by itself
    catch_up_days: int = Field(7, ge=1)
    catch_up_budget: int = Field(6, ge=1)
    catch_up_retry_h: float = Field(1.0, gt=0)
    retrain_after_days: int = Field(7, ge=1)
    retrain_accuracy_days: int = Field(7, ge=2)
    sensor_interval_s: int = Field(30, ge=1)

    # Who is told, and where one looks
    alert_urls: tuple[SecretStr, ...] = ()
    ui_url: str = "http://127.0.0.1:3000"
    reports_url: str = "http://127.0.0.1:3001"
    mlflow_ui_url: str = "http://127.0.0.1:3002"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.market == "recordings" and self.recordings is None and self.candle_files is None:
            raise SettingsError(
                f"{PREFIX}MARKET=recordings needs {PREFIX}RECORDINGS, the folder that holds the recorded files, or "
                f"{PREFIX}CANDLE_FILES"
            )
        if strange := sorted(set(self.source_urls) - set(SOURCES)):
            raise SettingsError(f"{PREFIX}SOURCE_URLS: no source {', '.join(strange)}; there are {', '.join(SOURCES)}")
        if strange := sorted(set(self.taker_fee_bps) - set(instruments.BOOK_VENUES)):
            known = ", ".join(instruments.BOOK_VENUES)
            raise SettingsError(f"{PREFIX}TAKER_FEE_BPS: no book of {', '.join(strange)} is read; there are {known}")
        if self.recordings is not None and not self.recordings.is_dir():
            raise SettingsError(f"{PREFIX}RECORDINGS: there is no folder {self.recordings}")
        if self.postgres_url is not None and self.mlflow_url is None:
            raise SettingsError(f"{PREFIX}POSTGRES_URL is set: name MLflow's database too, {PREFIX}MLFLOW_URL")
        if self.candle_files is not None and not self.candle_files.is_dir():
            raise SettingsError(f"{PREFIX}CANDLE_FILES: there is no folder {self.candle_files}")
        if self.candle_files is not None and self.market == "sandbox":
            raise SettingsError(
                f"{PREFIX}CANDLE_FILES are real candles, and the market is simulated: set {PREFIX}MARKET=recordings, "
                "or live"
            )
        if self.candle_files is None and any(p.endswith("/files") for p in self.primary.values()):
            raise SettingsError(f"{PREFIX}PRIMARY names the source files: set {PREFIX}CANDLE_FILES, their folder")
        if self.lstm_layers == 1 and self.lstm_dropout > 0 and "lstm_dropout" in self.model_fields_set:
            raise SettingsError(f"{PREFIX}LSTM_DROPOUT acts between layers: one layer has none, set it to 0")
        unlisted = [s for s in self.symbols if s not in instruments.symbols() and s not in self.primary]
        if unlisted:
            raise SettingsError(
                f"{PREFIX}SYMBOLS: {', '.join(unlisted)} is not in instruments.py, and {PREFIX}PRIMARY names no source"
            )
        for symbol in self.primary:
            instruments.primary(symbol, self.primary)
        if self.gate_tune_accuracy > self.gate_accuracy:
            raise SettingsError(f"{PREFIX}GATE_TUNE_ACCURACY must not exceed {PREFIX}GATE_ACCURACY")
        return self

    @model_validator(mode="after")
    def _one_crypto_lake(self) -> Self:
        if (self.crypto_lake_key_id is None) != (self.crypto_lake_secret is None):
            raise SettingsError(f"{PREFIX}CRYPTO_LAKE_KEY_ID and {PREFIX}CRYPTO_LAKE_SECRET belong together: set both")
        if self.crypto_lake_sample and self.crypto_lake_key_id is not None:
            raise SettingsError(f"{PREFIX}CRYPTO_LAKE_SAMPLE reads the free sample: unset it, or the credentials")
        return self

    @property
    def home_dir(self) -> Path:
        """The state folder, absolute: lake, Postgres, Dagster's own files."""
        return self.home.expanduser().resolve()

    def now(self) -> datetime:
        """Return the moment the platform takes for now: the machine's clock, or what the file ``clock`` says.

        The file is read at each call, so that a test can live through weeks.

        Raises
        ------
        SettingsError
            The file does not hold a moment with a UTC offset.
        """
        if self.clock is None:
            return datetime.now(UTC)
        text = self.clock.read_text().strip()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise SettingsError(
                f"{PREFIX}CLOCK: {self.clock} holds {text!r}, no moment like 2024-01-31T06:30:00+00:00"
            ) from error
        if moment.tzinfo is None:
            raise SettingsError(f"{PREFIX}CLOCK: {text!r} has no UTC offset")
        return moment.astimezone(UTC)

    @property
    def reports_dir(self) -> Path:
        """Where the verdicts' reports are written, one HTML file each."""
        return self.home_dir / "reports"

    @property
    def lake_url(self) -> str:
        """The lake's folder."""
        return self.lake or str(self.home_dir / "lake")

    @property
    def stamp(self) -> str:
        """What a lake is stamped with: data of another market never joins it, nor of another simulated one."""
        if self.market == "sandbox":
            return f"sandbox, seed {self.sandbox_seed}, density {self.sandbox_density:g}"
        return self.market

    @property
    def window_days(self) -> int:
        """Label days a model reads: fit + stop + calibrate."""
        return self.fit_days + self.stop_days + self.calibrate_days

    def endpoint(self, source: str) -> str | None:
        """Return the base URL of a source; None when the local market is not being served.

        Live data comes from the vendor; the sandbox and the recordings are served on localhost by
        ``crpbot sandbox serve`` (every ``crpbot`` verb that needs it starts it by itself).
        """
        if self.market == "live":
            return self.source_urls.get(source, SOURCES[source].url)
        return None if self.sandbox_url is None else f"{self.sandbox_url}{SOURCES[source].sandbox_path}"

    def unconfigured(self, source: str) -> str | None:
        """Return what must be set before ``source`` can be asked at all, None when it can be."""
        if self.market == "recordings":
            return None if source in RECORDED else f"recordings hold nothing of {source}"
        if source == "crypto_lake" and self.crypto_lake_sample:
            return None
        absent = [k for k in SOURCES[source].keys if getattr(self, k) is None]
        if self.market == "live" and SOURCES[source].needs_keys and absent:
            return f"set {', '.join(PREFIX + k.upper() for k in absent)}"
        return None


def unknown_variables(environment: dict[str, str]) -> list[str]:
    """Return the ``CRPBOT_*`` names in ``environment`` that no setting reads, sorted."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)


@lru_cache(maxsize=1)
def load() -> Settings:
    """Read the environment once.

    Raises
    ------
    SettingsError
        A ``CRPBOT_*`` variable is unknown.
    pydantic.ValidationError
        A value has the wrong type or range.
    """
    unknown = unknown_variables(dict(os.environ))
    if unknown:
        raise SettingsError(f"unknown settings {', '.join(unknown)}: .env.example lists the known ones")
    return Settings()


def export(**values: str) -> None:
    """Set settings for this process and its children (the embedded servers' addresses), and re-read."""
    for name, value in values.items():
        os.environ[PREFIX + name.upper()] = value
    load.cache_clear()
