"""Job definitions: classes and functions that become jobs."""
