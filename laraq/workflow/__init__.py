"""What comes after a job: chains and batches."""
