"""Which work a kind of job is. Heavy imports happen here, once a process, and only for the queues it consumes."""

from collections.abc import Sequence

from core.queue import DECODE, ENCODE
from models.job import JobKind
from workers.context import Work, WorkContext


def work_for(kind: JobKind) -> Work:
    """The function that does this kind of job."""
    if kind is JobKind.ENCODE:
        from workers.encode.work import encode_image

        return encode_image
    if kind is JobKind.DECODE:
        from workers.decode.work import decode_image

        return decode_image
    return _probe


def warm_up(queues: Sequence[str]) -> None:
    """Import and load what the queues need, so that the first job finds a warm process."""
    if ENCODE in queues:
        work_for(JobKind.ENCODE)
    if DECODE in queues:
        work_for(JobKind.DECODE)


def _probe(_context: WorkContext) -> None:
    """Nothing."""
