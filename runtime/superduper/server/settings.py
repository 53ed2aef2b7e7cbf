"""What ``superduper serve`` can be told beside the ordinary settings: options, or ``SUPERDUPER_SERVE_…``."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from superduper.config import SERVER_PREFIX
from superduper.errors import ConfigError, nearest
from superduper.server import budget

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[ByteSize, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


class ServerSettings(BaseSettings):
    """Where it listens, and its limits. Sizes are bytes, and ``64MiB`` is understood."""

    model_config = SettingsConfigDict(env_prefix=SERVER_PREFIX, extra="forbid", frozen=True)

    host: str = "0.0.0.0"  # noqa: S104 - in a pod, all that reach it are meant
    port: Port = 8000
    """The public door. 0: any that is free."""
    admin_port: Port = 8001
    """The same application without TLS, for probes, the operator and metrics. 0: any that is free."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    """No token is asked for; the server must then listen on the machine's own address alone."""
    max_body: Bytes = ByteSize(16 << 20)
    """Bytes of a request in JSON."""
    max_row: Bytes = ByteSize(64 << 20)
    """Bytes of one row that is inserted, its payloads among them; files of a file DataType do not count."""
    max_rows: Number = 10_000
    """Rows of an answer that is not streamed."""
    max_answer: Bytes = ByteSize(64 << 20)
    """Bytes of an answer that is not streamed."""
    max_requests: Number = 256
    """Requests at a time; more are refused with 503."""
    max_held: Bytes = ByteSize(budget.LIMIT)
    """Bytes of requests that are held in memory at a time, all together; more are refused with 503."""
    threads: Number = 24
    """Threads in which requests speak to databases and stores."""
    streams: Number = 64
    """Rows and artifacts that are streamed at a time, each in a thread; twice as many of what Python clients read."""
    background: Number = 2
    """Tables filled and models run at a time, in the background."""
    scan_seconds: Annotated[float, Field(gt=0)] = 3
    """How often it looks whether something is to be done."""
    drain_seconds: Seconds = 30
    """How long requests may go on once it is told to stop."""

    def __init__(self, **given: Any) -> None:
        _check_environment()
        try:
            super().__init__(**given)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            raise ConfigError(f"superduper serve: {found['loc'][0]}: {found['msg']}") from error

    def check(self, token: str | None) -> None:
        """Raises ConfigError where what is said does not go together."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("superduper serve: --tls-cert and --tls-key are given together")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise ConfigError(f"superduper serve: {path}: there is no such file")
        if self.max_held < self.max_body:
            raise ConfigError(
                "superduper serve: --max-held is less than --max-body, so that the largest requests never fit"
            )
        if token:
            return
        if not self.insecure:
            raise ConfigError(
                "superduper serve: no token is set, so everybody could come in: set SUPERDUPER_TOKEN, or, to try it on "
                "this machine alone, give --insecure --host 127.0.0.1"
            )
        if not _is_loopback(self.host):
            raise ConfigError(
                f"superduper serve: --insecure goes with --host 127.0.0.1 only, and this is {self.host}: without a token "
                "everybody who reaches it could read, write and run code"
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_environment() -> None:
    known = {SERVER_PREFIX + name.upper() for name in ServerSettings.model_fields}
    for name in os.environ:
        if name.upper().startswith(SERVER_PREFIX) and name.upper() not in known:
            raise ConfigError(
                f"the environment variable {name} is no setting of superduper serve{nearest(name, known)}"
            )
