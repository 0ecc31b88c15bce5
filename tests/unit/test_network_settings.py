"""Where networks run is checked when the process starts, and said by the variable's name."""

from datetime import timedelta

import pytest

from core.errors import SettingsInvalid
from core.settings import NetworkSettings, ProfileSettings, load


def test_defaults_take_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVICE", "DTYPE", "IDLE", "COMPILE"):
        monkeypatch.delenv(f"MISC_NETWORK_{name}", raising=False)
    monkeypatch.delenv("MISC_PROFILE", raising=False)
    settings = load(NetworkSettings)
    assert (settings.device, settings.dtype, settings.compile) == ("auto", "auto", False)
    assert settings.idle == timedelta(minutes=30)
    assert load(ProfileSettings).profile == "lite"


@pytest.mark.parametrize(
    ("kind", "variable", "value"),
    [
        (NetworkSettings, "MISC_NETWORK_DEVICE", "tpu"),
        (NetworkSettings, "MISC_NETWORK_DEVICE", "cuda:one"),
        (NetworkSettings, "MISC_NETWORK_DTYPE", "float16"),
        (NetworkSettings, "MISC_NETWORK_IDLE", "soon"),
        (ProfileSettings, "MISC_PROFILE", "sd3"),
    ],
)
def test_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[NetworkSettings | ProfileSettings], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=variable):
        load(kind)
