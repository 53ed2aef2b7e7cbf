"""Artifacts over HTTP: whole, in parts, as archives."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.integration.server.served import Served

DATA = bytes(range(256)) * 12_000  # three chunks
ID = hashlib.sha1(DATA).hexdigest()


@pytest.fixture(scope="module")
def stored(shared: Served) -> Served:
    shared.client.put(f"/v1/artifacts/{ID}", content=DATA).raise_for_status()
    return shared


def test_an_artifact_is_stored_under_the_hash_of_its_bytes_and_comes_back(stored: Served) -> None:
    answer = stored.client.get(f"/v1/artifacts/{ID}")
    assert answer.content == DATA
    assert answer.headers["etag"] == f'"{ID}"'
    assert answer.headers["accept-ranges"] == "bytes"
    again = stored.client.put(f"/v1/artifacts/{ID}", content=DATA)
    assert (again.status_code, again.json()) == (200, {"id": ID, "reference": f"&:blob:{ID}", "size": len(DATA)})
    posted = stored.client.post("/v1/artifacts", content=b"little")
    assert (posted.status_code, posted.json()["id"]) == (201, hashlib.sha1(b"little").hexdigest())


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048590", 1048570, 1048591),
        ("bytes=3071990-", 3071990, len(DATA)),
        ("bytes=-10", len(DATA) - 10, len(DATA)),
        ("bytes=0-99999999", 0, len(DATA)),
    ],
)
def test_a_range_is_a_part_of_the_bytes(stored: Served, asked: str, start: int, end: int) -> None:
    answer = stored.client.get(f"/v1/artifacts/{ID}", headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=x-"])
def test_what_is_no_single_range_is_answered_by_the_whole(stored: Served, asked: str) -> None:
    answer = stored.client.get(f"/v1/artifacts/{ID}", headers={"range": asked})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=-0", "bytes=9999999-99999999"])
def test_a_range_beyond_the_end_is_416(stored: Served, asked: str) -> None:
    answer = stored.client.get(f"/v1/artifacts/{ID}", headers={"range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


def test_who_has_it_already_is_told_so(stored: Served) -> None:
    client = stored.client
    assert client.get(f"/v1/artifacts/{ID}", headers={"if-none-match": f'W/"x", "{ID}"'}).status_code == 304
    assert client.get(f"/v1/artifacts/{ID}", headers={"if-none-match": '"x"'}).status_code == 200
    part = {"range": "bytes=0-1"}
    assert client.get(f"/v1/artifacts/{ID}", headers={**part, "if-range": f'"{ID}"'}).status_code == 206
    assert client.get(f"/v1/artifacts/{ID}", headers={**part, "if-range": '"other"'}).status_code == 200


def test_head_says_how_large_it_is_and_sends_nothing(stored: Served) -> None:
    answer = stored.client.head(f"/v1/artifacts/{ID}")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v1/artifacts/" + "0" * 40, 404, "no object has this id"),
        ("GET", "/v1/artifacts/xyz", 400, "xyz"),
        ("GET", f"/v1/artifacts/{ID}?tar=1", 400, "no file or folder"),
        ("PUT", "/v1/artifacts/" + "0" * 40, 422, "nothing was stored"),
        ("PUT", "/v1/artifacts/" + "0" * 64, 400, "sha1"),
        ("PUT", "/v1/artifacts/nope", 400, "nope"),
        ("POST", "/v1/artifacts?tree=1", 422, "tar"),
    ],
)
def test_a_wrong_id_or_archive_is_refused(stored: Served, method: str, path: str, status: int, says: str) -> None:
    answer = stored.client.request(method, path, content=b"x" if method != "GET" else None)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]


def test_a_folder_goes_in_and_out_as_an_archive(stored: Served, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.bin").write_bytes(DATA)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "deep" / "up").symlink_to("../a.txt")
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.add(folder, arcname="album")
    answer = stored.client.post("/v1/artifacts?tree=1", content=body.getvalue())
    assert answer.status_code == 201, answer.text
    id = answer.json()["id"]
    assert answer.json()["reference"] == f"&:file:{id}"

    assert stored.client.get(f"/v1/artifacts/{id}").status_code == 400
    back = stored.client.get(f"/v1/artifacts/{id}?tar=1")
    with tarfile.open(fileobj=io.BytesIO(back.content)) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    out = tmp_path / "out" / "album"
    assert (out / "deep" / "b.bin").read_bytes() == DATA
    assert (out / "deep" / "up").readlink() == Path("../a.txt")
    assert (out / "run.sh").stat().st_mode & 0o100
    # The archive is the same each time, and it is the same tree.
    assert stored.client.put(f"/v1/artifacts/{id}?tree=1", content=back.content).json()["id"] == id


@pytest.mark.parametrize("name", ["../evil", "/evil", "album/../../evil"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(stored: Served, name: str) -> None:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    answer = stored.client.post("/v1/artifacts?tree=1", content=body.getvalue())
    if name == "/evil":  # the leading slash is taken off
        assert answer.status_code == 201
    else:
        assert answer.status_code == 422, answer.text
    assert not list(stored.folder.glob("**/uploads/*"))


def test_damage_on_the_way_breaks_the_connection_off_so_that_nobody_takes_it_for_all(server: Served) -> None:
    id = server.client.post("/v1/artifacts", content=DATA).json()["id"]
    file = server.folder / "artifacts" / id
    file.chmod(0o644)
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(httpx.RemoteProtocolError):
        server.client.get(f"/v1/artifacts/{id}")
    answer = server.client.get(f"/v1/artifacts/{id}", headers={"range": "bytes=-1"})
    assert (answer.status_code, answer.json()["code"]) == (507, "ArtifactCorrupt")
    assert server.client.get(f"/v1/artifacts/{id}", headers={"range": "bytes=0-9"}).content == DATA[:10]
    assert "ArtifactCorrupt" in server.logged()
