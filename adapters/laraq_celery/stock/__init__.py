"""What kombu lacks for each broker, such as an inspection of its queues."""

from laraq_celery.stock.inspection import BrokerInspection

__all__ = ["BrokerInspection"]
