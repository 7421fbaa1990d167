"""Search across logs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.audit.ledgers import NOON, Home, entry

from hanlin.audit import Query, Record, iter_records, search
from hanlin.domain import ConflictError, InvalidInputError


@pytest.fixture
def filled(home: Home) -> Home:
    """Two logs whose records alternate in time: even numbers in gateway, odd ones in control."""
    for writer, first in (("gateway", 0), ("control", 1)):
        with home.open(writer, segment_bytes=4000) as ledger:
            for number in range(first, 40, 2):
                ledger.append_sync(numbered(number))
    return home


def numbered(number: int) -> Any:
    details = {
        "model": f"m{number % 2}",
        "version": number % 4,
        "deployment": f"d{number % 5}",
        "labels": ["负面", "正面"],
    }
    changes = {"details": details} if number % 3 else {"details": {"label": "中性"}, "kind": "change", "status": 409}
    return entry(number, workspace=f"w{number % 2}", ip=f"10.0.0.{number % 4}", **changes)


def ids(records: Any) -> list[int]:
    return [int(record.request_id.removeprefix("req_")) for record in records]


class TestOrder:
    def test_joins_logs_newest_or_oldest_first(self, filled: Home) -> None:
        """Records of all logs come in one order, by time."""
        assert ids(search(filled.root, Query()).records) == list(range(39, -1, -1))
        assert ids(search(filled.root, Query(), newest_first=False).records) == list(range(40))

    def test_within_a_log_is_by_index_whatever_the_clock(self, home: Home) -> None:
        """A clock that jumps back does not reorder a log."""
        with home.open() as ledger:
            for number, seconds in enumerate((10, 20, 5, 30)):
                ledger.append_sync(entry(number, at=NOON + timedelta(seconds=seconds)))

        assert ids(search(home.root, Query()).records) == [3, 2, 1, 0]

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize("limit", [1, 7, 20])
    def test_pages_neither_repeat_nor_skip(self, filled: Home, newest_first: bool, limit: int) -> None:
        """The cursor continues exactly after the last record, filters included."""
        seen, after = [], None
        while True:
            page = search(filled.root, Query(kind="prediction"), limit=limit, after=after, newest_first=newest_first)
            seen += ids(page.records)
            after = page.next_cursor
            if after is None:
                break

        wanted = [number for number in range(40) if number % 3]
        assert seen == (wanted[::-1] if newest_first else wanted)

    def test_pages_stay_while_records_arrive(self, home: Home) -> None:
        """What is appended between two pages does not shift them."""
        with home.open() as ledger:
            for number in range(6):
                ledger.append_sync(entry(number))
            first = search(home.root, Query(), limit=3)
            ledger.append_sync(entry(6))
            with home.open("control") as other:
                other.append_sync(entry(7))
            second = search(home.root, Query(), limit=3, after=first.next_cursor)

        assert ids(first.records) + ids(second.records) == [5, 4, 3, 2, 1, 0]

    def test_refuses_a_foreign_cursor(self, filled: Home) -> None:
        """A cursor that we did not make is an input error."""
        for cursor in ("x", "!!", "bnVsbA"):
            with pytest.raises(InvalidInputError) as caught:
                search(filled.root, Query(), after=cursor)
            assert caught.value.code == "invalid_cursor"


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "matches"),
        [
            ({"workspace": "w1"}, lambda n: n % 2 == 1),
            ({"kind": "change"}, lambda n: n % 3 == 0),
            ({"action": "predict"}, lambda n: True),
            ({"action": "nothing"}, lambda n: False),
            ({"actor": "key:abcd1234", "status": 409}, lambda n: n % 3 == 0),
            ({"subject": "customer-1"}, lambda n: n % 3 == 1),
            ({"subject": "nobody"}, lambda n: False),
            ({"ip": "10.0.0.3"}, lambda n: n % 4 == 3),
            ({"model": "m1"}, lambda n: n % 2 == 1 and n % 3),
            ({"version": 3}, lambda n: n % 4 == 3 and n % 3),
            ({"deployment": "d2"}, lambda n: n % 5 == 2 and n % 3),
            ({"label": "正面"}, lambda n: n % 3),
            ({"label": "中性"}, lambda n: n % 3 == 0),
            ({"min_latency_us": 1030}, lambda n: n >= 30),
            ({"request_id": "req_000017"}, lambda n: n == 17),
            ({"text": "第17条"}, lambda n: n == 17),
            ({"text": "BAD", "workspace": "w0"}, lambda n: n % 2 == 0),
            ({"since": NOON + timedelta(seconds=30)}, lambda n: n >= 30),
            ({"until": NOON + timedelta(seconds=5)}, lambda n: n < 5),
            ({"since": NOON + timedelta(seconds=10), "until": NOON + timedelta(seconds=12)}, lambda n: n in {10, 11}),
        ],
    )
    @pytest.mark.parametrize("newest_first", [True, False])
    def test_find_what_matches(self, filled: Home, filters: dict[str, Any], matches: Any, newest_first: bool) -> None:
        """Each filter passes exactly the records it describes."""
        page = search(filled.root, Query(**filters), keys=filled.keys, newest_first=newest_first)

        assert sorted(ids(page.records)) == [number for number in range(40) if matches(number)]

    def test_see_through_escapes(self, home: Home) -> None:
        r"""Chinese that a client sent as \uXXXX is found as Chinese."""
        with home.open() as ledger:
            ledger.append_sync(entry(request=rb'{"input":"\u670d\u52a1"}'))

        assert len(search(home.root, Query(text="服务"), keys=home.keys).records) == 1

    def test_want_times_with_a_zone(self, filled: Home) -> None:
        """A time without a zone could mean anything."""
        with pytest.raises(InvalidInputError, match="no time zone"):
            search(filled.root, Query(since=NOON.replace(tzinfo=None)))


class TestReveal:
    def test_shows_private_fields_only_when_asked(self, home: Home) -> None:
        """Without it the record has only its public part, even if private fields were searched."""
        home.fill(1)

        (hidden,) = search(home.root, Query(text="服务"), keys=home.keys).records
        (shown,) = search(home.root, Query(), keys=home.keys, reveal=True).records

        assert private(hidden) == (None, None, None, None)
        assert private(shown) == (entry().subject, entry().ip, entry().request, entry().result)
        assert shown.at == entry().at
        assert shown.details == entry().details

    def test_needs_the_keys(self, home: Home) -> None:
        """Private fields cannot be had without the ledger's keys."""
        home.fill(1)

        for query, reveal in ((Query(), True), (Query(ip="10.1.2.3"), False)):
            with pytest.raises(InvalidInputError, match="keys"):
                search(home.root, query, reveal=reveal)

    def test_shows_nothing_of_the_erased(self, home: Home) -> None:
        """Once a subject's key is gone its records have no private part; the public one and the proofs stay."""
        home.fill(4)
        path = home.keys.subjects_path("gateway")
        rows = path.read_bytes()
        path.write_bytes(bytes(96) + rows[96:])

        records = search(home.root, Query(), keys=home.keys, reveal=True, newest_first=False).records

        assert [record.subject for record in records] == [None, "customer-1", "customer-2", None]
        assert records[0].request_id == "req_000000"


