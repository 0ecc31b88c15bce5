"""How health looks over HTTP."""

from typing import Literal

from pydantic import BaseModel, Field


class Alive(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(BaseModel):
    """Whether requests can be served. Jobs are safe in the database without Redis, so it only degrades the service."""

    status: Literal["ready", "unready"]
    failed: dict[str, str] = Field(description="The parts that are needed and do not answer, with an error code.")
    degraded: list[Literal["broker"]] = Field(description="The parts that do not answer and can be done without.")
