"""The fields of a job: converted to JSON, and checked to arrive as they were sent."""
