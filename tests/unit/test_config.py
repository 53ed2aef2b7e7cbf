"""Settings: where they come from, in which order, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from superduper.config import Settings
from superduper.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("SUPERDUPER_"):
            monkeypatch.delenv(name)


def secrets(folder: Path, **values: str) -> str:
    folder.mkdir(exist_ok=True)
    for key, value in values.items():
        (folder / key).write_text(value + "\n")
    return str(folder)


def test_defaults_are_embedded_and_local() -> None:
    settings = Settings()
    assert settings.databackend == "sqlite://.superduper/superduper.db"
    assert (settings.metadata, settings.artifact_store, settings.compute) == (None, None, "local")
    assert (settings.hash, settings.home, settings.log_level) == ("sha1", ".superduper", "INFO")
    assert (settings.fold_valid, settings.budget_bytes, settings.gc_window_seconds) == (0.05, 268435456, 86400)
    assert settings.allow_pickle is True
    assert settings.connect_timeout == 10


@pytest.mark.parametrize(
    ("home", "uri"),
    [("state", "sqlite://state/superduper.db"), ("/var/state/", "sqlite:////var/state/superduper.db")],
)
def test_the_default_database_lies_in_the_home_folder(home: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_HOME", home)
    assert Settings().databackend == uri


def test_assigning_the_home_folder_takes_the_default_database_along() -> None:
    settings = Settings()
    settings.home = "elsewhere"
    settings.home = "there"
    assert settings.databackend == "sqlite://there/superduper.db"
    settings.databackend = "sqlite://mine.db"
    settings.home = "elsewhere"
    assert settings.databackend == "sqlite://mine.db"


def test_a_source_goes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = secrets(
        tmp_path / "secrets", hash="sha256", home="of-secrets", log_level="ERROR", metadata="sqlite://s.db"
    )
    monkeypatch.setenv("SUPERDUPER_SECRETS_DIR", folder)
    (tmp_path / "superduper.yaml").write_text("hash: sha1\nhome: of-yaml\nlog_level: DEBUG\n")
    monkeypatch.setenv("SUPERDUPER_HOME", "of-environment")
    monkeypatch.setenv("SUPERDUPER_LOG_LEVEL", "WARNING")
    settings = Settings(log_level="CRITICAL")
    assert settings.log_level == "CRITICAL"
    assert settings.home == "of-environment"
    assert settings.hash == "sha1"
    assert settings.metadata == "sqlite://s.db"
    assert settings.fold_valid == 0.05


def test_the_file_named_by_the_environment_is_read_instead_of_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "superduper.yaml").write_text("home: usual\n")
    (tmp_path / "other.yaml").write_text("budget_bytes: 64MiB\nallow_pickle: false\n")
    monkeypatch.setenv("SUPERDUPER_CONFIG", "other.yaml")
    settings = Settings()
    assert settings.home == ".superduper"
    assert settings.budget_bytes == 64 * 1024**2
    assert settings.allow_pickle is False


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "superduper.yaml").write_text("# nothing yet\n")
    assert Settings().home == ".superduper"


def test_secrets_mounted_by_kubernetes_are_read_past_its_own_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mounted"
    secrets(tmp_path / "mounted", databackend="")
    (folder / "databackend").unlink()
    (folder / "..2026").mkdir()
    (folder / "..2026" / "databackend").write_text("mongodb://u:secret@db/documents\n")
    (folder / "..data").symlink_to("..2026")
    (folder / "databackend").symlink_to("..data/databackend")
    monkeypatch.setenv("SUPERDUPER_SECRETS_DIR", str(folder))
    assert Settings().databackend == "mongodb://u:secret@db/documents"


@pytest.mark.parametrize("given", ["WARN", "warn", "WARNING"])
def test_fault_12_the_documented_log_level_warn_is_understood(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_LOG_LEVEL", given)
    assert Settings().log_level == "WARNING"


def test_an_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'databakend', given as databakend=, .* did you mean 'databackend'"):
        Settings(databakend="sqlite://")


def test_an_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_ARTIFACTSTORE", "memory://")
    expected = "SUPERDUPER_ARTIFACTSTORE is no setting; did you mean 'SUPERDUPER_ARTIFACT_STORE'"
    with pytest.raises(ConfigError, match=expected):
        Settings()


def test_an_unknown_variable_near_to_nothing_lists_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_TYPO", "1")
    with pytest.raises(
        ConfigError, match="SUPERDUPER_TYPO is no setting; the settings are allow_pickle, artifact_store"
    ):
        Settings()


@pytest.mark.parametrize(
    "name",
    [
        "SUPERDUPER_SERVICE_HOST",
        "SUPERDUPER_SERVICE_PORT",
        "SUPERDUPER_SERVICE_PORT_HTTP",
        "SUPERDUPER_PORT",
        "SUPERDUPER_PORT_8000_TCP_ADDR",
        "SUPERDUPER_OPERATOR_SERVICE_HOST",
        "SUPERDUPER_OPERATOR_PORT_443_TCP",
    ],
)
def test_what_kubernetes_sets_for_a_service_of_that_name_is_passed_over(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8000")
    assert Settings().home == ".superduper"


def test_an_unknown_key_in_the_file_names_the_nearest_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "superduper.yaml").write_text("metdata: sqlite://m.db\n")
    with pytest.raises(ConfigError, match=r"'metdata', in superduper\.yaml, .* did you mean 'metadata'"):
        Settings()


def test_an_unknown_secret_names_the_nearest_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_SECRETS_DIR", secrets(tmp_path / "s", databacknd="sqlite://"))
    with pytest.raises(ConfigError, match=r"'databacknd', as a file in .*/s, .* did you mean 'databackend'"):
        Settings()


def test_an_unknown_assignment_names_the_nearest() -> None:
    settings = Settings()
    with pytest.raises(ConfigError, match="'metdata', in an assignment to CFG, .* did you mean 'metadata'"):
        settings.metdata = "sqlite://"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("databackend", "my.db", "databackend: it must be a URI with a scheme"),
        ("metadata", "", "metadata: it must be a URI with a scheme"),
        ("hash", "md5", "hash 'md5': Input should be 'sha1' or 'sha256'"),
        ("compute", "cloud", "compute 'cloud': it must be local, dask, ray or the address"),
        ("log_level", "LOUD", "log_level 'LOUD': Input should be 'DEBUG', 'INFO'"),
        ("fold_valid", "1.5", "fold_valid '1.5': Input should be less than or equal to 1"),
        ("budget_bytes", "0", "budget_bytes .* greater than 0"),
        ("budget_bytes", "much", "budget_bytes 'much': could not parse"),
        ("connect_timeout", "0", "connect_timeout .* greater than 0"),
        ("gc_window_seconds", "-1", "gc_window_seconds .* greater than or equal to 0"),
        ("allow_pickle", "perhaps", "allow_pickle 'perhaps': Input should be a valid boolean"),
    ],
)
def test_a_wrong_value_is_refused_wherever_it_stands(
    key: str, value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=rf"{says}.*\(given as {key}=\)"):
        Settings(**{key: value})
    settings = Settings()
    before: Any = getattr(settings, key)
    with pytest.raises(ConfigError, match=rf"{says}.*\(assigned to CFG\.{key}\)"):
        setattr(settings, key, value)
    assert getattr(settings, key) == before
    (tmp_path / "superduper.yaml").write_text(f"{key}: '{value}'\n")
    with pytest.raises(ConfigError, match=rf"{says}.*\(in superduper\.yaml\)"):
        Settings()
    (tmp_path / "superduper.yaml").unlink()
    with monkeypatch.context() as patched:
        patched.setenv("SUPERDUPER_SECRETS_DIR", secrets(tmp_path / "s", **{key: value}))
        with pytest.raises(ConfigError, match=rf"{says}.*\(in the file .*/s/{key}\)"):
            Settings()
    monkeypatch.setenv(f"SUPERDUPER_{key.upper()}", value)
    with pytest.raises(ConfigError, match=rf"{says}.*\(in the environment variable SUPERDUPER_{key.upper()}\)"):
        Settings()


def test_a_password_is_neither_shown_nor_printed_in_errors() -> None:
    settings = Settings(databackend="mongodb://me:s3cret@host/documents")
    assert "s3cret" not in repr(settings) + str(settings)
    assert "mongodb://me:***@host/documents" in repr(settings)
    with pytest.raises(ConfigError) as caught:
        settings.metadata = "me:s3cret@host/documents"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("home: [", r"superduper\.yaml are not YAML: .*line 1"),
        ("- home", r"superduper\.yaml must be keys with values"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "superduper.yaml").write_text(content)
    with pytest.raises(ConfigError, match=says):
        Settings()


def test_a_named_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_CONFIG", "/nowhere/superduper.yaml")
    with pytest.raises(ConfigError, match="/nowhere/superduper.yaml: No such file .* unset SUPERDUPER_CONFIG"):
        Settings()


def test_a_named_folder_of_secrets_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERDUPER_SECRETS_DIR", "/nowhere")
    with pytest.raises(ConfigError, match="folder of secrets /nowhere: No such file .* unset SUPERDUPER_SECRETS_DIR"):
        Settings()


def test_cfg_is_one_object_read_when_first_touched(tmp_path: Path) -> None:
    code = (
        "import os, superduper.config as c\n"
        "os.environ['SUPERDUPER_HOME'] = 'late'\n"
        "from superduper.config import CFG\n"
        "CFG.databackend = 'mongodb://localhost:27017/documents'\n"
        "assert c.CFG is CFG and CFG.home == 'late'\n"
        "print(c.CFG.databackend)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("mongodb://localhost:27017/documents\n", "")


def test_the_module_has_no_other_lazy_names() -> None:
    import superduper.config

    with pytest.raises(AttributeError, match="has no attribute 'CGF'"):
        superduper.config.CGF  # noqa: B018
