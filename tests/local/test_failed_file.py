from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from laraq.errors import StoreError
from laraq.failed.file import FileFailedJobs
from laraq.testing.suite import SharedFailedJobsSuite
from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.forking import Child


class TestFileFailedJobs(SharedFailedJobsSuite):
    @pytest.fixture
    def failed(self, tmp_path: Path) -> FileFailedJobs:
        return FileFailedJobs(tmp_path / "failed.jsonl")


@pytest.mark.parity("the file driver keeps 100 failed jobs unless told otherwise")
def test_a_hundred_records_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    failed = FileFailedJobs(tmp_path / "failed.jsonl")
    for number in range(102):
        failed.record(failure(f"job-{number}", minutes=number))
    assert failed.count() == 100
    assert failed.find("job-1") is None
    assert failed.find("job-2") is not None


def test_the_oldest_record_makes_room_however_late_it_came(tmp_path: Path) -> None:
    failed = FileFailedJobs(tmp_path / "failed.jsonl", limit=2)
    for minutes in (3, 1, 2):
        failed.record(failure(f"job-{minutes}", minutes=minutes))
    assert [job.id for job in failed.all()] == ["job-3", "job-2"]


def test_the_file_has_one_json_object_a_line_with_the_newest_first(tmp_path: Path) -> None:
    failed = FileFailedJobs(tmp_path / "failed.jsonl")
    failed.record(failure("job-1", exception="a\nb\u2028c"))
    failed.record(failure("job-2", minutes=1))
    lines = (tmp_path / "failed.jsonl").read_text().split("\n")
    assert [json.loads(line)["id"] for line in lines if line] == ["job-2", "job-1"]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    failed = FileFailedJobs(tmp_path / "storage" / "laraq" / "failed.jsonl")
    assert failed.count() == 0
    failed.record(failure())
    assert failed.find("job-1") == failure()


def test_a_folder_that_is_a_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("")
    failed = FileFailedJobs(tmp_path / "storage" / "failed.jsonl")
    with pytest.raises(StoreError, match=r"storage/failed\.jsonl cannot be read or written: .*permissions"):
        failed.record(failure())


def test_a_foreign_line_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    failed = FileFailedJobs(path)
    failed.record(failure())
    path.write_text(path.read_text() + '{"id": "x"}\n')
    with pytest.raises(StoreError, match=r"Line 2 of .*failed\.jsonl"):
        failed.all()


@pytest.mark.fault
def test_a_writer_that_is_killed_leaves_the_lock_and_the_records(tmp_path: Path) -> None:
    failed = FileFailedJobs(tmp_path / "failed.jsonl")
    failed.record(failure())
    (tmp_path / "failed.jsonl.new").write_text("half a rec")

    def die_while_changing() -> None:
        with failed._changing():
            os.kill(os.getpid(), signal.SIGKILL)

    assert Child(die_while_changing).wait() == -signal.SIGKILL
    failed.record(failure("job-2", minutes=1))
    assert [job.id for job in failed.all()] == ["job-2", "job-1"]
