"""Whose fault it is that a job met an error, which says what becomes of the job; docs/faults.md has all codes."""

from datetime import timedelta

from codec import errors as codec_errors
from codec.errors import CodecError
from core.errors import Fault, ObjectCorrupt, ObjectNotFound, ServiceError

# Errors of the codec that are not the job's own; the nearest class decides.
_OF_THE_CODEC: dict[type[CodecError], Fault] = {
    codec_errors.OutOfMemory: Fault.SERVICE,
    codec_errors.DescriberUnavailable: Fault.SURROUNDINGS,
    codec_errors.SignerUnusable: Fault.SURROUNDINGS,
}

_SOON_BELIEVED = timedelta(minutes=10)
"""A store may be restored, repaired or read through a broken line for a while; after that its answer is believed."""


def fault_of(error: CodecError | ServiceError) -> Fault:
    """Whose fault the error is."""
    if isinstance(error, ServiceError):
        return error.fault
    return next((_OF_THE_CODEC[kind] for kind in type(error).__mro__ if kind in _OF_THE_CODEC), Fault.JOB)


def patience_with(error: CodecError | ServiceError, longest: timedelta) -> timedelta:
    """For how long a fault of the surroundings is waited out."""
    return min(longest, _SOON_BELIEVED) if isinstance(error, ObjectNotFound | ObjectCorrupt) else longest
