"""Chains and batches of jobs."""
