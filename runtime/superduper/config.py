"""Settings: ``CFG``, read once, when first touched.

Each source goes before the next: keywords of ``Settings(...)``, the environment (``SUPERDUPER_DATABACKEND=…``), a
YAML file (named by ``SUPERDUPER_CONFIG``, else ``./superduper.yaml`` if it is there), a folder of mounted secrets
(named by ``SUPERDUPER_SECRETS_DIR``, a file for each key), the defaults. A key that is not a setting is an error in
all of them, and so is a wrong value, also when it is assigned: ``CFG.databackend = 'mongodb://localhost/documents'``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from superduper.errors import ConfigError, nearest
from superduper.uris import without_password

PREFIX = "SUPERDUPER_"
SERVER_PREFIX = "SUPERDUPER_SERVE_"
"""Settings of the server's own, which it reads and checks itself."""
CONFIG_FILE, SECRETS_DIR = "SUPERDUPER_CONFIG", "SUPERDUPER_SECRETS_DIR"
DEFAULT_FILE = Path("superduper.yaml")
# What Kubernetes sets in every pod of a namespace that has a Service called superduper or superduper-….
_SERVICE_LINK = re.compile(r"SUPERDUPER_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")


def _uri(value: str) -> str:
    if not re.match(r"[a-z][a-z0-9+.-]*://", value):
        raise ValueError("it must be a URI with a scheme, as in sqlite://my.db or mongodb://localhost:27017/documents")
    return value


def _compute(value: str) -> str:
    if value not in ("local", "dask", "ray", "auto", "job") and not value.startswith(("dask://", "ray://")):
        raise ValueError(
            "it must be local, dask, ray or the address of a cluster, as in dask://host:8786 or ray://host:10001"
        )
    return value


def _level(value: object) -> object:
    name = value.upper() if isinstance(value, str) else value
    return {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(name, name) if isinstance(name, str) else name


Uri = Annotated[str, AfterValidator(_uri)]
Compute = Annotated[str, AfterValidator(_compute)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level)]


def _embedded(data: Mapping[str, Any]) -> str:
    """The SQLite file in the home folder."""
    home = str(data.get("home", ".superduper")).rstrip("/")
    return f"sqlite:///{home}/superduper.db" if home.startswith("/") else f"sqlite://{home}/superduper.db"


