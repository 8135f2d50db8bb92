"""From a job to a queue."""
