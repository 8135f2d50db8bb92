"""Everything laraq keeps, in the memory of one process."""
