"""What a user sees who connects to a store that is not there, or not theirs."""

from __future__ import annotations

import multiprocessing
import socket
import sys
import time
from urllib.parse import urlsplit

import pytest

from superduper.artifacts import Artifacts
from superduper.backends.base.artifacts import ArtifactStore
from superduper.backends.mongodb.artifacts import MongoArtifactStore
from superduper.backends.s3.artifacts import S3ArtifactStore
from superduper.errors import AccessDenied, MissingExtra, NotFound, Unreachable, UriError

DRIVERS = pytest.mark.parametrize("driver", ["obstore", "boto3"])


@DRIVERS
def test_a_wrong_secret_is_access_denied(s3_uri: str, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONG")
    with pytest.raises(AccessDenied, match="check the credentials"):
        S3ArtifactStore(f"{s3_uri}&driver={driver}")


@DRIVERS
def test_a_bucket_that_is_not_there_is_named(s3_uri: str, driver: str) -> None:
    bucket = urlsplit(s3_uri).netloc
    with pytest.raises(NotFound, match="s3://no-such-bucket: there is no such bucket"):
        S3ArtifactStore(f"{s3_uri}&driver={driver}".replace(bucket, "no-such-bucket"))


@DRIVERS
def test_a_server_that_is_not_there_is_unreachable(s3_uri: str, driver: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="does not answer"):
            S3ArtifactStore(
                f"s3://bucket/x?endpoint=http://127.0.0.1:{taken.getsockname()[1]}&region=x&driver={driver}"
            )


@DRIVERS
def test_a_server_that_says_nothing_is_unreachable_after_ten_seconds(s3_uri: str, driver: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            S3ArtifactStore(
                f"s3://bucket/x?endpoint=http://127.0.0.1:{silent.getsockname()[1]}&region=x&driver={driver}"
            )
        assert 5 < time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("s3://b?regoin=x", "did you mean 'region'"),
        ("s3://b?driver=boto", "did you mean 'boto3'"),
        ("s3://b?region=", "unknown or empty"),
        ("s3://key:secret@b/x", "credentials and ports do not belong here"),
    ],
)
def test_a_wrong_uri_is_refused_without_telling_secrets(uri: str, problem: str) -> None:
    with pytest.raises(UriError, match=problem) as caught:
        S3ArtifactStore(uri)
    assert "secret@" not in str(caught.value)


@DRIVERS
def test_a_missing_package_is_named_with_the_command(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingExtra, match=rf"'{driver}': pip install 'superduper\[s3\]'"):
        S3ArtifactStore(f"s3://bucket/x?driver={driver}")


def test_a_mongodb_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    from superduper import config

    monkeypatch.setattr(config, "CFG", config.CFG.model_copy(update={"connect_timeout": 1.0}))
    with pytest.raises(Unreachable):
        MongoArtifactStore("mongodb://127.0.0.1:1/x")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_store_can_be_used_after_a_fork(store: ArtifactStore) -> None:
    artifacts = Artifacts(store)
    with artifacts.writing() as writer:
        ids = [writer.put(b"%d" % n) for n in range(30)]
    artifacts.get_many(ids)

    def child() -> None:
        assert artifacts.get(ids[7]) == b"7"
        assert artifacts.get_many(ids) == [b"%d" % n for n in range(30)]
        with artifacts.writing() as own:
            own.put(b"of the child")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert artifacts.get(ids[8]) == b"8"
