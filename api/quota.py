"""Quotas over HTTP: refused before a picture is read, told in the fields of draft-ietf-httpapi-ratelimit-headers-10."""

from starlette.concurrency import run_in_threadpool

from api.services import Services
from core.owners import quotas
from core.owners.quotas import Standing


async def check_quota(services: Services, owner: str) -> None:
    """Raise QuotaReached for an owner who can have nothing taken in any more today."""
    await run_in_threadpool(_check, services, owner)


def headers_of(standing: Standing) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit`; empty for an owner without a quota of pictures or bytes."""
    limits, usage = standing.limits, standing.usage
    policies, left = [], []
    for name, unit, limit, used in (
        ("pictures", "", limits.pictures, usage.pictures),
        ("bytes", ';qu="content-bytes"', limits.bytes, usage.bytes),
    ):
        if limit is not None:
            policies.append(f'"{name}";q={limit}{unit};w={quotas.DAY_SECONDS}')
            left.append(f'"{name}";r={max(0, limit - used)};t={standing.seconds_left}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)} if policies else {}


def _check(services: Services, owner: str) -> None:
    with services.database.read() as session:
        quotas.check(session, owner)
