"""What people write: a class or a function that becomes a job."""
