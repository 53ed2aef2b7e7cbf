"""An S3 server over files: versitygw, built from its Go module, which checks signatures and conditional puts."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.base import Server, cache, program, running
from tests.servers.locks import FileLock, Unavailable

if TYPE_CHECKING:
    from botocore.client import BaseClient

VERSION = "1.8.0"
ACCESS_KEY, SECRET_KEY, REGION = "ACCESSKEY123", "SECRETKEY12345", "us-east-1"


class S3Server(Server):
    name = "s3"

    def install(self) -> None:
        binary()
        for folder in ("objects", "attributes", "versions"):
            self.own(self.directory / folder)

    def command(self) -> list[str]:
        return [
            *(str(binary()), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION),
            *("--port", f"127.0.0.1:{self.port}", "posix"),
            # Attributes beside the objects: not every file system takes extended attributes.
            *("--sidecar", str(self.directory / "attributes")),
            *("--versioning-dir", str(self.directory / "versions"), str(self.directory / "objects")),
        ]

    def check(self) -> None:
        self._client().list_buckets()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        bucket = f"t-{uuid.uuid4().hex}"
        client = self._client()
        client.create_bucket(Bucket=bucket)
        try:
            yield f"s3://{bucket}/prefix?endpoint={self.uri}&region={REGION}"
        finally:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                found = [{"Key": item["Key"]} for item in page.get("Contents", ())]
                if found:
                    client.delete_objects(Bucket=bucket, Delete={"Objects": found})

    def _client(self) -> BaseClient:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.uri,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 1}),
        )


def binary() -> Path:
    """versitygw's binary, built on first use (two minutes) and kept."""
    folder = cache() / f"versitygw-{VERSION}"
    path = folder / "versitygw"
    with FileLock(cache() / "versitygw.lock").held():
        if not path.exists():
            built = subprocess.run(
                [program("go"), "install", f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}"],
                env={**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if built.returncode:
                raise Unavailable(f"versitygw {VERSION} could not be built\n{built.stderr[-3000:]}")
    return path


def start(root: Path) -> AbstractContextManager[S3Server]:
    return running(S3Server, root)


if __name__ == "__main__":
    print(binary())
