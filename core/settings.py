"""Settings from `MISC_*` environment variables, one small class a concern. Nothing is read at import time."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from codec.options import Profile
from core.errors import SettingsInvalid

_MIB = 1024 * 1024


def _plain_seconds(value: object) -> object:
    """Let people write 30 for thirty seconds; ISO 8601 (PT30S, P1D) is understood too."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Duration = Annotated[timedelta, BeforeValidator(_plain_seconds)]


class DatabaseSettings(BaseSettings):
    """Where the truth lives."""

    model_config = SettingsConfigDict(env_prefix="MISC_DATABASE_")

    url: str = Field(
        "sqlite:///misc-data/misc.db",
        description="SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME",
    )
    pool_size: int = Field(8, ge=1, description="Connections kept open by each process")
    busy_timeout: Duration = Field(
        timedelta(seconds=20), description="How long a statement waits for a free connection, or for SQLite's lock"
    )


class BrokerSettings(BaseSettings):
    """Redis: wake-ups for workers and events for watchers. Holds nothing that cannot be lost."""

    model_config = SettingsConfigDict(env_prefix="MISC_BROKER_")

    url: str = Field("redis://localhost:6379/0", description="redis://, rediss:// or redis+socket:// URL")
    visibility_timeout: Duration = Field(
        timedelta(hours=6), description="Longer than the longest job; the same in every process"
    )


class StorageBackend(StrEnum):
    """Where objects lie."""

    LOCAL = "local"
    """A folder."""
    S3 = "s3"
    """An S3-compatible store."""


