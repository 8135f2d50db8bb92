"""Sending jobs to queues."""
