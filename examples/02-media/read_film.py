"""Reads ranges out of a film that stays in the artifact store, then copies a folder of sounds out of it."""

from __future__ import annotations

from pathlib import Path

from superduper import superduper

with superduper("sqlite://.superduper/media.db", artifact_store="filesystem://.superduper/media-artifacts") as db:
    row = db["films"].find_one({"id": "noise.mp4"}).execute()
    film = row["film"]
    print("not loaded:", film.x)

    # A box of an MP4 file: four bytes of length, four of type.
    head, tail = film.read_ranges([(0, 8), (film.size - 16, 16)])
    print(f"{film.size:,} bytes, of which {len(head) + len(tail)} are read; the first box is {head[4:].decode()!r}")

    # A handle is a file: any library that reads files can read it.
    film.seek(int.from_bytes(head[:4], "big") + 4)
    print(f"the second box is {film.read(4).decode()!r}")

    album = Path(db["sounds"].find_one({"id": "album"}).execute().unpack()["sound"])
    print("copied out:", sorted(file.name for file in album.iterdir()))
