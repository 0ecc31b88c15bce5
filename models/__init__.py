"""Database tables, one a file. (Neural networks live in `codec/nets`.)"""

from models.base import Base
from models.batch import Batch
from models.bought_answer import BoughtAnswer
from models.description import DescriptionRecord
from models.description_lot import DescriptionLot
from models.description_request import DescriptionRequest, RequestState
from models.description_waiter import DescriptionWaiter
from models.idempotency import IdempotencyKey
from models.image import Image, ImageState
from models.job import Job, JobKind, JobState
from models.loose_object import LooseObject
from models.outbox import OutboxRow
from models.reconstruction import Reconstruction, ReconstructionState
from models.spending import Spending

__all__ = [
    "Base",
    "Batch",
    "BoughtAnswer",
    "DescriptionLot",
    "DescriptionRecord",
    "DescriptionRequest",
    "DescriptionWaiter",
    "IdempotencyKey",
    "Image",
    "ImageState",
    "Job",
    "JobKind",
    "JobState",
    "LooseObject",
    "OutboxRow",
    "Reconstruction",
    "ReconstructionState",
    "RequestState",
    "Spending",
]
