"""What kombu lacks of each broker: looking into its queues."""

from laraq_celery.stock.inspection import BrokerInspection

__all__ = ["BrokerInspection"]
