"""LaraqSetup: the setup of a cluster whose app has laraq attached."""

from __future__ import annotations

from typing import Any

from pytest_celery import CeleryTestSetup

from laraq import Laraq


class LaraqSetup(CeleryTestSetup):
    """What `celery_setup` gives. Configure app and workers in `update_app_config`, laraq with its `laraq_*` keys."""

    @property
    def queue(self) -> Laraq:
        """The Laraq of the app."""
        laraq: Laraq = self.app.laraq
        return laraq

    @classmethod
    def create_setup_app(cls, celery_setup_config: dict[str, Any], celery_setup_app_name: str) -> Any:
        """The app of the test, with laraq attached."""
        app = super().create_setup_app(celery_setup_config, celery_setup_app_name)
        Laraq(app)
        return app
