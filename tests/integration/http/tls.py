"""``python -m tests.integration.http.tls FOLDER``: serves a datalayer in the folder over TLS, and prints the port."""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastapi import FastAPI

from superduper.datalayer import Datalayer, superduper
from superduper.server import seams

if __name__ == "__main__":
    folder = sys.argv[1]
    db = superduper(f"sqlite:///{folder}/served.db", home=folder)

    async def access() -> Datalayer:
        return db

    app = FastAPI()
    app.include_router(seams.router(access))
    config = uvicorn.Config(
        app, log_level="critical", ssl_certfile=f"{folder}/tls.crt", ssl_keyfile=f"{folder}/tls.key"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listener])
