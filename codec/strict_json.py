"""Models of JSON whose types are those of the document: there `true` is no number, and neither is `"3"`."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

_NUMBERS = (int, float, int | None, float | None)
_TRUTHS = (bool, bool | None)


def _no_count_of_seconds(value: object) -> object:
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip("+-. 0123456789") == ""):
        raise ValueError("Input should be a date and time with an offset, as 2026-12-01T08:00:00Z")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_no_count_of_seconds)]
"""A date and time with its offset, as RFC 3339 writes them; a number is none."""


class StrictModel(BaseModel):
    """Refuses unknown names and values that only a conversion makes right; 3.0 is an integer, as in JSON Schema."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _check_type(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if annotation in _NUMBERS and isinstance(value, bool | str | bytes):
            raise ValueError("Input should be a number")
        if annotation in _TRUTHS and not isinstance(value, bool | None):
            raise ValueError("Input should be true or false")
        return value
