"""What options of an encode and of a decode have in common, and how they are made of plain values."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from codec.errors import OptionError
from codec.limits import MAX_TEXT_CHARS
from codec.strict_json import StrictModel

Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


PROFILE_HELP = "Set of networks; a service may have another default (MISC_PROFILE)."


class Options(StrictModel):
    """Fields whose unknown names and values out of bounds are refused."""

    model_config = ConfigDict(frozen=True)

    later_fields: ClassVar[frozenset[str]] = frozenset()
    """Those that came after the first version's."""

    def choices(self) -> dict[str, Any]:
        """All fields as plain values, those that came later only where they are not at their default: so an order or
        a picture has the words that it had before there were these."""
        fields = type(self).model_fields
        at_default = {name for name in self.later_fields if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude=at_default)


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(kind: type[OptionsT], values: dict[str, Any], name_of: Callable[[str], str] = str) -> OptionsT:
    """Build options from plain values; raises OptionError with one sentence that names each bad field.

    `name_of`: how the caller's people write a field.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{name_of('.'.join(map(str, fault['loc']))) or 'options'}: {fault['msg']}" for fault in error.errors()
        )
        is_unknown = any(fault["type"] == "extra_forbidden" for fault in error.errors())
        known = f" Known options: {', '.join(map(name_of, sorted(kind.model_fields)))}." if is_unknown else ""
        raise OptionError(f"{faults}.{known}") from None
