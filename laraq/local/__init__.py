"""Queues and stores inside this process."""
