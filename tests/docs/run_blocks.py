"""A program: run blocks one after the other in one module, in the folder where it is called.

It knows nothing of the tests, for it is run by another Python, which has laraq and little else. From stdin: JSON with
`module`, `opening`, `broker`, and `blocks`: [{"name", "before", "source", "raises"}].
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


def run(name: str, source: str, namespace: dict[str, Any]) -> None:
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)


def main() -> int:
    told = json.load(sys.stdin)
    sys.path.insert(0, "")
    module = sys.modules[told["module"]] = ModuleType(told["module"])
    module.__dict__["BROKER"] = told["broker"]
    run("opening", told["opening"], module.__dict__)
    failures = 0
    for block in told["blocks"]:
        source = block["source"].replace("redis://localhost", told["broker"])
        if file := re.match(r"# (\w+\.py)\n", source):
            Path(file.group(1)).write_text(source)
            continue
        try:
            run("before", block["before"], module.__dict__)
            run(block["name"], source, module.__dict__)
            error = None
        except Exception as raised:
            error = raised
        if (type(error).__name__ if error else None) != block["raises"]:
            failures += 1
            shown = "".join(traceback.format_exception(error)) if error else f"{block['raises']} was not raised\n"
            print(f"--- {block['name']}\n{shown}", file=sys.stderr)
    print(f"{len(told['blocks'])} blocks, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
