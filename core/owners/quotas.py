"""What owners may have done in a day, and what was done for them. Every function works in the caller's transaction."""

import math
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from sqlalchemy import and_, select, true, update
from sqlalchemy.orm import Session

from core.database import insert_into
from core.errors import LimitReached
from models.base import utc_now
from models.daily_usage import DailyUsage
from models.quota import Quota

BILLION = 1_000_000_000
"""Money is kept in billionths of the currency that the prices are in."""


DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Limits:
    """What an owner may have done in a day, from midnight to midnight UTC; None is no limit. Money is in billionths."""

    pictures: int | None = None
    bytes: int | None = None
    money: int | None = None


@dataclass(frozen=True)
class Usage:
    """What was done for an owner on a day: pictures taken in, their bytes, and money in billionths."""

    pictures: int = 0
    bytes: int = 0
    spent: int = 0
    reserved: int = 0


@dataclass(frozen=True)
class Standing:
    """Limits and usage of an owner on a day, and for how long that day goes on."""

    day: str
    limits: Limits
    usage: Usage
    seconds_left: int


class QuotaReached(LimitReached):
    """The owner has had done what is allowed in a day; `standing` says what, and when the next one begins."""

    code = "quota_reached"
    transient = False

    def __init__(self, message: str, standing: Standing | None = None) -> None:
        super().__init__(message)
        self.standing = standing


def set_limits(session: Session, owner: str, limits: Limits) -> None:
    """Put these limits in the place of the owner's; they hold for all of its keys together, from now on."""
    values = {"pictures": limits.pictures, "bytes": limits.bytes, "money": limits.money}
    statement = insert_into(session, Quota).values(owner=owner, **values)
    session.execute(statement.on_conflict_do_update(index_elements=[Quota.owner], set_=values))


def limits_of(session: Session, owner: str) -> Limits:
    """The owner's limits."""
    row = session.execute(select(Quota.pictures, Quota.bytes, Quota.money).where(Quota.owner == owner)).one_or_none()
    return Limits() if row is None else Limits(*row)


def standing_of(session: Session, owner: str, now: datetime | None = None) -> Standing:
    """How the owner stands today."""
    now = now or utc_now()
    usage = session.execute(
        select(DailyUsage.pictures, DailyUsage.bytes, DailyUsage.spent, DailyUsage.reserved).where(
            DailyUsage.owner == owner, DailyUsage.day == day_of(now)
        )
    ).one_or_none()
    return Standing(
        day_of(now), limits_of(session, owner), Usage() if usage is None else Usage(*usage), _seconds_left(now)
    )


def check(session: Session, owner: str) -> None:
    """Raise QuotaReached for an owner who can have no further picture taken in today, whatever its size."""
    if limits_of(session, owner) == Limits():
        return
    standing = standing_of(session, owner)
    limits, usage = standing.limits, standing.usage
    if not _fits(limits.pictures, usage.pictures + 1) or not _fits(limits.bytes, usage.bytes + 1):
        raise _reached(standing)


def charge(session: Session, owner: str, pictures: int, size_bytes: int) -> Standing:
    """Note pictures that this transaction takes in; raises QuotaReached, where they are more than the owner has left.

    To be called late in the transaction: until its end, others of the same owner wait here.
    """
    now = utc_now()
    limits = limits_of(session, owner)
    new = insert_into(session, DailyUsage).values(
        owner=owner, day=day_of(now), pictures=pictures, bytes=size_bytes, spent=0, reserved=0
    )
    sums = {
        "pictures": DailyUsage.pictures + new.excluded.pictures,
        "bytes": DailyUsage.bytes + new.excluded.bytes,
    }
    bounds = ((sums["pictures"], limits.pictures), (sums["bytes"], limits.bytes))
    fits = and_(true(), *(used <= limit for used, limit in bounds if limit is not None))
    row = None
    if _fits(limits.pictures, pictures) and _fits(limits.bytes, size_bytes):
        row = session.execute(
            new.on_conflict_do_update(
                index_elements=[DailyUsage.owner, DailyUsage.day], set_=sums, where=fits
            ).returning(DailyUsage.pictures, DailyUsage.bytes, DailyUsage.spent, DailyUsage.reserved)
        ).one_or_none()
    if row is None:
        raise _reached(standing_of(session, owner, now))
    return Standing(day_of(now), limits, Usage(*row), _seconds_left(now))


def reserve_money(session: Session, owner: str, day: str, amount: int) -> bool:
    """Set money aside, in billionths; False where the owner's quota leaves no room beside what is spent and set
    aside."""
    limit = limits_of(session, owner).money
    if not _fits(limit, amount):
        return False
    new = insert_into(session, DailyUsage).values(owner=owner, day=day, pictures=0, bytes=0, spent=0, reserved=amount)
    total = DailyUsage.spent + DailyUsage.reserved + new.excluded.reserved
    row = session.execute(
        new.on_conflict_do_update(
            index_elements=[DailyUsage.owner, DailyUsage.day],
            set_={"reserved": DailyUsage.reserved + new.excluded.reserved},
            where=true() if limit is None else total <= limit,
        ).returning(DailyUsage.owner)
    ).first()
    return row is not None


def settle_money(session: Session, owner: str, day: str, amount: int, spent: int) -> None:
    """Replace what was set aside by what was spent, both in billionths."""
    session.execute(
        update(DailyUsage)
        .where(DailyUsage.owner == owner, DailyUsage.day == day)
        .values(reserved=DailyUsage.reserved - amount, spent=DailyUsage.spent + spent)
    )


def spend(session: Session, owner: str, spent: int) -> None:
    """Note what was spent without having been set aside, in billionths."""
    new = insert_into(session, DailyUsage).values(
        owner=owner, day=day_of(utc_now()), pictures=0, bytes=0, spent=spent, reserved=0
    )
    sums = {"spent": DailyUsage.spent + new.excluded.spent}
    session.execute(new.on_conflict_do_update(index_elements=[DailyUsage.owner, DailyUsage.day], set_=sums))


def billionths(cost: float) -> int:
    """A cost as it is kept, rounded up."""
    return math.ceil(cost * BILLION)


def day_of(moment: datetime) -> str:
    """The name of the day in which a moment (UTC) lies."""
    return moment.strftime("%Y-%m-%d")


def _seconds_left(moment: datetime) -> int:
    midnight = datetime.combine(moment.date() + timedelta(days=1), time(), moment.tzinfo)
    return max(1, round((midnight - moment).total_seconds()))


def _fits(limit: int | None, used: int) -> bool:
    return limit is None or used <= limit


def _reached(standing: Standing) -> QuotaReached:
    limits, usage = standing.limits, standing.usage
    said = [
        f"{used} of {limit} {what}"
        for what, used, limit in (
            ("pictures", usage.pictures, limits.pictures),
            ("bytes", usage.bytes, limits.bytes),
        )
        if limit is not None
    ]
    return QuotaReached(
        f"This is more than the owner's quota of today leaves: {' and '.join(said)} are used. Go on tomorrow (UTC).",
        standing,
    )
