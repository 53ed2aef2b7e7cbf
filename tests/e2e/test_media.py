"""examples/02-media, as a user runs it: large files, made on the spot."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from superduper import Datalayer
from superduper import superduper as connect
from tests.e2e.command import EXAMPLES, run, superduper


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("media")
    shutil.copytree(EXAMPLES / "02-media", folder / "media", ignore=shutil.ignore_patterns("media"))
    run(folder, "media/make-media")
    return folder, superduper(folder, "apply", "-f", "media")


def opened(folder: Path) -> Datalayer:
    home = folder / ".superduper"
    return connect(f"sqlite:///{home}/media.db", artifact_store=f"filesystem://{home}/media-artifacts", home=str(home))


def test_pictures_films_and_sounds_are_brought_in_and_predicted(applied: tuple[Path, str]) -> None:
    folder, printed = applied
    assert "failed" not in printed
    with opened(folder) as db:
        pictures = db["pictures"].find().outputs("brightness").execute()
        bright = {row["id"]: row["_outputs"]["brightness"] for row in pictures}
        assert bright["dark.png"] < 0.1 < bright["bars.png"]
        sounds = db["sounds"].find().outputs("seconds").execute()
        assert {row["id"]: row["_outputs"]["seconds"] for row in sounds} == {"chord": 6, "noise": 4, "album": 5}


def test_each_encodable_comes_back_as_it_promises_with_the_same_bytes(applied: tuple[Path, str]) -> None:
    from PIL import Image

    folder, _ = applied
    made = folder / "media" / "media"
    with opened(folder) as db:
        picture = db["pictures"].find_one({"id": "fractal.png"}).execute()["picture"]
        with Image.open(made / "pictures" / "fractal.png") as original:
            assert picture.tobytes() == original.tobytes()
        film, original_film = db["films"].find_one().execute()["film"], (made / "films" / "noise.mp4").read_bytes()
        assert len(original_film) > 2_000_000
        assert (repr(film.x), film.size) == ("<EMPTY>", len(original_film))
        assert film.read_ranges([(5, 7), (3_000_000, 100)]) == [original_film[5:12], original_film[3_000_000:3_000_100]]
        assert film.unpack() == original_film
        album = Path(db["sounds"].find_one({"id": "album"}).execute()["sound"])
        assert album.name == "album"
        for name in ("one.wav", "two.wav"):
            assert (album / name).read_bytes() == (made / "sounds" / "album" / name).read_bytes()


def test_ranges_are_read_out_of_the_film_as_its_script_says(applied: tuple[Path, str]) -> None:
    printed = run(applied[0], sys.executable, "media/read_film.py")
    assert re.search(r"not loaded: <EMPTY>\n[\d,]+ bytes, of which 24 are read; the first box is 'ftyp'", printed)
    assert "copied out: ['one.wav', 'two.wav']" in printed


def test_applied_again_only_a_changed_file_is_read_and_predicted(applied: tuple[Path, str]) -> None:
    folder, _ = applied
    assert "nothing changed, nothing was run" in superduper(folder, "apply", "-f", "media")
    pictures = folder / "media" / "media" / "pictures"
    kept = (pictures / "dark.png").read_bytes()
    shutil.copyfile(pictures / "bars.png", pictures / "dark.png")
    try:
        printed = superduper(folder, "apply", "-f", "media")
        assert "0 rows added, 1 replaced, 2 unchanged" in printed
        with opened(folder) as db:
            rows = {row["id"]: row for row in db["pictures"].find().outputs("brightness").execute()}
            assert rows["dark.png"]["_outputs"] == rows["bars.png"]["_outputs"]
            assert max(db.metadata.jobs("brightness"), key=lambda job: job.started).rows == 1
    finally:
        (pictures / "dark.png").write_bytes(kept)
        superduper(folder, "apply", "-f", "media")
