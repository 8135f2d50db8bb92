"""Whoever copies a block of the README or the guide has what it needs of laraq and other libraries.

That the blocks run is shown with the wheel (`make wheel`, tests/wheel).
"""

from __future__ import annotations

import sys

import pytest

import laraq
from tests.docs.blocks import DOCUMENTS, Block, python_blocks
from tests.docs.hidden import HIDDEN

BLOCKS = {document: python_blocks(document) for document in DOCUMENTS}


def importable(document: str) -> set[str]:
    """Names that a block has to import to use them: all that some block imports, and what is laraq's."""
    imported = {name for block in BLOCKS[document] for name in block.imported_names()}
    # `queue` is what the documents call the Laraq object.
    return {*imported, *laraq.__all__, "LaraqTask", *sys.stdlib_module_names} - {"queue"}


@pytest.mark.parametrize("block", [block for found in BLOCKS.values() for block in found], ids=str)
def test_a_block_imports_what_it_uses(block: Block) -> None:
    assert block.free_names() & importable(block.document) == set()


def test_nothing_hidden_is_left_of_a_block_that_is_gone() -> None:
    stale = [text for document, text, _ in HIDDEN if not any(text in block.source for block in BLOCKS[document])]
    assert stale == []
