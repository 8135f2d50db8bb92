"""Mapped instances as fields of jobs, and jobs as part of a session's transaction."""
