"""The broker on each database."""
