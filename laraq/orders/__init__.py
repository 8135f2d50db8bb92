"""Orders that all workers obey, present and future ones: paused queues, a restart, maintenance."""
