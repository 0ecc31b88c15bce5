"""Database tables, one a file. (Neural networks live in `codec/nets`.)"""

from models.api_key import APIKey
from models.base import Base
from models.batch import Batch
from models.batch_rejection import BatchRejection
from models.batch_waiter import BatchWaiter
from models.cached_description import CachedDescription
from models.daily_usage import DailyUsage
from models.description import DescriptionRecord
from models.description_request import DescriptionRequest, RequestState
from models.idempotency import IdempotencyKey
from models.image import Image, ImageState
from models.job import Job, JobKind, JobPriority, JobState
from models.llm_batch import LLMBatch
from models.network_set import NetworkSet
from models.outbox import OutboxRow
from models.pack_member import PackMember
from models.pending_deletion import PendingDeletion
from models.quota import Quota
from models.reconstruction import Reconstruction, ReconstructionState
from models.search_word import SearchWord
from models.spending import Spending
from models.stored_object import ObjectKind, StoredObject
from models.webhook import Webhook
from models.webhook_message import MessageState, WebhookMessage
from models.worker import Worker

__all__ = [
    "APIKey",
    "Base",
    "Batch",
    "BatchRejection",
    "BatchWaiter",
    "CachedDescription",
    "DailyUsage",
    "DescriptionRecord",
    "DescriptionRequest",
    "IdempotencyKey",
    "Image",
    "ImageState",
    "Job",
    "JobKind",
    "JobPriority",
    "JobState",
    "LLMBatch",
    "MessageState",
    "NetworkSet",
    "ObjectKind",
    "OutboxRow",
    "PackMember",
    "PendingDeletion",
    "Quota",
    "Reconstruction",
    "ReconstructionState",
    "RequestState",
    "SearchWord",
    "Spending",
    "StoredObject",
    "Webhook",
    "WebhookMessage",
    "Worker",
]
