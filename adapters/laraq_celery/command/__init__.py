"""What laraq's command line needs from Celery: an app, and a worker."""
