"""Models of JSON whose types are those of the document: there `true` is no number, and neither is `"3"`."""

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

_NUMBERS = (int, float, int | None, float | None)
_TRUTHS = (bool, bool | None)


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
