"""The fields of a job: as JSON, proven to arrive as they were sent."""
