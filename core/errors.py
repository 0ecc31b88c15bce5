"""Errors of the service (not of the codec): each has a stable `code` and says whether trying again may help."""

from datetime import datetime
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault an error is. For a job that meets it, it decides whether and how it is tried again."""

    JOB = "job"
    """The job's own: another attempt would meet the same."""
    SURROUNDINGS = "surroundings"
    """Of what the service stands on: the job is put off until it is over, and no attempt is counted."""
    SERVICE = "service"
    """A defect or an accident of ours: tried again a few times, since each attempt may meet it."""


class ServiceError(Exception):
    """Root of all service errors. The message says what was wrong and what to do."""

    code = "service_error"
    transient = False
    fault = Fault.SERVICE


class NotFound(ServiceError):
    """There is no such image, job, batch or reconstruction."""

    code = "not_found"
    fault = Fault.JOB


class Conflict(ServiceError):
    """The request contradicts the present state."""

    code = "conflict"
    fault = Fault.JOB


class NotReady(Conflict):
    """The result is not there yet; its job has not ended."""

    code = "not_ready"


class IdempotencyInFlight(Conflict):
    """The first request with this key has not been answered yet."""

    code = "idempotency_in_flight"


class IdempotencyMismatch(ServiceError):
    """The key was used before with another request."""

    code = "idempotency_mismatch"
    fault = Fault.JOB


class RequestInvalid(ServiceError):
    """A parameter, header or body of a request is wrong."""

    code = "request_invalid"
    fault = Fault.JOB


class UploadTooLarge(ServiceError):
    """The body is larger than the service takes."""

    code = "upload_too_large"
    fault = Fault.JOB


class Unauthorized(ServiceError):
    """No key, or one that is not known."""

    code = "unauthorized"
    fault = Fault.JOB


class Forbidden(ServiceError):
    """The key is good, and not for this."""

    code = "forbidden"
    fault = Fault.JOB


class LimitReached(ServiceError):
    """The caller, or all callers together, have as much under way as is allowed; later it works again."""

    code = "limit_reached"
    transient = True


class Overloaded(ServiceError):
    """More requests come than can be answered in time; this one was refused before any work was done."""

    code = "overloaded"
    transient = True
    fault = Fault.SURROUNDINGS


class LeaseLost(ServiceError):
    """The job was taken back, finished or deleted by somebody else; this claim may record nothing."""

    code = "lease_lost"


class WorkerLost(ServiceError):
    """A worker died or was cut off in the middle of a job."""

    code = "worker_lost"
    transient = True


class ProcessLost(ServiceError):
    """A child process died at its work, or could not be started."""

    code = "process_lost"
    transient = True


class KindUnknown(ServiceError):
    """No handler in this process does this kind of job."""

    code = "kind_unknown"
    fault = Fault.SURROUNDINGS


class ObjectNotFound(ServiceError):
    """An object that should be in storage is not there."""

    code = "object_not_found"
    fault = Fault.SURROUNDINGS


class ObjectCorrupt(ServiceError):
    """An object's bytes do not have the digest or size that was recorded."""

    code = "object_corrupt"
    fault = Fault.SURROUNDINGS


class StorageDenied(ServiceError):
    """The store refuses our credentials or our right to write."""

    code = "storage_denied"
    fault = Fault.SURROUNDINGS


class ObjectRetained(StorageDenied):
    """A lock holds an object that is to be deleted; `until` when, where that is known."""

    code = "object_retained"

    def __init__(self, message: str, until: datetime | None = None) -> None:
        super().__init__(message)
        self.until = until


class StorageUnavailable(ServiceError):
    """The store cannot be reached, is full, or answers with an error."""

    code = "storage_unavailable"
    transient = True
    fault = Fault.SURROUNDINGS


class SpaceExhausted(ServiceError):
    """The disk that uploads lie on while they are received is full."""

    code = "storage_full"
    transient = True
    fault = Fault.SURROUNDINGS


class BrokerUnavailable(ServiceError):
    """Redis cannot be reached; submitted jobs are safe in the database and are sent later."""

    code = "broker_unavailable"
    transient = True
    fault = Fault.SURROUNDINGS


class DatabaseUnavailable(ServiceError):
    """The database cannot be reached or is too busy."""

    code = "database_unavailable"
    transient = True
    fault = Fault.SURROUNDINGS


class DatabaseNotMigrated(ServiceError):
    """The tables are missing or older than the code."""

    code = "database_not_migrated"


class DatabaseNewer(ServiceError):
    """The tables are those of a newer version, or of another program."""

    code = "database_newer"


class DatabaseUnusable(ServiceError):
    """The database answers but cannot be worked with: its encoding, its rights, or it is none."""

    code = "database_unusable"
    fault = Fault.SURROUNDINGS


class SettingsInvalid(ServiceError):
    """A setting is missing or contradicts another one."""

    code = "settings_invalid"
