"""Handles one delivery: loads the job, runs it, decides the outcome, and settles it."""
