"""The command line: `laraq -A shop failed` and `celery -A shop laraq failed` are the same command."""

from laraq.cli.group import laraq, main

__all__ = ["laraq", "main"]
