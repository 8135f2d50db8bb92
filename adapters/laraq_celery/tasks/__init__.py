"""Celery's own tasks and canvas, next to laraq's jobs."""
