"""Laraq: the composition root. It wires and owns all other objects; no global state is behind it."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from laraq.container import Container
from laraq.current import Surroundings, enter, leave, set_default
from laraq.errors import ConfigurationError, StoreNotFoundError
from laraq.failed.file import FileFailedJobs
from laraq.failed.null import NullFailedJobs
from laraq.failed.service import FailedService
from laraq.jobs.fields.untyped import Untyped
from laraq.local.failover import FailoverConnection
from laraq.local.queues import DeferredConnection, NullConnection, SyncConnection
from laraq.messages.keys import Keys
from laraq.messages.options import WorkerOptions
from laraq.orders.board import Board
from laraq.orders.maintenance import Maintenance
from laraq.orders.pauses import Pauses
from laraq.orders.restarts import Restarts
from laraq.ports import Delayed, FailedJobs, Host, Models, QueueConnection, Store, Transactions
from laraq.process.plugins import plugins
from laraq.running.books import Books
from laraq.running.discarding import Discards
from laraq.running.journal import Acknowledgements, RunJournal
from laraq.running.loading import Loader
from laraq.running.parking import ParkingLot
from laraq.running.runner import Runner
from laraq.running.workplace import Workplace
from laraq.sending.after_commit import AfterCommit
from laraq.sending.connections import Connections
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.packing import Packer
from laraq.sending.routes import Routes
from laraq.sending.unique import UniqueLocks
from laraq.workflow.batch_service import BatchService
from laraq.workflow.callbacks import Callbacks
from laraq.workflow.chains import Chains
from laraq.workflow.held import HeldJobs

if TYPE_CHECKING:  # both are imported when they are needed, and pydantic with them
    from laraq.config import Settings
    from laraq.jobs.fields.codec import Codec

logger = logging.getLogger("laraq")


class Laraq:
    """laraq attached to an application: `queue = Laraq(app)`. Without an app it builds the embedded default.

    Nothing is read, imported or connected before it is needed, so it may be created before the app is configured.
    """

    #: Whether it was created implicitly: the stand-in where no app is attached (`current.current`).
    implied = False

    def __init__(
        self,
        app: Any = None,
        *,
        store: str | Store | None = None,
        failed: str | FailedJobs | None = None,
        connections: Mapping[str, Any] | None = None,
        discover: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        sessions: Callable[[], Any] | Sequence[Callable[[], Any]] | None = None,
        container: Container | None = None,
        **settings: Any,
    ) -> None:
        if settings:
            from laraq.config import Settings  # late, for pydantic

            Settings.refuse_unknown(settings, ("app", "sessions", "container"))
        self._given = {
            "store": store,
            "failed": failed,
            "connections": None if connections is None else dict(connections),
            "discover": None if discover is None else tuple(discover),
            "keys": None if keys is None else tuple(keys),
            **settings,
        }
        #: Whether it runs on the embedded default, with no app of the user's.
        self.embedded = app is None
        self.container = container or Container()
        self._models: tuple[Models, ...] = ()
        self._transactions: tuple[Transactions, ...] = ()
        #: Stores other than the default one, by URL.
        self._stores: dict[str, Store] = {}
        if sessions is not None:
            factories = sessions if isinstance(sessions, Sequence) else (sessions,)
            self._models = tuple(entry.load()(*factories) for entry in plugins("laraq.models"))
            for models in self._models:
                models.bind(self.container)
            self._transactions = tuple(entry.load()(*factories) for entry in plugins("laraq.transactions"))
        #: What waits for a commit.
        self.after_commit = AfterCommit(lambda: self._transactions, lambda: _of_imported("laraq.transactions"))
        self.routes = Routes()
        #: Options of `laraq work` for jobs that do not set them themselves.
        self.worker = WorkerOptions()
        self._stand_in: StandIn | None = None
        self.host: Host = _host_of(app)(self, app)
        set_default(self)

    def __enter__(self) -> Self:
        enter(self)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        leave()

    def __repr__(self) -> str:
        return f"<Laraq of {self.host.label}>"

    @contextmanager
    def standing_in(self, stand_in: StandIn) -> Iterator[None]:
        """Wire everything anew for a block, for a test: with other connections, and perhaps another store.

        What is there comes back in the end; whoever holds a service from before the block still has that one.
        """
        kept = dict(vars(self))
        for name in _WIRED:
            vars(self).pop(name, None)
        self._stores, self._stand_in = {}, stand_in
        try:
            yield
        finally:
            for name in _WIRED:
                vars(self).pop(name, None)
            vars(self).update({name: kept[name] for name in (*_WIRED, "_stores", "_stand_in") if name in kept})

    @cached_property
    def settings(self) -> Settings:
        """The settings from code, the app's configuration and the environment, merged."""
        from laraq.config import Settings

        return Settings.read(self._given, self.host.settings())

    @cached_property
    def keys(self) -> Keys:
        """The keys in `laraq_keys`."""
        return Keys(self.settings.keys, self.settings.accept_unsigned)

    @cached_property
    def codec(self) -> Codec:
        """Converts jobs to JSON and back."""
        from laraq.jobs.fields.codec import Codec

        return Codec(self.keys, lambda: self.models, Untyped(self.host.mark, self.host.unmark))

    @property
    def models(self) -> tuple[Models, ...]:
        """The ORMs whose instances travel as identifiers. A process that only dispatches does not need `sessions`."""
        if not self._models:
            # A mapped class can only exist where its ORM was imported.
            self._models = _of_imported("laraq.models")
        return self._models

    @cached_property
    def store(self) -> Store:
        """Where failed jobs, the journal, locks and the rest are kept; the choice is logged once."""
        if self._stand_in is not None and self._stand_in.store is not None:
            return self._stand_in.store
        given = self.settings.store
        if given is not None and not isinstance(given, str):
            return given  # type: ignore[no-any-return]
        store = self._open(given) if given else self._store_of_the_app()
        if self.settings.prefix and store.relational:
            raise ConfigurationError(
                f"laraq_prefix = {self.settings.prefix!r} is for stores in Redis, and this one is {store.label}: give"
                " each application a database or a schema of its own."
            )
        logger.info("laraq keeps its records in %s", store.label)
        return store

    @cached_property
    def delayed(self) -> Delayed | None:
        """Where delayed jobs wait if their broker cannot keep them. None for a store that other processes do not read:
        in memory, or the default file when no store is configured."""
        from laraq.config import EMBEDDED_URL

        named = self.settings.store or self.settings.url != EMBEDDED_URL or self._store_url_of_the_app()
        delayed = self.store.delayed if named else None
        return delayed if delayed is not None and delayed.shared else None

    @cached_property
    def failed(self) -> FailedService:
        """The failed jobs."""
        return FailedService(
            self._failed_jobs(), self.dispatcher, self.codec, self.unique, lambda: self.batches, self.settings.default
        )

    @cached_property
    def injectables(self) -> Mapping[Any, Any]:
        """What every handler can have injected by type."""
        return {Laraq: self, logging.Logger: logging.getLogger("laraq.job"), **self.host.injectables()}

    @cached_property
    def _connections(self) -> Connections:
        settings = self.settings
        return Connections(
            settings.default,
            settings.connections,
            self._connect,
            {
                settings.default: self._own_broker,
                **dict.fromkeys(self.host.aliases(), self._own_broker),
                "sync": partial(self._runs_here, "sync"),
                "null": NullConnection,
                "deferred": lambda: DeferredConnection(self._runs_here("deferred")),
            },
            None if self._stand_in is None else self._stand_in.connect,
        )

    @cached_property
    def unique(self) -> UniqueLocks:
        """Unique locks and debounce tokens."""
        return UniqueLocks(self.store_of, self.keys)

    @cached_property
    def discards(self) -> Discards:
        """Settles jobs that are dropped without a run."""
        return Discards(self._workplace, self.runner, self.unique, self.chains, lambda: self.batches, self.parking)

    @cached_property
    def parking(self) -> ParkingLot:
        """The jobs that wait for a lock or for limits."""
        return ParkingLot(lambda: self.store, self.host, self.dispatcher)

    @cached_property
    def orders(self) -> Board:
        """What all workers obey."""
        return Board(lambda: self.store, self.host.tell_workers)

    @cached_property
    def pauses(self) -> Pauses:
        """The paused queues."""
        return Pauses(self.orders)

    @cached_property
    def maintenance(self) -> Maintenance:
        """Whether the application is down for its workers."""
        return Maintenance(self.orders)

    @cached_property
    def restarts(self) -> Restarts:
        """Tells all workers to end."""
        return Restarts(self.orders)

    @cached_property
    def chains(self) -> Chains:
        """The chains."""
        return Chains(self.packer, self.dispatcher, self._callbacks, lambda: self._store_of_batches.batches)

    @cached_property
    def batches(self) -> BatchService:
        """The batches."""
        return BatchService(
            self._store_of_batches.batches,
            self.packer,
            self.dispatcher,
            self._callbacks,
            self.chains,
            HeldJobs(lambda: self.store, self.packer, self.dispatcher),
            self._around,
        )

    @cached_property
    def packer(self) -> Packer:
        """Packs jobs as messages."""
        return Packer(self.codec, self.routes, self.keys, self.host)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Sends jobs to queues."""
        return Dispatcher(
            self.packer, self.codec, self.unique, self._connections, self.after_commit, self.settings.after_commit
        )

    @cached_property
    def runner(self) -> Runner:
        """Runs deliveries and decides how each ends."""
        return Runner(
            self._workplace,
            self.loader,
            self.host,
            lambda: self.worker,
            self.unique,
            lambda: self.batches,
            self.chains.extended,
        )

    @cached_property
    def books(self) -> Books:
        """Records verdicts and notifies of them."""
        return Books(self._workplace, self.loader, self.unique, self.chains, lambda: self.batches, lambda: self.failed)

    @cached_property
    def run_journal(self) -> RunJournal:
        """The jobs this process is running, and those it finished last."""
        return RunJournal(self.store.journal)

    def follow_acknowledgements(self, acknowledgements: Acknowledgements) -> None:
        """Called when a worker starts in this process: ended runs stay noted until their messages are acknowledged."""
        self.run_journal = RunJournal(self.store.journal, acknowledgements)

    @cached_property
    def _callbacks(self) -> Callbacks:
        return Callbacks(self.packer, self.dispatcher, self.codec, self.keys)

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.codec, self.keys, lambda: self.worker)

    @cached_property
    def _workplace(self) -> Workplace:
        return Workplace(self._around, lambda: self._models, self.container, lambda: self.injectables)

    def _around(self, context: Mapping[str, Any]) -> Surroundings:
        return Surroundings(self, context)

    def _runs_here(self, name: str) -> SyncConnection:
        return SyncConnection(lambda: self.runner, lambda: self.books, name)

    def store_of(self, via: str | Store | None) -> Store:
        """The store an option names by URL or object; None is the default store."""
        if via is None or (self._stand_in is not None and self._stand_in.store is not None):
            return self.store
        if not isinstance(via, str):
            return via
        if via not in self._stores:
            self._stores[via] = self._open(via)
        return self._stores[via]

    def names_store(self, url: str) -> bool:
        """Whether the settings name the store at that URL, so that a message may, too."""
        settings = self.settings
        named = [one.get("url") if isinstance(one, Mapping) else one for one in settings.connections.values()]
        named += [settings.store, settings.failed, settings.batches, settings.url, *self.host.store_urls()]
        return url in named

    def connection_names(self) -> list[str]:
        """Every name `connection` knows."""
        return self._connections.names()

    def configure_connections(self, connections: Mapping[str, Any]) -> None:
        """Add or replace named connections in this process."""
        known = self.settings.connections
        self.settings = self.settings.model_copy(update={"connections": {**known, **connections}})
        self._connections.configure(connections)

    def connection(self, name: str | None = None) -> QueueConnection:
        """The connection of that name; None is the default connection."""
        return self._connections.get(name)

    def discover(self) -> None:
        """Import `<package>.jobs` of every package in `discover`, as Celery imports `tasks`."""
        for package in self.settings.discover:
            module = f"{package}.jobs"
            import_module(package)
            if find_spec(module) is not None:
                import_module(module)

    def ready(self) -> None:
        """Read the settings and make what every run needs, without connecting anywhere."""
        _ = self.store, self.failed, self.codec, self.injectables

    def adopt(self) -> int:
        """Take over what was kept before a prefix was configured; return the number of keys.

        Only for an application that had its stores to itself: the records do not show which application wrote them.
        """
        return sum(adopt() for store in self._stores_in_use() if (adopt := getattr(store, "adopt", None)) is not None)

    def migrate(self) -> list[str]:
        """Bring the schema of every store in use up to date; return the names of the steps taken."""
        return [*(step for store in self._stores_in_use() for step in store.migrate()), *self.host.migrate()]

    def _stores_in_use(self) -> list[Store]:
        stores = [self.store]
        if self._store_of_failed is not None and self._store_of_failed.label != self.store.label:
            stores.append(self._store_of_failed)
        if self._store_of_batches.label not in {store.label for store in stores}:
            stores.append(self._store_of_batches)
        return stores

    def _own_broker(self) -> QueueConnection:
        self._warn_if_implied()
        return self.host.connect(self.settings.default, {})

    def _warn_if_implied(self) -> None:
        """Warn once that no app is attached, unless a URL is configured: the app may just not be imported."""
        if self.implied and "url" not in self.settings.model_fields_set:
            self.implied = False
            logger.warning(
                "No app is attached in this process, so jobs, locks and records go to the file %s. Import the module"
                " that has Laraq(app) first or, if the file is intended, state it: queue = Laraq(), or LARAQ_URL.",
                Path(self.settings.url.removeprefix("sqlite:///")).resolve(),
            )

    def _connect(self, name: str, config: Any) -> QueueConnection:
        config = {"url": config} if isinstance(config, str) else dict(config)
        match config.get("driver"):
            case None | "celery":
                return self.host.connect(name, config)
            case "sync":
                return self._runs_here(name)
            case "null":
                return NullConnection(name)
            case "deferred":
                return DeferredConnection(self._runs_here(name))
            case "failover":
                return FailoverConnection(self.connection, name, config.get("connections", ()))
            case driver:
                raise ConfigurationError(f"Connection {name!r}: unknown driver {driver!r}.")

    def _store_of_the_app(self) -> Store:
        self._warn_if_implied()
        return self._open(self._store_url_of_the_app() or self.settings.url)

    def _open(self, url: str) -> Store:
        prefix = self.settings.prefix
        return store_at(url, self.host.prefix() if prefix is None else prefix)

    def _store_url_of_the_app(self) -> str | None:
        known = {entry.name for entry in plugins("laraq.stores")}
        return next((url for url in self.host.store_urls() if _scheme(url) in known - {"memory"}), None)

    @cached_property
    def _store_of_failed(self) -> Store | None:
        """The separate store of the failed jobs, if there is one."""
        given = self.settings.failed
        own = isinstance(given, str) and given != "null" and not given.startswith("file:")
        return self.store_of(given) if own else None

    @cached_property
    def _store_of_batches(self) -> Store:
        """The configured one; else the store if it is a database, else a database of the app; else the store.

        A cluster that has only Redis counts there: with a local file each machine would see different counts.
        """
        given = self.settings.batches
        if given is not None:
            return self.store_of(given)
        if not self.store.relational:
            known = {entry.name for entry in plugins("laraq.stores")}
            others = [self.store_of(url) for url in self.host.store_urls() if _scheme(url) in known]
            return next((store for store in others if store.relational), self.store)
        return self.store

    def _failed_jobs(self) -> FailedJobs:
        given = self.settings.failed
        if self._store_of_failed is not None:
            return self._store_of_failed.failed
        if given is None or (self._stand_in is not None and self._stand_in.store is not None):
            return self.store.failed
        if not isinstance(given, str):
            return given  # type: ignore[no-any-return]
        if given == "null":
            return NullFailedJobs()
        return FileFailedJobs(given.removeprefix("file:").removeprefix("//"))


@dataclass(frozen=True)
class StandIn:
    """What takes the place of brokers and stores in a test."""

    #: The connection of a name; it may ask for the real one.
    connect: Callable[[str, Callable[[], QueueConnection]], QueueConnection]
    #: None: the real one.
    store: Store | None = None


#: What is made of the settings, the connections and the store.
_WIRED = tuple(
    name
    for name, member in vars(Laraq).items()
    if isinstance(member, cached_property) and name not in ("settings", "keys", "codec", "injectables")
)


def store_at(url: str, namespace: str = "") -> Store:
    """The store at a URL, by the entry points of the group `laraq.stores`; in `namespace`, if it supports namespaces.

    Raises StoreNotFoundError with the nearest scheme.
    """
    known = {entry.name: entry for entry in plugins("laraq.stores")}
    scheme = _scheme(url)
    if scheme not in known:
        raise StoreNotFoundError(scheme, known)
    module, _, attribute = known[scheme].value.partition(":")
    made: Any = import_module(module)
    for name in attribute.split("."):
        made = getattr(made, name)
    knows_namespaces = namespace and "namespace" in inspect.signature(made).parameters
    store: Store = made(url, namespace=namespace) if knows_namespaces else made(url)
    return store


def _of_imported(group: str) -> tuple[Any, ...]:
    """The adapters of a group whose vendor is imported, created without the application's factories."""
    return tuple(entry.load()() for entry in plugins(group) if entry.name in sys.modules)


def _scheme(url: str) -> str:
    """The scheme of a URL: `postgresql` for `postgresql+psycopg://...`."""
    return url.partition("://")[0].partition("+")[0]


def _host_of(app: Any) -> Any:
    """The host for the app's library, by the entry points of the group `laraq.hosts`."""
    vendors = {cls.__module__.partition(".")[0] for cls in type(app).__mro__} if app is not None else {"celery"}
    hosts = {entry.name: entry for entry in plugins("laraq.hosts")}
    for vendor in vendors & hosts.keys():
        return hosts[vendor].load()
    raise ConfigurationError(f"Laraq({app!r}): expected an app of {' or '.join(sorted(hosts))}.")
