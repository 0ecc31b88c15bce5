"""`/v1/usage`: what was done for the caller's owner today."""

from fastapi import APIRouter, Response

from api.auth import CallerDependency
from api.quota import headers_of
from api.services import ServicesDependency
from api.usage.schemas import DayOfUsage, to_out
from core.owners import quotas

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get("", summary="Look at today's usage")
def get_usage(response: Response, services: ServicesDependency, caller: CallerDependency) -> DayOfUsage:
    """Pictures, bytes and money of today beside the owner's quotas, also as `RateLimit` fields."""
    with services.database.read() as session:
        standing = quotas.standing_of(session, caller.owner)
    response.headers.update(headers_of(standing))
    return to_out(caller.owner, standing)
