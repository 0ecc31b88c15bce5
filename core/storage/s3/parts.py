"""Uploads files of gigabytes in parts: a store takes at most 5 GB in one request, and a part that fails is sent again
alone."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 64 * 1024 * 1024
"""Of 10,000 parts at most, so enough for 640 GB; one is in memory at a time."""


def put_in_parts(client: "S3Client", request: Mapping[str, Any], file: Path, part_bytes: int) -> None:
    """Store a file under the bucket, key, type and metadata of `request`; there is no object until all parts are there.

    Raises the vendor's errors; the parts that were sent are given up then, as far as the store can be reached.
    """
    where = {"Bucket": request["Bucket"], "Key": request["Key"]}
    upload = client.create_multipart_upload(**where, ContentType=request["ContentType"], Metadata=request["Metadata"])[
        "UploadId"
    ]
    parts: list[Any] = []
    try:
        with file.open("rb") as source:
            while data := source.read(part_bytes):
                number = len(parts) + 1
                md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
                answer = client.upload_part(**where, UploadId=upload, PartNumber=number, Body=data, ContentMD5=md5)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    except BaseException:
        client.abort_multipart_upload(**where, UploadId=upload)
        raise
