"""User code: what its digest depends on, in which forms it comes, and what is said where it does not load."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superduper import code
from superduper.api.v1alpha1 import Code
from superduper.errors import CodeError

SCRIPT = """
import functools, sys
sys.path.insert(0, sys.argv[1])
from superduper.fingerprint import fingerprint

NAMES = {'one', 'two', 'three', 'four', 'five', 'six'}
TABLE = {'a': [1, (2, 3)], 'b': {'x', 'y', 'z'}}

class Scale:
    '''An object with state.'''
    factor = 2
    def __init__(self, by):
        self.by, self.names = by, {'p', 'q', 'r', 's'}
    def __call__(self, x):
        return helper(x) * self.by * self.factor

def helper(x):
    return len(NAMES) + x

def outer(x, scale=Scale(3), options=(Scale(1), [helper])):
    return [helper(y) for y in (lambda: [scale(x)])()], TABLE

def closed(by):
    held = {'by': by, 'set': {'k', 'l', 'm'}}
    return lambda x: held['by'] + x

for value in (Scale(2), outer, helper, lambda x: x in {'u', 'v', 'w'}, closed(2), functools.partial(outer, options=NAMES), Scale(2).__call__, Scale):
    print(fingerprint(value))
"""


def digests(folder: Path, text: str, seed: str, as_module: bool = False) -> list[str]:
    file = folder / f"made_{seed}.py"
    file.write_text(text)
    arguments = [sys.executable, "-c", f"import runpy, sys; sys.argv = ['x', '{folder}']; runpy.run_path('{file}')"]
    if not as_module:
        arguments = [sys.executable, str(file), str(folder)]
    done = subprocess.run(arguments, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    first = digests(tmp_path, SCRIPT, "1")
    assert first == digests(tmp_path, SCRIPT, "2")
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("len(NAMES) + x", "len(NAMES) - x"),
        ("factor = 2", "factor = 3"),
        ("* self.by *", "+ self.by +"),
        ("'six'", "'seven'"),
        ("(2, 3)", "(2, 4)"),
    ],
    ids=["a function that it calls", "a class's value", "a method", "a set it looks at", "inside a constant"],
)
def test_a_digest_changes_with_what_the_code_uses(tmp_path: Path, old: str, new: str) -> None:
    before, after = digests(tmp_path, SCRIPT, "1"), digests(tmp_path, SCRIPT.replace(old, new), "1")
    assert before[1] != after[1], "the function that uses all of it"


def twice(x: int) -> int:
    return 2 * x


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return x + self.by


STORE: dict[str, bytes] = {}


def there_and_back(function: Callable[..., Any]) -> Any:
    made, payloads = code.dump(function)
    return code.load(made, payloads.__getitem__)


@pytest.mark.parametrize(
    ("function", "argument", "result"),
    [
        (twice, 4, 8),
        (Adder(3), 4, 7),
        (lambda x: x - 1, 4, 3),
        (functools.partial(pow, 2), 3, 8),
        (len, [1, 2], 2),
        (os.path.join, "a", "a"),
    ],
)
def test_callables_go_into_a_spec_and_out_again(function: Callable[..., Any], argument: Any, result: Any) -> None:
    assert there_and_back(function)(argument) == result


def test_what_an_installed_package_holds_is_named_not_pickled() -> None:
    made, payloads = code.dump(os.path.join)
    assert (made.module, made.callable, payloads) == ("posixpath", "join", {})
    assert code.dump(twice)[0].pickle is not None


def test_what_cannot_be_pickled_is_said() -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(CodeError, match="cannot be pickled"):
        code.dump(lambda: lock)


def test_source_and_module_load_and_are_called_with_their_arguments() -> None:
    text = "class Scale:\n    def __init__(self, by, plus=0):\n        self.by, self.plus = by, plus\n    def __call__(self, x):\n        return x * self.by + self.plus\n"
    made = Code(source=text, callable="Scale", args=(3,), kwargs={"plus": 1})
    assert code.load(made, STORE.__getitem__)(2) == 7
    assert code.load(Code(module="operator", callable="itemgetter", args=("a",)), STORE.__getitem__)({"a": 5}) == 5
    assert code.digest(made) == code.digest(made.model_copy())
    assert code.digest(made) != code.digest(made.model_copy(update={"args": (4,)}))
    assert code.digest(made) != code.digest(made.model_copy(update={"source": text + "\n"}))


def test_pickles_are_refused_where_they_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    from superduper import CFG

    monkeypatch.setattr(CFG, "allow_pickle", False)
    with pytest.raises(CodeError, match="allow_pickle"):
        there_and_back(twice)
