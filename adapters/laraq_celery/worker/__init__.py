"""Jobs inside a Celery worker: from the arrival of a message to its acknowledgement."""
