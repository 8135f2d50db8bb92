"""One file per version of the tables, in the order of their names.

Each has `upgrade()`, the DDL from the version before it. It repeats the tables as they were then instead of importing
them from `tables`, which shows them as they are now; a test compares where both end.
"""
