"""The tables, and their creation."""
