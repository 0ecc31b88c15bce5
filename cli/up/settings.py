"""Settings as the children of `misc up` read them, from their environment and not from this process's own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.up.data_folder import StackError

if TYPE_CHECKING:
    from core.settings import SettingsT


def check_settings(environment: Mapping[str, str]) -> None:
    """Refuse settings that no child could read; raises StackError that names every wrong variable."""
    from core.errors import SettingsInvalid
    from core.settings import ALL_SETTINGS

    faults = []
    for kind in ALL_SETTINGS:
        try:
            read_settings(kind, environment)
        except SettingsInvalid as error:
            faults.append(str(error))
    if faults:
        raise StackError(f"Settings that cannot be used: {'; '.join(faults)}. Correct these variables or unset them.")


def read_settings(kind: "type[SettingsT]", environment: Mapping[str, str]) -> "SettingsT":
    """The settings that a child reads in its environment, not this process's own."""
    from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

    from core.settings import load

    given = {name.lower(): value for name, value in environment.items()}

    class _Given(BaseSettings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            source = EnvSettingsSource(settings_cls)
            source.env_vars = given
            return (source,)

    return load(type(kind.__name__, (_Given, kind), {}))
