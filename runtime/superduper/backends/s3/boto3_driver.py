"""S3 by boto3: what most images have, and what works after a fork."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from superduper.backends.base.artifacts import Buffer, ObjectInfo
from superduper.backends.s3.driver import DEADLINE, Driver, Location
from superduper.errors import AccessDenied, MissingExtra, NotFound, StoreError, Unreachable

_DENIED = frozenset(
    {"403", "401", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_EXISTS = frozenset({"409", "412", "PreconditionFailed", "ConditionalRequestConflict"})


class Boto3Driver(Driver):
    """One client, which boto3 allows threads to share."""

    def __init__(self, location: Location) -> None:
        try:
            import boto3
        except ImportError as error:
            raise MissingExtra("boto3", "s3", "s3:// with driver=boto3") from error
        self._location = location
        self._session = boto3.session.Session()
        self._client = self._connect(attempts=3, read_timeout=6 * DEADLINE)

    def _connect(self, attempts: int, read_timeout: float) -> Any:
        from botocore.config import Config

        return self._session.client(
            "s3",
            endpoint_url=self._location.endpoint,
            region_name=self._location.region,
            config=Config(
                connect_timeout=DEADLINE,
                read_timeout=read_timeout,
                retries={"total_max_attempts": attempts, "mode": "standard"},
                max_pool_connections=32,
                signature_version="s3v4",
                # A server of one's own rarely has a name for every bucket.
                s3={"addressing_style": "path"} if self._location.endpoint else {},
            ),
        )

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        from botocore import exceptions

        bucket = f"s3://{self._location.bucket}"
        try:
            yield
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _DENIED:
                raise AccessDenied(f"{bucket}: no right to {what}; check the credentials ({error})") from error
            if code == "NoSuchBucket":
                raise NotFound(f"{bucket}: there is no such bucket; create it, or correct the URI") from error
            if code in _ABSENT:
                raise KeyError(what) from error
            raise StoreError(f"{bucket}: cannot {what}: {error}") from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise AccessDenied(
                f"{bucket}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({error})"
            ) from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise Unreachable(f"{bucket} does not answer: {error}; check endpoint, region and network") from error
        except exceptions.BotoCoreError as error:
            raise StoreError(f"{bucket}: cannot {what}: {error}") from error

    def probe(self) -> None:
        client = self._connect(attempts=1, read_timeout=DEADLINE)
        try:
            client.list_objects_v2(Bucket=self._location.bucket, Prefix=self._location.key("leases/"), MaxKeys=1)
        finally:
            client.close()

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._location.bucket, "Key": self._location.key(key)}

    def put(self, key: str, data: Buffer, *, overwrite: bool) -> bool:
        from botocore.exceptions import ClientError

        condition = {} if overwrite else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(**self._at(key), Body=bytes(data), ChecksumAlgorithm="SHA256", **condition)
        except ClientError as error:
            if not overwrite and str(error.response["Error"]["Code"]) in _EXISTS:
                return False
            raise
        return True

    def put_parts(self, key: str, body: Iterable[bytes]) -> None:
        at = self._at(key)
        upload = {**at, "UploadId": self._client.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")["UploadId"]}
        try:
            done = []
            for number, part in enumerate(body, 1):
                answer = self._client.upload_part(**upload, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256")
                done.append({k: answer[k] for k in ("ETag", "ChecksumSHA256") if k in answer} | {"PartNumber": number})
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
        except BaseException:
            self._client.abort_multipart_upload(**upload)
            raise

    def get(self, key: str) -> bytes:
        data: bytes = self._client.get_object(**self._at(key))["Body"].read()
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        from botocore.exceptions import ClientError

        if length <= 0:
            return b""
        try:
            answer = self._client.get_object(**self._at(key), Range=f"bytes={start}-{start + length - 1}")
        except ClientError as error:
            if str(error.response["Error"]["Code"]) in ("416", "InvalidRange"):
                return b""
            raise
        data: bytes = answer["Body"].read()
        return data

    def head(self, key: str) -> ObjectInfo:
        found = self._client.head_object(**self._at(key))
        return ObjectInfo(key, found["ContentLength"], found["LastModified"].timestamp())

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        prefix = self._location.key(f"{folder}/" if folder else "")
        skip = len(self._location.key(""))
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._location.bucket, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", ()):
                yield ObjectInfo(found["Key"][skip:], found["Size"], found["LastModified"].timestamp())

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            objects = [{"Key": self._location.key(key)} for key in keys[start : start + 1000]]
            answer = self._client.delete_objects(
                Bucket=self._location.bucket, Delete={"Objects": objects, "Quiet": True}
            )
            for error in answer.get("Errors", ()):
                if error.get("Code") not in _ABSENT:
                    raise StoreError(f"s3://{self._location.bucket}: cannot remove {error.get('Key')}: {error}")

    def copy(self, key: str, to: str) -> None:
        # Copies what exceeds the 5 GB of a single request in parts.
        self._client.copy(self._at(key), self._location.bucket, self._location.key(to))

    def url(self, key: str, expires: float) -> str:
        address: str = self._client.generate_presigned_url("get_object", Params=self._at(key), ExpiresIn=int(expires))
        return address

    def unfinished(self) -> Iterator[ObjectInfo]:
        """Multipart uploads neither ended nor undone; the key is the upload's id and, after a blank, the object's."""
        bucket, prefix = self._location.bucket, self._location.key("")
        for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for upload in page.get("Uploads", ()):
                at = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                pages = self._client.get_paginator("list_parts").paginate(**at)
                size = sum(part["Size"] for found in pages for part in found.get("Parts", ()))
                yield ObjectInfo(f"{upload['UploadId']} {upload['Key']}", size, upload["Initiated"].timestamp())

    def abort(self, uploads: Sequence[str]) -> None:
        """Undo multipart uploads, named as ``unfinished`` does."""
        for upload in uploads:
            id, _, key = upload.partition(" ")
            self._client.abort_multipart_upload(Bucket=self._location.bucket, Key=key, UploadId=id)

    def close(self) -> None:
        self._client.close()
