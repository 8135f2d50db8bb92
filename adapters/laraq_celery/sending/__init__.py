"""From a payload to the broker: a job is filled into the message Celery wrote for its class, or Celery sends it."""
