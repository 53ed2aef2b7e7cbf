"""URIs as they are shown."""

from __future__ import annotations

import pytest

from superduper.uris import without_password


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        pytest.param("postgresql://u:geheim@h/d", "postgresql://u:***@h/d", id="a password before the host"),
        pytest.param("postgresql://u:ge@heim@h/d", "postgresql://u:***@h/d", id="one with an @ that was not escaped"),
        pytest.param("postgresql://h/d?user=u&password=geheim", "postgresql://h/d?user=u&password=***", id="a parameter"),
        pytest.param("postgresql://h/d?sslpassword=geheim&sslmode=require",
                     "postgresql://h/d?sslpassword=***&sslmode=require", id="a parameter before others"),
        pytest.param("s3://b/p?AWS_SECRET_ACCESS_KEY=geheim&region=x", "s3://b/p?AWS_SECRET_ACCESS_KEY=***&region=x",
                     id="a key of a bucket"),
        pytest.param("s3://b?endpoint=http://h:9000&region=x", "s3://b?endpoint=http://h:9000&region=x", id="nothing to hide"),
        pytest.param("sqlite:///my.db", "sqlite:///my.db", id="a file"),
    ],
)  # fmt: skip
def test_what_is_secret_in_a_uri_is_not_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == shown
