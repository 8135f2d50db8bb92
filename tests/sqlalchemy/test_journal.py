from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, text

from laraq.testing.suite import SharedJournalSuite
from laraq.testing.suite.journal import running
from laraq_sqlalchemy import SqlStore
from laraq_sqlalchemy.schema.tables import claims
from laraq_sqlalchemy.store.journal import SqlJournal
from tests.sqlalchemy.module_store import SERVERS, emptied, module_store


@pytest.fixture(scope="module", params=SERVERS)
def shared_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    yield from module_store(request)


class TestSqlJournal(SharedJournalSuite):
    @pytest.fixture
    def journal(self, shared_store: SqlStore) -> SqlJournal:
        return emptied(shared_store).journal


@pytest.mark.parametrize("shared_store", ["postgres"], indirect=True)
def test_writes_to_postgresql_are_committed_asynchronously_and_nothing_else_is(shared_store: SqlStore) -> None:
    store = emptied(shared_store)
    trigger = text("""
        CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.entries := json_build_array(json_build_array(current_setting('synchronous_commit'), 1, 'done'));
            RETURN NEW;
        END $$;
        CREATE TRIGGER note BEFORE INSERT ON laraq_journal FOR EACH ROW EXECUTE FUNCTION pg_temp.note()
    """)
    store.database.write(lambda connection: connection.execute(trigger))
    store.journal.write("host:1", [running("job-1")])
    assert store.journal.find("off") is not None
    now = store.database.read(lambda connection: connection.scalar(text("SHOW synchronous_commit")))
    assert now == "on"
    store.database.write(lambda connection: connection.execute(text("DROP TRIGGER note ON laraq_journal")))


def test_claims_older_than_a_day_are_dropped_however_many(
    shared_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laraq_sqlalchemy.store.journal.PAGE", 10)
    store = emptied(shared_store)
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    rows = [{"run_key": f"old-{number}", "attempt": 1, "claimed_at": two_days_ago} for number in range(25)]
    store.database.write(lambda connection: connection.execute(insert(claims), rows))
    assert store.journal.claim("fresh", 1)
    store.journal.prune(timedelta(days=7))
    left = store.database.read(lambda connection: connection.scalars(select(claims.c.run_key)).all())
    assert "fresh" in left
    assert not [key for key in left if key.startswith("old-")]
