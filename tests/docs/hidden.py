"""What the blocks of the documents take for granted: the reader's own classes and functions, and servers.

Each entry is run before the block that has its text; what it defines stays, as the blocks' own names do.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.docs.blocks import Block

#: Run first, in the module in which the blocks of a document are run one after the other.
OPENING = """
from unittest.mock import MagicMock
from celery import Celery
from laraq import Job, Laraq
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

def another_app():
    return Celery("shop", broker=BROKER)

class Base(DeclarativeBase): ...

class Podcast(Base):
    __tablename__ = "podcasts"
    id: Mapped[int] = mapped_column(primary_key=True)
    length: Mapped[int] = mapped_column(default=0)

engine = create_engine("sqlite:///shop.db")
Base.metadata.create_all(engine)

class Mailer:
    def send(self, user_id): ...
"""

HIDDEN: Sequence[tuple[str, str, str]] = (
    ("README.md", "class ImportFile", "def tell_support(error): ...\ndef count_rows(path): return 1000\n"),
    (
        "README.md",
        "batch.wait(",
        "from laraq import Batch\nBatch.wait = lambda batch, **options: None  # no worker runs\n",
    ),
    ("README.md", "queue = Laraq(app, sessions=", "import shop; shop.app = another_app()\n"),
    ("README.md", "session.add(podcast)", "podcast = Podcast()\n"),
    ("docs/guide.md", "class Crawl", "def pages_of(site): return []\ndef visit(page): ...\n"),
    ("docs/guide.md", "ChargeOrder.dispatch_if(order.is_open", "order = MagicMock(is_open=True)\n"),
    (
        "docs/guide.md",
        "ShipOrder(order.id)",
        "app = another_app()\norder = Podcast()\nclass ShipOrder(Job):\n    number: int\n    def handle(self): ...\n",
    ),
    ("docs/guide.md", "connections={\n", "app = another_app()\n"),
    ("docs/guide.md", "class Import(Job)", "def is_ready(url): return True\n"),
    ("docs/guide.md", "FailOnException([PaymentRefused])", "class PaymentRefused(Exception): ...\n"),
    (
        "docs/guide.md",
        ".through([",
        "from laraq import Limit, RateLimiter\nRateLimiter.for_('bank', lambda job: Limit.per_minute(9))\n",
    ),
    ("docs/guide.md", "RateLimiter.attempt(", "user = 7\ndef send_sms(): ...\n"),
    ("docs/guide.md", "throttle(", "def call(): ...\ndef make(): ...\ndef otherwise(): ...\n"),
    (
        "docs/guide.md",
        'Queue.size("mail:high")',
        "q = 'high'\nqueue = Laraq(another_app(), connections={'mail': {'url': BROKER}}); queue.__enter__()\n",
    ),
    ("docs/guide.md", "Queue.exception_occurred(f)", "def f(event): ...\n"),
    ("docs/guide.md", "Failed.retry([id, other])", "id = other = 'none'\n"),
    (
        "docs/guide.md",
        "queue.container.instance(Settings",
        "settings = 7\nclass Settings: ...\nclass Database: ...\nclass Client: ...\nclass Repository: ...\n"
        "class SqlRepository(Repository): ...\ndef open_database(): yield\ndef make_client(): ...\n",
    ),
    (
        "docs/guide.md",
        "SvcsResolver(registry)",
        "import svcs\nfrom dishka import Provider, make_async_container, make_container\n"
        "registry, provider = svcs.Registry(), Provider()\n",
    ),
    (
        "docs/guide.md",
        "ProcessPodcast.dispatch(podcast)",
        "app = another_app()\nfrom sqlalchemy.orm import Session\nwith Session(engine, expire_on_commit=False) as s:\n"
        "    podcast = Podcast(); s.add(podcast); s.commit()\n",
    ),
    (
        "docs/guide.md",
        "closure(rebuild_index)",
        "app = another_app()\napp.conf.laraq_keys = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']\n"
        "queue = Laraq(app); queue.__enter__()\ndef rebuild_index(): ...\ndef on_error(error): ...\n",
    ),
    ("docs/guide.md", "register(their_package.Timed)", "class their_package:\n    Timed = Timed\n"),
    (
        "docs/guide.md",
        'os.environ["SHOP_KEY"]',
        "import os\nos.environ['SHOP_KEY'] = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='\n",
    ),
)

#: Blocks that show an error at their end.
RAISING = {"README.md": {'ChargeOrder.dispatch("seven")': "InvalidJobError"}}


def before(block: Block) -> str:
    """What is run before a block."""
    return "".join(code for document, text, code in HIDDEN if document == block.document and text in block.source)


def raised_by(block: Block) -> str | None:
    """The name of the error that a block shows; None for most."""
    return next((error for text, error in RAISING.get(block.document, {}).items() if text in block.source), None)