class TestStreaming:
    def test_goes_through_everything(self, filled: Home) -> None:
        """An export sees every record once."""
        assert ids(iter_records(filled.root, Query())) == list(range(40))

    def test_reads_while_the_log_is_written(self, home: Home) -> None:
        """A half-written record at the end is passed over, not an error."""
        home.fill(5)
        with home.segments()[0].open("ab") as file:
            file.write(b"HLr1\x10\x00\x00\x00half")

        assert ids(search(home.root, Query()).records) == [4, 3, 2, 1, 0]
        assert ids(search(home.root, Query(), newest_first=False).records) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_stops_where_a_record_cannot_be_read(self, home: Home, newest_first: bool) -> None:
        """Damage is said, with its place, and never taken for the end of the log."""
        home.fill(5)
        (segment,) = home.segments()
        data = bytearray(segment.read_bytes())
        data[data.index(b"req_000002")] ^= 1
        segment.write_bytes(data)

        assert ids(search(home.root, Query(), newest_first=newest_first, limit=1).records) == [4 if newest_first else 0]
        with pytest.raises(ConflictError, match="damaged at record 2") as caught:
            search(home.root, Query(), newest_first=newest_first)
        assert caught.value.code == "ledger_corrupt"

    def test_of_no_ledger_is_empty(self, home: Home) -> None:
        """Nothing recorded, nothing found."""
        assert search(home.root, Query()).records == []


def private(record: Record) -> tuple[object, ...]:
    return record.subject, record.ip, record.request, record.result
