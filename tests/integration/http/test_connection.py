"""A connection that fails: what is asked again, what is never done twice, and what the user is told."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from superduper import superduper
from superduper.backends.http.artifacts import HttpArtifactStore
from superduper.backends.http.data_backend import HttpDataBackend
from superduper.errors import AccessDenied, ConfigError, StoreError, Unreachable, UriError
from superduper.query.ast import EVERYTHING, Compare, Select, Update
from superduper.query.tables import Column, TableDef
from tests.integration.http.proxy import Proxy, proxied
from tests.servers.base import REPOSITORY
from tests.servers.datalayer import SeamsServer

T = TableDef("t", (Column("id", "str"), Column("n", "int"), Column("_fold", "str")), "id")
ROWS = [{"id": f"r{n:04}", "n": n, "_fold": "train"} for n in range(3000)]


@pytest.fixture
def proxy(seams_server: SeamsServer) -> Iterator[Proxy]:
    seams_server.start()
    with proxied(seams_server.port) as made:
        yield made


@pytest.fixture
def uri(http_sqlite_uri: str, proxy: Proxy, seams_server: SeamsServer) -> str:
    """The way through the proxy."""
    return http_sqlite_uri.replace(str(seams_server.port), str(proxy.port))


@pytest.fixture
def backend(uri: str) -> Iterator[HttpDataBackend]:
    made = HttpDataBackend(uri)
    made.create_table(T)
    yield made
    made.close()


def test_a_write_whose_answer_is_lost_is_done_once(backend: HttpDataBackend, proxy: Proxy) -> None:
    proxy.lose = 1
    backend.insert(T, ROWS[:10])
    assert backend.count(T, EVERYTHING) == 10
    proxy.lose = 2
    assert backend.update(T, Compare("id", "eq", "r0001"), Update(inc={"n": 5}), many=False) == ["r0001"]
    (rows,) = backend.select(T, Select("t", Compare("id", "eq", "r0001")))
    assert rows[0]["n"] == 6
    proxy.lose = 1
    assert backend.delete(T, Compare("n", "lt", 3), many=True) == ["r0000", "r0002"]
    assert proxy.lose == 0


def test_a_write_that_another_process_may_have_done_is_not_done_again(
    backend: HttpDataBackend, proxy: Proxy, seams_server: SeamsServer
) -> None:
    backend.insert(T, ROWS[:10])
    asked_before = backend.server._asked_before

    def restarted() -> str | None:
        # The server goes away between two attempts, and its memory of what it answered with it.
        before = asked_before()
        seams_server.restart()
        return before

    backend.server._asked_before = restarted  # type: ignore[method-assign]
    proxy.lose = 1
    with pytest.raises(Unreachable, match="whether it was done is not known"):
        backend.update(T, Compare("id", "eq", "r0001"), Update(inc={"n": 5}), many=False)
    (rows,) = backend.select(T, Select("t", Compare("id", "eq", "r0001")))
    assert rows[0]["n"] == 6


def test_reading_goes_on_after_a_lost_connection(backend: HttpDataBackend, proxy: Proxy) -> None:
    backend.insert(T, ROWS)
    for _ in range(3):
        proxy.lose = 1
        assert backend.count(T, EVERYTHING) == 3000
    proxy.lose = 1
    assert sum(len(rows) for rows in backend.select(T, Select("t"))) == 3000


def test_rows_that_break_off_in_the_middle_are_no_whole_result(backend: HttpDataBackend, proxy: Proxy) -> None:
    backend.insert(T, ROWS)
    proxy.cut = 20_000
    with pytest.raises(Unreachable, match="does not answer|broke off"):
        list(backend.select(T, Select("t")))
    assert sum(len(rows) for rows in backend.select(T, Select("t"))) == 3000


def test_an_object_that_breaks_off_in_the_middle_is_read_again(uri: str, proxy: Proxy) -> None:
    store = HttpArtifactStore(uri)
    data = bytes(range(256)) * 40_000
    store.put("a", data)
    proxy.cut = 100_000
    assert store.get("a") == data
    store.close()


def test_many_objects_that_break_off_in_the_middle_are_all_read_all_the_same(uri: str, proxy: Proxy) -> None:
    store = HttpArtifactStore(uri)
    given = {f"n{n}": b"%03d" % n * 10_000 for n in range(200)}
    store.put_many(given)
    proxy.cut = 3_000_000
    assert list(store.get_many([*given, "nothing"])) == [*given.values(), None]
    assert proxy.cut is None
    store.close()


def test_many_objects_whose_answer_is_lost_are_written_once_more_or_not_at_all(uri: str, proxy: Proxy) -> None:
    store = HttpArtifactStore(uri)
    proxy.lose = 1
    store.put_many({"a": b"one", "b": b""})
    assert store.sizes(["a", "b"]) == {"a": 3, "b": 0}
    store.close()


def test_an_upload_that_is_cut_is_sent_again_or_leaves_nothing(uri: str, proxy: Proxy) -> None:
    store = HttpArtifactStore(uri)
    data = bytes(range(256)) * 40_000
    proxy.cut_request = 4_000_000
    assert store.put("a", data, overwrite=False)
    assert store.get("a") == data
    proxy.cut_request = 4_000_000
    with pytest.raises(Unreachable, match="does not answer"):
        store.put("b", (data[:100_000] for _ in range(100)))
    assert store.head("b") is None
    store.close()


def test_a_reader_that_stops_early_gives_its_connection_back(backend: HttpDataBackend, proxy: Proxy) -> None:
    backend.insert(T, ROWS)
    for _ in range(40):
        rows = backend.select(T, Select("t"), batch=10)
        assert len(next(iter(rows))) == 10
        rows.close()  # type: ignore[attr-defined]
    assert backend.count(T, EVERYTHING) == 3000


def test_many_streams_are_open_at_once_and_others_go_on(backend: HttpDataBackend) -> None:
    backend.insert(T, ROWS)
    streams = [backend.select(T, Select("t"), batch=10) for _ in range(30)]
    for rows in streams:
        next(rows)
        backend.upsert(T, ROWS[:1])
    assert [sum(len(part) for part in rows) for rows in streams] == [2990] * 30


def test_nobody_there_is_said_with_url_and_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"{url} does not answer: .*refused.*check that the server runs"):
            superduper(url)


def test_a_server_of_something_else_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    import http.server

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises((Unreachable, UriError), match="datalayer's server"):
            superduper(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("uri", ["http://", "http://h:port", "http://h?x=1", "https://h#x"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(UriError, match="address of"):
        superduper(uri)


def test_a_file_of_certificates_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"ca_file '/no/such\.crt' cannot be used"):
        superduper("https://127.0.0.1:1", ca_file="/no/such.crt")


def test_a_server_that_drains_is_waited_for_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    from superduper import config

    monkeypatch.setattr(config.CFG, "connect_timeout", 1.5)
    answer = (
        b"HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Type: application/json\r\nContent-Length: 65\r\nConnection: close\r\n\r\n"
        b'{"code":"Draining","message":"the server is about to stop........"}'[:65]
    )
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(1 << 16))
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(Unreachable):
            HttpDataBackend(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - began < 5
    assert len(seen) >= 2


def test_using_a_closed_one_says_so(http_sqlite_uri: str) -> None:
    store = HttpArtifactStore(http_sqlite_uri)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed; connect again"):
        store.get("a")


def test_the_token_is_never_shown(http_sqlite_uri: str) -> None:
    secret = "s3cret-token"
    with_token = http_sqlite_uri.replace("http://", f"http://:{secret}@")
    with superduper(with_token) as db:
        assert secret not in repr(db) + repr(db.databackend) + db.databackend.uri + repr(db.databackend.server)  # type: ignore[attr-defined]
    with superduper(http_sqlite_uri, token=secret) as db:
        assert secret not in repr(db.settings) + repr(db)
    with pytest.raises(ConfigError) as caught:
        superduper(http_sqlite_uri, token=["s3cret-token"])
    assert secret not in str(caught.value)


def test_a_refused_token_says_where_tokens_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 401 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(AccessDenied, match="wants a token, and none was given.*SUPERDUPER_TOKEN"):
            superduper(url)
        with pytest.raises(AccessDenied, match="not the server's.*--datalayer NAME") as caught:
            superduper(url, token="s3cret-token")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("package", ["httpx", "msgpack"])
def test_a_missing_package_names_the_extra(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from superduper import superduper; superduper('http://127.0.0.1:1')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "MissingExtra" in done.stderr
    assert f"{package!r}: pip install 'superduper[http]'" in done.stderr


def test_over_tls_a_server_is_trusted_by_the_file_that_is_named(tmp_path: Path) -> None:
    certificate(tmp_path, "localhost")
    command = ["-m", "tests.integration.http.tls", str(tmp_path)]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            url = f"https://localhost:{port}"
            with superduper(url, ca_file=str(tmp_path / "tls.crt")) as db:
                db.insert("t", [{"id": "a", "n": 1}])
                assert db["t"].count_documents().execute() == 1
            with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED.*ca_file="):
                superduper(url)
            with pytest.raises(Unreachable, match="does not answer"):
                superduper(f"http://localhost:{port}")
            with pytest.raises(Unreachable, match="(?i)hostname|IP address mismatch"):
                superduper(f"https://127.0.0.1:{port}", ca_file=str(tmp_path / "tls.crt"))
        finally:
            server.terminate()


def certificate(folder: Path, name: str) -> None:
    """A certificate for that name, signed by itself."""
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
    files = [
        "-addext",
        f"subjectAltName=DNS:{name}",
        "-keyout",
        str(folder / "tls.key"),
        "-out",
        str(folder / "tls.crt"),
    ]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
