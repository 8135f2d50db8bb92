"""The Python blocks of the documents, and which names they take from elsewhere."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What people read first, and try.
DOCUMENTS = ("README.md", "docs/guide.md")

_FENCE = re.compile(r"^```(\w*)$")


@dataclass(frozen=True)
class Block:
    """One piece of code between fences."""

    document: str
    #: Of its first line of code.
    line: int
    section: str
    language: str
    source: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    def free_names(self) -> set[str]:
        """Names it uses and binds nowhere: somebody else must have defined them."""
        used, bound = set(), set()
        for table in _tables(symtable.symtable(_synchronous(self.source), str(self), "exec")):
            top = table.get_type() == "module"
            for symbol in table.get_symbols():
                if symbol.is_global() or top:
                    used |= {symbol.get_name()} if symbol.is_referenced() else set()
                    bound |= {symbol.get_name()} if symbol.is_assigned() or symbol.is_imported() else set()
        return used - bound - set(dir(builtins))

    def imported_names(self) -> set[str]:
        """Names that its own imports bind."""
        return {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(ast.parse(_synchronous(self.source)))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }


def blocks(document: str) -> Iterator[Block]:
    """All of them, in their order."""
    section, language, begin, lines = "", None, 0, []
    for number, line in enumerate((ROOT / document).read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if language is not None:
            if fence:
                yield Block(document, begin, section, language, "\n".join(lines) + "\n")
                language = None
            else:
                lines.append(line)
        elif fence:
            language, begin, lines = fence.group(1), number + 1, []
        elif line.startswith("#"):
            section = line.lstrip("# ")


def python_blocks(document: str) -> list[Block]:
    """Those in Python."""
    return [block for block in blocks(document) if block.language == "python"]


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _synchronous(source: str) -> str:
    """Without `await` at the top, which only the interactive Python allows."""
    return re.sub(r"^(\s*)await ", r"\1", source, flags=re.M)
