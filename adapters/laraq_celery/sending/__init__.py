"""From a payload to the broker: a job is filled into a message that Celery wrote for its class, or Celery sends it."""
