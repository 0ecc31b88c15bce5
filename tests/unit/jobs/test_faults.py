"""Whose fault each error is that a job can meet; docs/faults.md says the same."""

from datetime import timedelta

import pytest

from codec import errors as codec_errors
from codec.errors import CodecError
from core import errors
from core.errors import Fault, ServiceError
from core.jobs.faults import fault_of, patience_with

DAY = timedelta(hours=24)


@pytest.mark.parametrize(
    "kind",
    [
        errors.StorageUnavailable,
        errors.StorageDenied,
        errors.ObjectNotFound,
        errors.ObjectCorrupt,
        errors.DatabaseUnavailable,
        errors.DatabaseUnusable,
        errors.BrokerUnavailable,
        errors.SpaceExhausted,
        errors.KindUnknown,
        codec_errors.DescriberUnavailable,
        codec_errors.SignerUnusable,
    ],
)
def test_what_the_service_stands_on_is_no_fault_of_the_job(kind: type[ServiceError | CodecError]) -> None:
    assert fault_of(kind("message")) is Fault.SURROUNDINGS


@pytest.mark.parametrize(
    "kind",
    [
        codec_errors.PictureTruncated,
        codec_errors.PictureTooCostly,
        codec_errors.StreamCorrupt,
        codec_errors.OptionError,
        codec_errors.BudgetUnreachable,
        codec_errors.WeightsMissing,
        codec_errors.DescriberMisconfigured,
        codec_errors.DecodeTooCostly,
    ],
)
def test_what_another_attempt_would_meet_again_ends_the_job(kind: type[CodecError]) -> None:
    assert fault_of(kind("message")) is Fault.JOB


@pytest.mark.parametrize("kind", [ServiceError, errors.ProcessLost, errors.WorkerLost, codec_errors.OutOfMemory])
def test_accidents_of_ours_are_tried_a_few_times(kind: type[ServiceError | CodecError]) -> None:
    assert fault_of(kind("message")) is Fault.SERVICE


def test_store_that_says_an_object_is_damaged_or_missing_is_believed_after_ten_minutes() -> None:
    assert patience_with(errors.ObjectCorrupt("message"), DAY) == timedelta(minutes=10)
    assert patience_with(errors.ObjectNotFound("message"), DAY) == timedelta(minutes=10)
    assert patience_with(errors.StorageUnavailable("message"), DAY) == DAY
    assert patience_with(errors.ObjectCorrupt("message"), timedelta(minutes=1)) == timedelta(minutes=1)