class Settings(BaseSettings):
    """All settings. Raises ConfigError, naming the key, where its value stands, and the nearest known key."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", validate_assignment=True)

    home: str = ".superduper"
    """The folder of everything that is kept locally."""
    databackend: Uri = Field(default_factory=_embedded)
    """URI of the database; a SQLite file in ``home`` by default."""
    metadata: Uri | None = None
    """URI of the metadata store; None: the databackend."""
    artifact_store: Uri | None = None
    """URI of the artifact store; None: the databackend if it can hold files, else a folder in ``home``."""
    compute: Compute = "local"
    """Where models run: ``local``, ``dask``, ``dask://host:8786``, ``ray`` or ``ray://host:10001``. ``auto`` and ``job`` are
    what a datalayer's server is told where an operator starts jobs; elsewhere they are ``local``."""
    hash: Literal["sha1", "sha256"] = "sha1"
    """By which new artifacts are named; both are read."""
    log_level: LogLevel = "INFO"
    """``WARN`` is understood as ``WARNING``."""
    fold_valid: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the rows whose ``_fold`` is ``valid``."""
    budget_bytes: Annotated[ByteSize, Field(gt=0)] = ByteSize(256 * 1024**2)
    """Bytes of payload in memory at once while reading ahead or writing back; ``256MiB`` is understood."""
    gc_window_seconds: Annotated[float, Field(ge=0)] = 86400
    """Garbage collection leaves alone what is younger."""
    allow_pickle: bool = True
    """False: nothing pickled is loaded, be it data or code."""
    connect_timeout: Annotated[float, Field(gt=0)] = 10
    """Seconds that a server has to answer when it is first called."""
    token: str | None = None
    """What a datalayer's server asks of its clients, and what this process shows to one; never printed."""
    ca_file: str | None = None
    """File with the certificates by which a datalayer's server is trusted over https; None: those of the system."""

    def __init__(self, **given: Any) -> None:
        _check_environment()
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise _explained(error, lambda key: _origin(key, given)) from error

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in SETTINGS and not name.startswith("_"):
            raise _unknown(name, "in an assignment to CFG")
        follows = name == "home" and "databackend" not in self.model_fields_set
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _explained(error, lambda _: f"assigned to CFG.{name}") from error
        if follows:
            super().__setattr__("databackend", _embedded({"home": self.home}))
            self.model_fields_set.discard("databackend")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What is shown, without passwords."""
        for key, value in super().__repr_args__():
            if key in SECRETS and value is not None:
                yield key, "***"
                continue
            yield key, without_password(value) if key in URIS and value is not None else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = [init_settings, EnvSettingsSource(settings_cls), InitSettingsSource(settings_cls, _from_file())]
        if (folder := _secrets_folder()) is not None:
            sources.append(SecretsSettingsSource(settings_cls, secrets_dir=folder, env_prefix=""))
        return tuple(sources)


URIS = ("databackend", "metadata", "artifact_store")
SECRETS = ("token",)
SETTINGS = frozenset(Settings.model_fields)
_reading = Lock()
CFG: Settings
"""The settings of this process."""


def __getattr__(name: str) -> Any:
    # Only on first touch, so that a wrong setting is an error of what needs settings, not of an import.
    if name != "CFG":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _reading:
        return globals().setdefault("CFG", globals().get("CFG") or Settings())


def _config_file() -> Path | None:
    if named := os.environ.get(CONFIG_FILE):
        return Path(named).expanduser()
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file() -> dict[str, Any]:
    path = _config_file()
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the settings in {path}: {error.strerror}; correct or unset {CONFIG_FILE}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings in {path} are not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"the settings in {path} must be keys with values, as in 'databackend: sqlite://my.db'")
    for key in content:
        if key not in SETTINGS:
            raise _unknown(str(key), f"in {path}")
    return content


def _secrets_folder() -> Path | None:
    named = os.environ.get(SECRETS_DIR)
    if not named:
        return None
    folder = Path(named).expanduser()
    try:
        # Kubernetes keeps the real files behind names that start with two dots.
        found = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise ConfigError(
            f"cannot read the folder of secrets {folder}: {error.strerror}; correct or unset {SECRETS_DIR}"
        ) from error
    for name in found:
        if name not in SETTINGS:
            raise _unknown(name, f"as a file in {folder}")
    return folder


def _check_environment() -> None:
    known = {CONFIG_FILE, SECRETS_DIR, *(PREFIX + key.upper() for key in SETTINGS)}
    for name in os.environ:
        # Upper and lower case are one to pydantic-settings.
        upper = name.upper()
        if upper.startswith(SERVER_PREFIX):
            continue
        if upper.startswith(PREFIX) and upper not in known and not _SERVICE_LINK.fullmatch(upper):
            near = nearest(upper.removeprefix(PREFIX), [key.removeprefix(PREFIX) for key in known])
            hint = near.replace("'", f"'{PREFIX}", 1) or _hint(upper, ())
            raise ConfigError(f"the environment variable {name} is no setting{hint}")


def _unknown(key: str, where: str) -> ConfigError:
    return ConfigError(f"{key!r}, {where}, is no setting{_hint(key.lower(), SETTINGS)}")


def _hint(key: str, known: Iterable[str]) -> str:
    return nearest(key, known) or f"; the settings are {', '.join(sorted(SETTINGS))}"


def _origin(key: str, given: Mapping[str, Any]) -> str:
    """In words, where the value of a key came from."""
    if key in given:
        return f"given as {key}="
    for name in os.environ:
        if name.upper() == PREFIX + key.upper():
            return f"in the environment variable {name}"
    if (path := _config_file()) is not None and key in _from_file():
        return f"in {path}"
    return f"in the file {Path(os.environ.get(SECRETS_DIR, '')) / key}"


def _explained(error: ValidationError, where: Any) -> ConfigError:
    problems = []
    for found in error.errors(include_url=False):
        key = str(found["loc"][0])
        if found["type"] == "extra_forbidden":
            return _unknown(key, where(key))
        # A URI may hold a password, so what was given is shown for plain settings only.
        shown = ":" if key in (*URIS, *SECRETS) else f" {found['input']!r}:"
        problems.append(f"{key}{shown} {found['msg'].removeprefix('Value error, ')} ({where(key)})")
    return ConfigError("; ".join(problems))