class StorageSettings(BaseSettings):
    """Object storage."""

    model_config = SettingsConfigDict(env_prefix="MISC_STORAGE_")

    backend: StorageBackend = Field(StorageBackend.LOCAL, description="local or s3")
    path: Path = Field(Path("misc-data/objects"), description="Folder of the local backend")
    bucket: str = Field("misc", description="Bucket of the s3 backend")
    prefix: str = Field("", description="Prefix of every key in the bucket")
    endpoint_url: str | None = Field(None, description="Address of an S3-compatible store; empty for AWS")
    public_endpoint_url: str | None = Field(
        None, description="Address for presigned URLs when callers reach the store by another name"
    )
    region: str = Field("us-east-1", description="Region that requests are signed for")
    access_key: str | None = Field(None, description="Access key; empty for the SDK's own search")
    secret_key: SecretStr | None = Field(None, description="Secret key")
    request_checksum_calculation: Literal["when_required", "when_supported"] = Field(
        "when_required", description="when_supported sends checksums that some S3-compatible stores refuse"
    )
    presign_expires: Duration = Field(timedelta(minutes=15), description="Life of a presigned URL")

    @field_validator("endpoint_url", "public_endpoint_url", "access_key", "secret_key", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value


class APISettings(BaseSettings):
    """The HTTP process."""

    model_config = SettingsConfigDict(env_prefix="MISC_API_")

    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs keys")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Comma-separated bearer keys; none means loopback only"
    )
    max_upload_bytes: int = Field(128 * _MIB, ge=1, description="Largest request body for one picture")
    max_batch_bytes: int = Field(1024 * _MIB, ge=1, description="Largest request body for one batch")
    max_batch_images: int = Field(1000, ge=1, description="Most pictures in one batch request")
    max_pixels: int = Field(100_000_000, ge=1, le=100_000_000, description="Most pixels in one picture")
    events_poll: Duration = Field(
        timedelta(seconds=2),
        description="How often an event stream checks the database in case an event was lost",
    )
    idempotency_lifetime: Duration = Field(timedelta(hours=24), description="How long answers are kept for replay")

    @field_validator("keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


class WorkerSettings(BaseSettings):
    """The worker processes."""

    model_config = SettingsConfigDict(env_prefix="MISC_WORKER_")

    encode_concurrency: int = Field(
        32, ge=1, description="Threads of an encode worker; many, since they wait for model answers"
    )
    encode_slots: int = Field(
        0, ge=0, description="Encodes of a worker that may hold a full picture at a time; 0 for one each core"
    )
    decode_concurrency: int = Field(1, ge=1, description="Threads of a decode worker; one decode fills a device")
    maintenance_concurrency: int = Field(2, ge=1, description="Threads of a maintenance worker")
    lease: Duration = Field(
        timedelta(seconds=30), description="A job whose worker is silent for this long is given to another"
    )
    max_attempts: int = Field(3, ge=1, description="Attempts before a job fails for good")
    retry_delay: Duration = Field(timedelta(seconds=2), description="Wait before the second attempt; doubles")
    reconcile_interval: Duration = Field(
        timedelta(seconds=2), description="How often lost wake-ups and expired leases are looked for"
    )
    soft_shutdown: Duration = Field(
        timedelta(seconds=8),
        description="Time for running jobs to end after a stop; a little under the grace period",
    )
    preview_interval: Duration = Field(
        timedelta(seconds=1), description="Least time between two preview pictures of a decode"
    )
    stuck_after: Duration = Field(
        timedelta(seconds=30), description="An idle worker beside a full queue for this long restarts itself"
    )


class SpendingPeriod(StrEnum):
    """After what time the spending cap begins anew; days and months are those of UTC."""

    DAY = "day"
    """Each day."""
    MONTH = "month"
    """Each calendar month."""
    EVER = "ever"
    """Never."""


class LMMSettings(BaseSettings):
    """The language model that describes pictures, behind an OpenAI-compatible interface."""

    model_config = SettingsConfigDict(env_prefix="MISC_LMM_")

    base_url: str | None = Field(None, description="Address of the server, up to /v1; empty for OpenAI's own")
    api_key: SecretStr | None = Field(None, description="Key of the server; one of your own may need none")
    model: str = Field("gpt-5.4-mini", min_length=1, description="Name of the model, as the server knows it")
    detail: Literal["low", "high", "auto"] = Field("low", description="How closely the model looks; low costs least")
    longest_edge_px: int = Field(768, ge=64, le=4096, description="Pictures are reduced to this before they are sent")
    answer_form: Literal["auto", "json_schema", "json_object", "text"] = Field(
        "auto", description="How the server is asked to keep to a form; auto finds out the strictest that it takes"
    )
    max_output_tokens: int = Field(500, ge=50, description="Most tokens of one answer")
    timeout: Duration = Field(timedelta(seconds=60), description="How long one request may take")
    attempts: int = Field(5, ge=1, le=20, description="Requests for one picture before the model is unavailable")
    requests_per_minute: int = Field(0, ge=0, description="Most requests in any minute, over all workers; 0 for any")
    tokens_per_minute: int = Field(0, ge=0, description="Most tokens in any minute, over all workers; 0 for any")
    price_input: float = Field(0.0, ge=0, description="Price of a million input tokens; any currency")
    price_output: float = Field(0.0, ge=0, description="Price of a million output tokens; the same currency")
    spending_cap: float | None = Field(None, gt=0, description="Most that descriptions may cost in a period")
    spending_period: SpendingPeriod = Field(SpendingPeriod.MONTH, description="The period of the cap: day, month, ever")
    fallback: Literal["local", "none", "fail"] = Field(
        "local", description="What follows when the model gives nothing: the built-in describer, no text, or failure"
    )
    batch_gather_count: int = Field(
        1000, ge=1, le=50_000, description="Requests for the Batch API that are sent without waiting for more"
    )
    batch_gather_age: Duration = Field(
        timedelta(minutes=10), description="How long a request for the Batch API waits for others"
    )
    batch_poll: Duration = Field(timedelta(seconds=30), description="How often a batch under way is looked at")
    batch_patience: Duration = Field(
        timedelta(hours=26), description="After this a job asks directly; batches are done within 24 hours"
    )

    @field_validator("base_url", "api_key", "spending_cap", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _cap_needs_prices(self) -> Self:
        if self.spending_cap is not None and not (self.price_input or self.price_output):
            raise ValueError("MISC_LMM_SPENDING_CAP needs MISC_LMM_PRICE_INPUT and MISC_LMM_PRICE_OUTPUT")
        return self

    @property
    def is_configured(self) -> bool:
        """True when there is somebody to ask."""
        return self.base_url is not None or self.api_key is not None


class WeightsSettings(BaseSettings):
    """The networks' weights."""

    model_config = SettingsConfigDict(env_prefix="MISC_WEIGHTS_")

    path: Path | None = Field(None, description="Folder that keeps weights; empty for the user's data folder")
    offline: bool = Field(False, description="Never fetch weights over a network; folders given by --from still work")

    @field_validator("path", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value


class ProfileSettings(BaseSettings):
    """The set of networks that serves requests which name none."""

    model_config = SettingsConfigDict(env_prefix="MISC_")

    profile: Profile = Field(Profile.LITE, description="lite or sd21; decode workers load its networks when they start")


class NetworkSettings(BaseSettings):
    """Where large networks run, and how long they are kept."""

    model_config = SettingsConfigDict(env_prefix="MISC_NETWORK_")

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$", description="auto, cpu, cuda or cuda:1; auto takes a GPU"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Precision: auto, float32, bfloat16; auto takes bfloat16 on a GPU that has it"
    )
    idle: Duration = Field(
        timedelta(minutes=30), description="Networks unused for this long give their memory back; 0 keeps them"
    )
    compile: bool = Field(False, description="Compile networks: minutes for each new size of tile, then faster steps")


class LogSettings(BaseSettings):
    """Logging."""

    model_config = SettingsConfigDict(env_prefix="MISC_LOG_")

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is printed")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto prints colour on a terminal and JSON elsewhere"
    )


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(kind: type[SettingsT]) -> SettingsT:
    """Read the settings of one concern; raises SettingsInvalid that names each wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config["env_prefix"]
        faults = (f"{prefix}{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
        raise SettingsInvalid("; ".join(faults)) from None


ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    DatabaseSettings,
    BrokerSettings,
    StorageSettings,
    APISettings,
    WorkerSettings,
    LMMSettings,
    WeightsSettings,
    ProfileSettings,
    NetworkSettings,
    LogSettings,
)
