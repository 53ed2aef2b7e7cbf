"""Two servers on one PostgreSQL and one artifact store: what one has done the other knows."""

from __future__ import annotations

from tests.integration.server.conftest import Serve
from tests.integration.server.served import DOUBLE, code, rows_of, wait_for

T = {"fields": {"x": {"type": "int"}}}


def test_two_replicas_answer_alike_and_do_nothing_twice(serve: Serve, postgres_uri: str) -> None:
    first = serve(DATABACKEND=postgres_uri).ready()
    second = serve(DATABACKEND=postgres_uri, ARTIFACT_STORE=first.settings["ARTIFACT_STORE"]).ready()
    both = first, second
    reads = first.folder / "reads"
    body = f"def f():\n    with open({str(reads)!r}, 'a') as file:\n        file.write('r')\n    for n in range(1000):\n        yield {{'id': str(n), 'x': n}}\n"
    first.put("Table", "t", **T, source={"rows": code(body)})
    second.put("Model", "m", **DOUBLE)
    for one in both:
        wait_for("all outputs", lambda: one.told("Model", "m")["status"].get("predicted") == 1000)  # noqa: B023
    assert reads.read_text() == "r"
    revisions = wait_for(
        "the same answers",
        lambda: (found := [one.client.get("/v1/info").json()["objects"] for one in both])[0] == found[1] and found[0],
    )
    assert set(revisions) == {"Table/t", "Model/m"}

    second.put("Table", "t", **T, source=rows_of(1001))
    wait_for("the changed source", lambda: first.told("Table", "t")["status"].get("rows") == 1001)
    wait_for("its output", lambda: first.told("Model", "m")["status"].get("predicted") == 1001)
    first.client.delete("/v1/objects/Model/m").raise_for_status()
    assert second.client.get("/v1/objects/Model/m").status_code == 404
    # Again on the other, which knew it as it was.
    second.put("Model", "m", **DOUBLE).raise_for_status()
    assert first.client.get("/v1/objects/Model/m").status_code == 200
