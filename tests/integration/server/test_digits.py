"""The first example, handed over as the operator hands it over: the same outputs as embedded."""

from __future__ import annotations

from pathlib import Path

from superduper.embedded.apply import Apply
from superduper.embedded.home import Home
from superduper.manifests import load
from tests.integration.server.served import Served, wait_for

EXAMPLE = Path(__file__).parents[3] / "examples" / "01-digits"


class Quiet:
    def say(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None: ...


def test_the_digits_come_out_as_without_a_server(server: Served, tmp_path: Path) -> None:
    manifests = load([EXAMPLE])
    for manifest in manifests:
        found = manifest.resolved()
        if found.kind != "Datalayer":
            path = f"/v1/objects/{found.kind}/{found.metadata.name}"
            answer = server.client.put(path, json=found.to_dict())
            assert answer.status_code == 200, answer.text
    [model] = [manifest for manifest in manifests if manifest.object.kind == "Model"]
    name, spec = model.object.metadata.name, model.object.spec
    told = wait_for("metrics", lambda: (m := server.told("Model", name))["status"].get("metrics") and m, 90)

    with Home(tmp_path / "home") as home:
        Apply(home, Quiet()).run(manifests)
        status = home.state.get("Model", name).status
        db = home.datalayer(model.datalayer)
        expected = {
            row[0]: row[1] for row in _outputs(db[spec.predict.table].outputs(model.identifier).execute(), model)
        }  # type: ignore[union-attr]
    assert told["status"]["coverage"] == status.coverage  # type: ignore[union-attr]
    assert told["status"]["metrics"] == status.metrics  # type: ignore[union-attr]
    shown = dict(_outputs(server.rows(spec.predict.table, outputs=name), model))  # type: ignore[union-attr]
    assert shown == expected
    assert len(shown) > 1000


def _outputs(rows: object, model: object) -> list[tuple[object, object]]:
    return [(row["id"], row["_outputs"][model.identifier]) for row in rows]  # type: ignore[attr-defined]
