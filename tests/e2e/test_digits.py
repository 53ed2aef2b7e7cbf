"""examples/01-digits, as a new user runs it: the main job, on real input."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from superduper import Datalayer
from superduper import superduper as connect
from tests.e2e.command import EXAMPLES, superduper
from tests.e2e.prompt import at_prompt


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the example was applied, and what that printed."""
    folder = tmp_path_factory.mktemp("digits")
    shutil.copytree(EXAMPLES / "01-digits", folder / "digits")
    return folder, superduper(folder, "apply", "-f", "digits")


def opened(folder: Path) -> Datalayer:
    home = folder / ".superduper"
    return connect(
        f"sqlite:///{home}/digits.db", artifact_store=f"filesystem://{home}/digits-artifacts", home=str(home)
    )


def jobs(folder: Path) -> int:
    with opened(folder) as db:
        return len(db.metadata.jobs())


def test_every_digit_is_predicted_and_the_model_is_measured(applied: tuple[Path, str]) -> None:
    _, printed = applied
    assert "1,797 of 1,797" in printed
    [accuracy] = set(re.findall(r"accuracy (\d\.\d+)", printed))
    assert float(accuracy) > 0.95
    assert "f1 0.9" in printed
    assert all(
        re.search(rf"{kind} +{name} +True", printed)
        for kind, name in [("Datalayer", "digits"), ("DataType", "png"), ("Table", "digits"), ("Model", "classifier")]
    )
    assert len(re.findall(r"digit-\d{4} +<png \d+ B", printed)) >= 3


def test_applied_again_nothing_is_run(applied: tuple[Path, str]) -> None:
    folder, _ = applied
    before, start = jobs(folder), time.monotonic()
    printed = superduper(folder, "apply", "-f", "digits")
    assert time.monotonic() - start < 5
    assert "nothing changed, nothing was run" in printed
    assert jobs(folder) == before


def test_an_image_is_a_png_file_in_the_store_and_comes_back_pixel_for_pixel(applied: tuple[Path, str]) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    folder, _ = applied
    with opened(folder) as db:
        row = db["digits"].find_one({"id": "digit-0007"}).execute()
        assert row["image"].read(4) == b"\x89PNG"
        image = row.unpack()["image"]
        stored = db.artifacts.get(row["image"].id)
    again = Image.open(io.BytesIO(stored))
    assert image.tobytes() == again.tobytes() == (load_digits().images[7] * 15).astype("uint8").tobytes()


def test_one_more_row_is_predicted_alone(applied: tuple[Path, str]) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    seven = Image.fromarray((load_digits().images[7] * 15).astype("uint8"))
    with opened(applied[0]) as db:
        before = len(db.metadata.jobs())
        ids, made = db.insert("digits", [{"id": "mine", "image": seven, "label": 7}])
        assert (ids, [job.rows for job in made]) == (["mine"], [1])
        assert len(db.metadata.jobs()) == before + 1
        [row] = db["digits"].find({"id": "mine"}).outputs("classifier").execute()
        assert row["_outputs"]["classifier"] == 7
        assert covered(db) == (1798, 1798)
        db["digits"].delete_one({"id": "mine"}).execute()
        assert covered(db) == (1797, 1797)


def covered(db: Datalayer) -> tuple[int, int]:
    coverage = db.coverage("classifier")
    return coverage.rows, coverage.done


def test_one_more_row_from_the_command_line_is_predicted_too(applied: tuple[Path, str]) -> None:
    folder, _ = applied
    with opened(folder) as db:
        image = db.artifacts.get(db["digits"].find_one({"id": "digit-0003"}).execute()["image"].id)
    (folder / "three.png").write_bytes(image)
    superduper(folder, "insert", "digits", "--set", "id=typed", "--set", "image=three.png", "--set", "label=3")
    printed = superduper(folder, "query", "digits", '{"id": "typed"}', "--outputs", "classifier", "--json")
    assert json.loads(printed)["_outputs"] == {"classifier": 3}
    with opened(folder) as db:
        assert covered(db) == (1798, 1798)
        db["digits"].delete_one({"id": "typed"}).execute()


def test_the_lines_of_the_readme_run_as_they_stand(applied: tuple[Path, str]) -> None:
    text = (EXAMPLES / "01-digits" / "README.md").read_text()
    lines = [line.removeprefix("      ") for line in text.splitlines() if line.startswith("      ")]
    [echoes] = at_prompt(applied[0], ["\n".join(lines)])
    handle, image, outputs = (echo.text for echo in echoes)
    assert handle.startswith("LazyArtifact(")
    assert "size=8x8" in image
    assert outputs == "{'classifier': 7}"


def test_one_changed_line_of_model_code_is_a_new_version_and_everything_is_computed_again(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "01-digits", tmp_path / "digits")
    superduper(tmp_path, "apply", "-f", "digits")
    model = tmp_path / "digits" / "model.yaml"
    text = model.read_text()
    assert text.count("SVC(C=10)") == 1
    model.write_text(text.replace("SVC(C=10)", "SVC(C=0.01)"))
    printed = superduper(tmp_path, "apply", "-f", "digits")
    assert "model/classifier configured" in printed
    assert "predicted 1,797 rows" in printed
    [accuracy] = set(re.findall(r"accuracy (\d\.\d+)", printed))
    assert float(accuracy) < 0.95
    with opened(tmp_path) as db:
        assert db.show("model", "classifier") == [0, 1]
        newest = [job for job in db.metadata.jobs("classifier") if job.version == 1]
        assert sorted(job.kind for job in newest) == ["predict", "train", "validate"]
        assert covered(db) == (1797, 1797)
