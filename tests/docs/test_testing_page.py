"""docs/testing.md: every block is a file of a project whose tests pass, with no broker."""

from __future__ import annotations

from pathlib import Path

from tests.docs.page import run_page


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    files, said = run_page("docs/testing.md", tmp_path)
    assert "16 passed" in said, said
    assert files == 9
