"""Settings of the language model that describes pictures."""

from datetime import timedelta
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from codec.language_model import AnswerForm, LMMServer
from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings


class SpendingPeriod(StrEnum):
    """After what time the spending cap begins anew; days and months are those of UTC."""

    DAY = "day"
    """Each day."""
    MONTH = "month"
    """Each calendar month."""
    EVER = "ever"
    """Never."""


class LMMSettings(EnvironmentSettings):
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

    @model_validator(mode="after")
    def _cap_needs_prices(self) -> Self:
        if self.spending_cap is not None and not (self.price_input or self.price_output):
            raise ValueError("MISC_LMM_SPENDING_CAP needs MISC_LMM_PRICE_INPUT and MISC_LMM_PRICE_OUTPUT")
        return self

    @property
    def is_configured(self) -> bool:
        """True when there is somebody to ask."""
        return self.base_url is not None or self.api_key is not None

    @property
    def server(self) -> LMMServer:
        """The server and model that the settings name."""
        return LMMServer(
            base_url=self.base_url,
            api_key=None if self.api_key is None else self.api_key.get_secret_value(),
            model=self.model,
            detail=self.detail,
            timeout_seconds=self.timeout.total_seconds(),
            longest_edge_px=self.longest_edge_px,
            answer_form=AnswerForm(self.answer_form),
            attempts=self.attempts,
            price_input=self.price_input,
            price_output=self.price_output,
            max_output_tokens=self.max_output_tokens,
        )
