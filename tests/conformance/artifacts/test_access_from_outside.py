"""What other tools see of stored artifacts: MongoDB's own GridFS, and whoever has an address."""

from __future__ import annotations

import urllib.request

import pytest

from superduper.artifacts import Artifacts
from superduper.backends.mongodb.artifacts import MongoArtifactStore
from superduper.backends.s3.artifacts import S3ArtifactStore


def test_gridfs_of_the_driver_reads_what_was_stored(mongo_uri: str) -> None:
    import gridfs
    import pymongo

    artifacts = Artifacts(MongoArtifactStore(mongo_uri))
    payload = bytes(range(256)) * 10_000
    with artifacts.writing() as writer:
        id = writer.put(payload)
    with pymongo.MongoClient(mongo_uri) as client:
        files = gridfs.GridFS(client.get_default_database(), collection="artifacts")
        assert files.get_last_version(id).read() == payload
    artifacts.close()


@pytest.mark.parametrize("driver", ["obstore", "boto3"])
def test_an_address_serves_a_payload_loose_or_packed(s3_uri: str, driver: str) -> None:
    artifacts = Artifacts(S3ArtifactStore(f"{s3_uri}&driver={driver}"))
    with artifacts.writing() as writer:
        loose = writer.put(b"loose")
        writer.flush()
        packed = [writer.put(b"%d" % n) for n in range(30)]
    for id, payload in ((loose, b"loose"), (packed[7], b"7")):
        with urllib.request.urlopen(artifacts.open(id).url(expires=60), timeout=10) as answer:
            assert answer.read() == payload
    # The object made for the address is the one that a collection keeps.
    artifacts.gc([loose, *packed], window=0)
    assert artifacts.store.head(packed[7]) is not None
    assert artifacts.get_many(packed) == [b"%d" % n for n in range(30)]
    artifacts.close()
