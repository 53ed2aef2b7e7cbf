"""Runs Python sources one after the other in one namespace, as at a prompt. A list of texts comes in by standard input
as JSON; for each, what its expressions echoed goes out: ``[[line, repr, class], …]``.
"""

from __future__ import annotations

import ast
import json
import sys
from typing import Any

Echo = tuple[int, str, str]


def main() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    answers = [run(source, namespace) for source in json.load(sys.stdin)]
    print(json.dumps(answers))


def run(source: str, namespace: dict[str, Any]) -> list[Echo]:
    """Echoes of one text: line number, repr, and dotted name of the class."""
    echoes: list[Echo] = []
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Expr):
            exec(compile(ast.Module([statement], []), "<prompt>", "exec"), namespace)
            continue
        value = eval(compile(ast.Expression(statement.value), "<prompt>", "eval"), namespace)
        if value is not None:
            echoes.append((statement.lineno, repr(value), f"{type(value).__module__}.{type(value).__qualname__}"))
    return echoes


if __name__ == "__main__":
    main()
