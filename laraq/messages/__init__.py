"""What is sent between producer and worker, as values."""
