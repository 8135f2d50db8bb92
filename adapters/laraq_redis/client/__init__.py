"""Connections to Redis, and scripts that run there."""
