"""CeleryCommands: what laraq's command line needs from Celery: `-A`, and a worker."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from celery import Celery
from celery.app.utils import find_app
from celery.utils.imports import import_from_cwd

from laraq.app import Laraq
from laraq.current import current
from laraq.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from laraq.cli.host import Finding, HostOption, RunningWorker, WorkOptions
    from laraq_celery.host import CeleryHost

#: Packages between the command line and a module it imports.
_IMPORTING = ("laraq_celery", "celery", "kombu", "vine", "importlib")


class CeleryCommands:
    """Implements `laraq.cli.host.HostCommands`."""

    def load(self, spec: str) -> Laraq:
        """The Laraq that `-A spec` names: by Celery's rules, else a module of jobs without an app (embedded default).

        Raises ConfigurationError.
        """
        module, _, attribute = spec.partition(":")
        try:
            found = find_app(spec, imp=_import)
        except ModuleNotFoundError as error:
            if error.name == spec and attribute:
                near = did_you_mean(attribute, vars(_import(module)))
                raise ConfigurationError(f"-A {spec}: module {module!r} has no {attribute!r}.{near}") from None
            near = did_you_mean(module, _modules_here())
            raise ConfigurationError(
                f"-A {spec}: there is no module {error.name!r} in {Path.cwd()} or on the Python path.{near}"
            ) from None
        except AttributeError:
            return current()
        return self.attached(found)

    def attached(self, app: Any) -> Laraq:
        """The Laraq of an app, which a module that the app imports may attach.

        Raises ConfigurationError.
        """
        if isinstance(app, Laraq):
            return app
        if not isinstance(app, Celery):
            raise ConfigurationError(f"-A names a {type(app).__name__}, not a Celery app.")
        name = app.main or "(unnamed)"
        if getattr(app, "laraq", None) is None:
            _import_default_modules(app)
        laraq: Laraq | None = getattr(app, "laraq", None)
        if laraq is None:
            raise ConfigurationError(
                f"Laraq is not attached to app {name!r}: add queue = Laraq(app), or name with -A the app that has it."
            )
        return laraq

    def import_jobs(self, laraq: Laraq) -> None:
        """Import the app's `imports`, `include` and autodiscovered tasks, and laraq's `discover`.

        Raises ConfigurationError.
        """
        _import_default_modules(cast("CeleryHost", laraq.host).app)

    def queues(self, laraq: Laraq) -> Mapping[str, Sequence[str]]:
        """The queues of the app, and the one of each named connection."""
        from laraq_celery.command.workers import queues

        return queues(laraq)

    def workers(self, laraq: Laraq) -> Mapping[str, Sequence[RunningWorker] | None]:
        """The workers that answer to Celery's remote control."""
        from laraq_celery.command.workers import workers

        return workers(laraq)

    def diagnose(self, laraq: Laraq) -> Sequence[Finding]:
        """What every check finds."""
        from laraq_celery.command.checks import CHECKS
        from laraq_celery.command.setup import setup_of

        setup = setup_of(laraq)
        return [finding for check in CHECKS for finding in check(setup)]

    def work_options(self) -> Sequence[HostOption]:
        """The options of `celery worker`."""
        from laraq_celery.command.work import own_options

        return own_options()

    def work(self, laraq: Laraq, options: WorkOptions) -> int:
        """Run a Celery worker."""
        from laraq_celery.command.work import work

        return work(laraq, options)


def _import(module: str, **options: Any) -> Any:
    """Import a module, also from the working directory.

    Raises ModuleNotFoundError if it does not exist, ConfigurationError if it raises.
    """
    try:
        return import_from_cwd(module, **options)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            raise
        raise ConfigurationError(f"Module {module!r} cannot be imported:\n\n{_traceback_of(error)}") from error


def _import_default_modules(app: Celery) -> None:
    try:
        app.loader.import_default_modules()
    except Exception as error:
        raise ConfigurationError(
            f"The modules of app {app.main!r} cannot be imported:\n\n{_traceback_of(error)}"
        ) from error


def _traceback_of(error: Exception) -> str:
    """The traceback from the first line of the user's own code on."""
    rest = error.__traceback__
    while rest is not None and str(rest.tb_frame.f_globals.get("__name__")).partition(".")[0] in _IMPORTING:
        rest = rest.tb_next
    return "".join(traceback.format_exception(type(error), error, rest)).rstrip()


def _modules_here() -> list[str]:
    return [Path(name).stem for name in os.listdir() if name.endswith(".py") or Path(name).is_dir()]
