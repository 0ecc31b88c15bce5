"""Storage in an S3-compatible store. The only package that knows boto3; its errors end here."""

from core.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]
