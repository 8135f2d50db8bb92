"""Big sizes and further combinations of what is tested anyway: run with LARAQ_FULL=1, by hand."""

from __future__ import annotations

import os

import pytest

full = pytest.mark.skipif(not os.environ.get("LARAQ_FULL"), reason="LARAQ_FULL=1 runs it")


def full_size_only() -> None:
    """Leave the rest of the test to LARAQ_FULL=1."""
    if not os.environ.get("LARAQ_FULL"):
        pytest.skip("LARAQ_FULL=1 runs it")
