"""``seams.py PORT FOLDER KEY SECRET REGION``: serves the datalayers that ``FOLDER/*.json`` describe, under their names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from superduper.datalayer import Datalayer, superduper
from superduper.server import seams


class Several:
    """An ASGI application that passes ``/NAME/…`` on to the datalayer of that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, FastAPI] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        _, name, *rest = scope["path"].split("/")
        if name == "healthz":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        path = "/" + "/".join(rest)
        await self.app(name)({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    def app(self, name: str) -> FastAPI:
        if name not in self.open:
            stores = json.loads((self.folder / f"{name}.json").read_text())
            db = superduper(stores.pop("databackend"), **stores, home=str(self.folder))

            async def access() -> Datalayer:
                return db

            self.open[name] = FastAPI()
            self.open[name].include_router(seams.router(access))
        return self.open[name]


if __name__ == "__main__":
    port, folder, *keys = sys.argv[1:]
    os.environ.update(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"), keys, strict=True))
    uvicorn.run(Several(Path(folder)), host="127.0.0.1", port=int(port), log_level="warning")
