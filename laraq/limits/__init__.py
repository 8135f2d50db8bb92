"""Locks and limits that all machines share."""
