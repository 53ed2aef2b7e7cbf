"""Who comes in, through which door, and how much at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.server.conftest import Serve
from tests.integration.server.served import DOUBLE, NDJSON, TOKEN, Served, code, ndjson, wait_for


def paths(server: Served) -> list[tuple[str, str]]:
    found = server.client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in found.items() for method in methods]


def test_nothing_but_health_answers_without_the_token(shared: Served) -> None:
    every = [
        *paths(shared),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/seams/data/count"),
        ("GET", "/no"),
    ]
    assert len(every) > 15
    for url in shared.urls:
        with httpx.Client(base_url=url) as stranger:
            for method, path in every:
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
                    answer = stranger.request(method, path.replace("{", "").replace("}", ""), headers=headers)
                    if path in ("/healthz", "/readyz"):
                        assert answer.status_code == 200
                        continue
                    assert answer.status_code == 401, (method, path)
                    assert method == "HEAD" or answer.json()["code"] == "Unauthorized"
                    assert answer.headers["www-authenticate"] == "Bearer"


def test_both_doors_lead_to_the_same_application(shared: Served) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answers = [httpx.get(f"{url}/v1/tables/t/rows?limit=1", headers=bearer).json()["id"] for url in shared.urls]
    assert answers == ["r0", "r0"]


def test_every_operation_is_described_with_its_types(shared: Served) -> None:
    described = shared.client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
    assert {"Answer", "Work", "Info", "Query", "Stored"} <= set(described["components"]["schemas"])
    assert "swagger" in shared.client.get("/docs").text.lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 404),
        ("PATCH", "/v1/info", 405),
        ("GET", "/v1/objects/Table/none", 404),
        ("GET", "/v1/objects/X", 404),
    ],
)
def test_wrong_paths_have_the_same_shape_of_error(shared: Served, method: str, path: str, status: int) -> None:
    answer = shared.client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "field"}


@pytest.mark.parametrize("options", [["--host", "0.0.0.0"], [], ["--insecure", "--host", "0.0.0.0"]])
def test_without_a_token_it_does_not_start_for_others(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "superduper", "serve", "--port", "0", "--admin-port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert done.returncode == 1
    assert "without a token" in done.stderr or "no token is set" in done.stderr


def test_on_this_machine_alone_it_may_start_without_a_token(serve: Serve) -> None:
    server = serve("--insecure", TOKEN="").ready()
    assert httpx.get(f"{server.urls[0]}/v1/info").status_code == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tls-cert", "none.pem"], "given together"),
        (["--tls-cert", "none.pem", "--tls-key", "none.key"], "no such file"),
        (["--max-body", "many"], "max_body"),
        (["--max-held", "1MiB"], "--max-held is less than --max-body"),
        (["--host", "256.1.1.1"], "256.1.1.1"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, options: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_TOKEN", TOKEN)
    command = [sys.executable, "-m", "superduper", "serve", "--port", "0", "--admin-port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert (done.returncode, says in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_setting_of_the_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_SERVE_PRT", "8000")
    done = subprocess.run(
        [sys.executable, "-m", "superduper", "serve"], capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "did you mean 'SUPERDUPER_SERVE_PORT'" in done.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_the_public_door_speaks_tls_and_the_other_does_not(serve: Serve, certificate: tuple[Path, Path]) -> None:
    import ssl

    cert, key = certificate
    server = serve("--tls-cert", str(cert), "--tls-key", str(key))
    public, admin = server.urls
    assert (public[:8], admin[:7]) == ("https://", "http://")
    trusted = ssl.create_default_context(cafile=str(cert))
    wait_for("readiness", lambda: httpx.get(f"{public}/readyz", verify=trusted).status_code == 200)
    assert httpx.get(f"{admin}/readyz").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{public}/readyz")
    with pytest.raises(httpx.TransportError):
        httpx.get(public.replace("https", "http") + "/readyz")


def test_large_json_is_refused_with_and_without_its_length(serve: Serve) -> None:
    server = serve("--max-body", "100kB").ready()
    body = json.dumps({"count": {"s": "x" * 200_000}}).encode()
    for content in (body, iter([body[:50_000], body[50_000:]])):
        answer = server.client.post("/v1/tables/t/query", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "TooLarge")


def test_a_row_has_a_limit_and_the_server_goes_on(serve: Serve) -> None:
    server = serve("--max-row", "100kB").ready()
    server.put("DataType", "raw", codec="bytes")
    server.put("Table", "t", fields={"s": {"type": "str"}, "p": {"dataType": "raw"}})
    answer = server.insert("t", {"id": "a", "s": "x" * 3_000_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "TooLarge")
    answer = server.client.post("/v1/tables/t/rows", data={"row": '{"id": "b"}'}, files={"p": ("p", b"x" * 200_000)})
    assert (answer.status_code, answer.json()["code"]) == (413, "TooLarge")
    assert "file DataType" in answer.json()["message"]
    assert server.rows("t") == []


def test_answers_that_are_not_streamed_have_limits_and_say_what_streams(serve: Serve) -> None:
    server = serve("--max-rows", "10").ready()
    server.insert("t", *({"id": f"r{n:02}", "x": n} for n in range(30))).raise_for_status()
    answer = server.client.post("/v1/tables/t/query", json={"find": {}})
    assert (answer.status_code, "which streams" in answer.json()["message"]) == (413, True)
    assert len(server.client.post("/v1/tables/t/query", json={"find": {"limit": 10}}).json()["rows"]) == 10
    assert len(server.rows("t")) == 30


def test_more_requests_than_are_allowed_are_refused_and_health_is_not(serve: Serve) -> None:
    server = serve("--max-requests", "2").ready()
    go, held = threading.Event(), []

    def slow() -> Iterator[bytes]:
        yield ndjson({"id": "a", "x": 1})
        go.wait(20)

    def insert() -> None:
        with httpx.Client(base_url=server.urls[0], headers={"Authorization": f"Bearer {TOKEN}", **NDJSON}) as client:
            # Refused while the question below is being answered.
            while (answer := client.post("/v1/tables/t/rows", content=slow(), timeout=30)).status_code == 503:
                continue
            held.append(answer)

    threads = [threading.Thread(target=insert) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        answer = wait_for("a refusal", lambda: (a := server.client.get("/v1/info")).status_code == 503 and a)
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("Busy", "2")
        assert server.client.get("/healthz").status_code == server.client.get("/readyz").status_code == 200
    finally:
        go.set()
        for thread in threads:
            thread.join()
    assert sorted(answer.status_code for answer in held) == [201, 409]
    assert server.client.get("/v1/info").status_code == 200


def test_health_is_quick_while_all_threads_are_busy(serve: Serve) -> None:
    server = serve(SERVE_THREADS="2").ready()
    server.insert("t", {"id": "a", "x": 1})
    sleeper = code("import time\ndef f(x):\n    time.sleep(2)\n    return x\n")
    server.put("Model", "m", object=sleeper, predict={"table": "t", "inputs": ["x"], "trigger": "Manual"})

    def predict() -> None:
        httpx.post(
            f"{server.urls[0]}/v1/models/m/predict", json={"args": [1]}, timeout=30,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )  # fmt: skip

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for("busy threads", lambda: "superduper_requests_active 5" in server.client.get("/metrics").text)
    for _ in range(20):
        assert server.client.get("/healthz").elapsed.total_seconds() < 0.5
    for thread in threads:
        thread.join()


def test_models_answer_once_by_value_by_bytes_and_tell_their_errors(server: Served) -> None:
    server.put("DataType", "text-file", codec="bytes").raise_for_status()
    server.put("Table", "t", fields={"x": {"type": "int"}, "p": {"dataType": "text-file"}})
    server.put("Model", "m", **DOUBLE)
    assert server.client.post("/v1/models/m/predict", json={"args": [21]}).json() == {"output": 42}
    assert server.client.post("/v1/models/m/predict", json={"kwargs": {"x": 2}}).json() == {"output": 4}
    wrong = server.client.post("/v1/models/m/predict", json={"args": [1, 2]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "ModelError")
    assert "it takes (x)" in wrong.json()["message"]
    assert server.client.post("/v1/models/nope/predict", json={"args": [1]}).status_code == 404
    assert server.client.post("/v1/models/m/predict", json={"arg": [1]}).status_code == 422
    assert server.client.post("/v1/models/m/validate").json()["code"] == "ModelError"

    server.put(
        "Model", "length", object=code("def f(p):\n    return len(p)\n"), predict={"table": "t", "inputs": ["p"]}
    )
    given = server.client.post("/v1/models/length/predict", json={"args": [{"$base64": "YWJj"}]})
    assert given.json() == {"output": 3}, given.text


def test_a_fault_of_the_server_is_500_and_tells_nothing_but_its_number() -> None:
    from superduper.server.failures import answer

    try:
        raise RuntimeError("a secret")
    except RuntimeError as error:
        said = answer(error)
    assert (said.status_code, b"secret" in said.body, b"Traceback" in said.body) == (500, False, False)


def test_the_figures_are_there_by_route(shared: Served) -> None:
    metrics = shared.client.get("/metrics").text
    for name in ("requests_total", "request_seconds_bucket", "received_bytes_total", "rows_total", "scan_seconds"):
        assert f"superduper_{name}" in metrics
    assert 'route="/v1/tables/{table}/rows"' in metrics
