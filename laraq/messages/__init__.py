"""What travels between producer and worker, as values."""
