"""Settings of the worker processes."""

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings

if TYPE_CHECKING:
    from codec.decode_price import DecodeLimits


class WorkerSettings(EnvironmentSettings):
    """The worker processes."""

    model_config = SettingsConfigDict(env_prefix="MISC_WORKER_")

    encode_concurrency: int = Field(
        32, ge=1, description="Threads of an encode worker; many, since they wait for model answers"
    )
    encode_slots: int = Field(
        0, ge=0, description="Encodes of a worker that may hold a full picture at a time; 0 for one each core"
    )
    decode_concurrency: int = Field(
        4, ge=1, description="Decodes under way in a decode worker; its engine advances them together"
    )
    warm_up: Literal["first", "beside"] = Field(
        "first",
        description="When a decode worker loads and tries the networks of MISC_PROFILE: first, before it takes jobs, "
        "or beside the first ones",
    )
    maintenance_concurrency: int = Field(2, ge=1, description="Threads of a maintenance worker")
    niceness: int = Field(
        5, ge=0, le=19, description="How far workers stand back behind the API and others where they share cores"
    )
    lease: Duration = Field(
        timedelta(seconds=15), description="A job whose worker is silent for this long is given to another"
    )
    max_decode_megapixels: int = Field(
        64, ge=1, le=100, description="Largest picture that networks restore; the API refuses orders of larger ones"
    )
    max_decode_evaluations: int = Field(
        480, ge=1, description="Most megapixels that networks evaluate for one order, steps x size; raise it for a GPU"
    )
    max_attempts: int = Field(3, ge=1, description="Attempts before a job fails for good")
    retry_delay: Duration = Field(timedelta(seconds=2), description="Wait before the second attempt; doubles")
    patience: Duration = Field(
        timedelta(hours=24),
        description="A job fails when what it needs (storage, database, broker) was away for this long",
    )
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
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port on which a worker tells Prometheus its figures; 0 for none"
    )
    metrics_host: str = Field("127.0.0.1", description="Address of that port; it answers without a key")
    stuck_after: Duration = Field(
        timedelta(seconds=30), description="An idle worker beside a full queue for this long restarts itself"
    )

    @property
    def decode_limits(self) -> "DecodeLimits":
        """The most that one decode may cost."""
        # Imported here, because everything reads settings, and little the codec.
        from codec.decode_price import DecodeLimits

        return DecodeLimits(self.max_decode_megapixels * 1_000_000, self.max_decode_evaluations * 1_000_000)
