"""Celery's own tasks and canvas beside laraq's jobs."""
