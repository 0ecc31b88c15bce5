"""How usage looks over HTTP."""

from pydantic import BaseModel, Field

from core.owners.quotas import BILLION, Standing


class Counted(BaseModel):
    """What is used of something that is counted."""

    used: int
    limit: int | None = Field(description="Null where there is none.")


class Money(BaseModel):
    """What language models' descriptions cost, in the currency of the configured prices."""

    used: float
    reserved: float = Field(description="Set aside for requests that are under way.")
    limit: float | None = Field(description="Null where there is none.")


class DayOfUsage(BaseModel):
    """What was done for an owner today, from midnight UTC on; quotas are the owner's, for all of its keys together."""

    owner: str = Field(examples=["default"])
    day: str = Field(examples=["2026-11-30"])
    pictures: Counted = Field(description="Pictures and streams that were taken in, whatever became of them since.")
    bytes: Counted = Field(description="Their bytes, as they were sent.")
    money: Money
    seconds_left: int = Field(description="Until the next day begins.")


def to_out(owner: str, standing: Standing) -> DayOfUsage:
    """The owner's standing as it looks over HTTP."""
    limits, usage = standing.limits, standing.usage
    return DayOfUsage(
        owner=owner,
        day=standing.day,
        pictures=Counted(used=usage.pictures, limit=limits.pictures),
        bytes=Counted(used=usage.bytes, limit=limits.bytes),
        money=Money(
            used=usage.spent / BILLION,
            reserved=usage.reserved / BILLION,
            limit=None if limits.money is None else limits.money / BILLION,
        ),
        seconds_left=standing.seconds_left,
    )
