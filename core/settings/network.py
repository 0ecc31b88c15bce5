"""Settings of networks: where weights lie, which set serves by default, where they run."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from codec.options import Profile
from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings


class WeightsSettings(EnvironmentSettings):
    """The networks' weights."""

    model_config = SettingsConfigDict(env_prefix="MISC_WEIGHTS_")

    path: Path | None = Field(None, description="Folder that keeps weights; empty for the user's data folder")
    offline: bool = Field(False, description="Never fetch weights over a network; folders given by --from still work")


class ProfileSettings(EnvironmentSettings):
    """The set of networks that serves requests which name none."""

    model_config = SettingsConfigDict(env_prefix="MISC_")

    profile: Profile = Field(Profile.LITE, description="lite or sd21; decode workers load its networks when they start")


class NetworkSettings(EnvironmentSettings):
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
    graphs: bool = Field(
        False, description="Replay steps of sd21 on a GPU as CUDA graphs: more of its memory, less waiting for launches"
    )
    compile: bool = Field(False, description="Compile networks: minutes for each new size of tile, then faster steps")
