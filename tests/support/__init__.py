"""What tests stand on: servers of their own, real workers, waiting."""
