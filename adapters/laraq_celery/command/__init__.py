"""What the command line of laraq asks of Celery: an app, and a worker."""
