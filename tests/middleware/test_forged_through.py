"""`through` of a message makes nothing that the application did not register, and with keys did not sign."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Bus, Job, Laraq
from laraq.errors import InvalidJobError, TamperedPayloadError
from laraq.limits.limits import Limit, RateLimiter
from laraq.messages.delivery import Delivery, Done, Fail, Verdict
from laraq.messages.payload import Payload
from laraq.middleware import FailOnException, RateLimitedWithRedis
from laraq.middleware.travelling import pack, unpack
from tests.middleware.travellers import Greets, Named, Plain, Sensitive, log
from tests.support.line import Line


class Breaks(Job):
    def handle(self) -> None:
        raise ValueError


@pytest.fixture
def queue() -> Iterator[Laraq]:
    log.clear()
    keys = [Fernet.generate_key().decode()]
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://", keys=keys) as queue:
        yield queue


@pytest.fixture
def keyless() -> Iterator[Laraq]:
    log.clear()
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


def delivered(queue: Laraq, payload: Payload) -> Verdict:
    payload = Payload.from_dict(json.loads(json.dumps(payload.to_dict())))
    return queue.runner.run(Delivery(payload, 1, "default", "default")).verdict


@pytest.mark.parametrize("signature", [None, "", "AAAA"])
def test_with_keys_it_must_be_signed(queue: Laraq, signature: str | None) -> None:
    forged = {"class": f"{Plain.__module__}.Plain", "state": {"name": "forged", "more": {}}}
    through = (forged if signature is None else {**forged, "signature": signature},)
    verdict = delivered(queue, queue.packer.payload(Greets(), "1").with_(through=through))
    assert isinstance(verdict, Fail)
    assert type(verdict.error) is TamperedPayloadError
    assert log == []


def test_a_signature_is_of_all_of_it_and_of_its_message_alone(queue: Laraq) -> None:
    payload = queue.packer.payload(Greets().through([Plain("a"), Plain("b", n=1)]), "1")
    first, second = payload.through
    assert delivered(queue, payload) == Done("ran")
    log.clear()
    changed = {**second, "state": {"name": "b", "more": {"n": 2}}}
    for other in (
        payload.with_(id="2"),
        payload.with_(job="laraq.batch.ChainedBatch", fields={"described": {}}),
        payload.with_(through=(first,)),
        payload.with_(through=({**second, "signature": first["signature"]}, first)),
        payload.with_(through=(first, changed)),
    ):
        verdict = delivered(queue, other)
        assert isinstance(verdict, Fail)
        assert type(verdict.error) is TamperedPayloadError
    assert log == []


def test_what_was_encrypted_for_another_message_is_refused(queue: Laraq) -> None:
    through = queue.packer.payload(Sensitive().through([Plain("a")]), "1").through
    for job in (Sensitive(), Greets()):
        verdict = delivered(queue, queue.packer.payload(job, "2").with_(through=through))
        assert isinstance(verdict, Fail)
        assert type(verdict.error) is TamperedPayloadError


def test_unsigned_ones_of_earlier_versions_are_read_when_the_setting_says_so(queue: Laraq) -> None:
    app, keys = Celery("t", broker="memory://", set_as_current=False), queue.settings.keys
    with Laraq(app, store="memory://", keys=keys, accept_unsigned="all") as accepting:
        payload = accepting.packer.payload(Greets().through([Plain("a")]), "1")
        unsigned = [{name: value for name, value in one.items() if name != "signature"} for one in payload.through]
        assert delivered(accepting, payload.with_(through=tuple(unsigned))) == Done("ran")
        assert isinstance(delivered(accepting, payload.with_(id="2")), Fail), "a signature is checked all the same"


def test_a_callback_brings_it_under_the_id_it_is_sent_under() -> None:
    log.clear()
    with Line.attached(keys=[Fernet.generate_key().decode()]) as line:
        catchers = [Greets().through([Plain("signed")]), Sensitive().through([Plain("encrypted")])]
        Bus.batch([Breaks()]).catch(catchers[0]).catch(catchers[1]).dispatch()
        line.work()
        assert [failed.job for failed in line.laraq.failed.all()] == [Breaks.job_name()]
    assert {"signed", "encrypted"} <= {entry[0] for entry in log}


def test_only_the_settings_name_stores_to_messages_that_are_not_signed(keyless: Laraq, tmp_path: Path) -> None:
    RateLimiter.for_("r", lambda job: Limit(1, 60))
    file = tmp_path / "made.db"
    elsewhere = RateLimitedWithRedis("r").connection(f"sqlite:///{file}")
    with pytest.raises(InvalidJobError, match="a store that no setting names"):
        Greets().through([elsewhere]).dispatch()
    name = f"{RateLimitedWithRedis.__module__}.RateLimitedWithRedis"
    for state in ({"name": "r", "_connection": f"sqlite:///{file}"}, {"name": "r", "_connection": ["x"]}):
        payload = keyless.packer.payload(Greets(), "1").with_(through=({"class": name, "state": state},))
        verdict = delivered(keyless, payload)
        assert isinstance(verdict, Fail)
        assert "a store that no setting names" in str(verdict.error)
    assert not file.exists()
    payload = keyless.packer.payload(Greets().through([RateLimitedWithRedis("r").connection("memory://")]), "1")
    assert delivered(keyless, payload) == Done("ran")


def test_types_of_errors_are_told_by_their_names_where_they_are_not_imported(
    queue: Laraq, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ModuleType("late")
    late.Error = type("Error", (Exception,), {"__module__": "late"})  # type: ignore[attr-defined] # made here
    monkeypatch.setitem(sys.modules, "late", late)
    packed = pack([FailOnException([late.Error, KeyError])], Greets(), queue.keys)
    monkeypatch.delitem(sys.modules, "late")
    (again,) = unpack(packed, queue.keys)
    assert "late" not in sys.modules
    assert [again._matches(one, None) for one in (late.Error(), KeyError(), OSError())] == [True, True, False]
    assert vars(unpack(pack([again], Greets(), queue.keys), queue.keys)[0]) == vars(again)


def test_of_an_encrypted_job_no_reason_quotes_a_value(queue: Laraq) -> None:
    with pytest.raises(InvalidJobError, match="Plain'> cannot travel") as refused:
        Sensitive().through([Plain("4111", thing=object())]).dispatch()
    assert "4111" not in str(refused.value)
    state = [{"class": f"{Named.__module__}.Named", "state": {"name": ["4111"]}}]
    payload = queue.packer.payload(Sensitive(), "1")
    token = queue.keys.seal(state, f"through of {payload}")
    verdict = delivered(queue, payload.with_(through=({"encrypted": token},)))
    assert isinstance(verdict, Fail)
    assert "4111" not in "".join(traceback.format_exception(verdict.error))
