"""A change and its record: both, or neither."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from tests.control.ledgers import MemoryRecorder, by

from hanlin.control import Changes
from hanlin.domain import ForbiddenError, LedgerUnavailableError, Model, ModelName
from hanlin.store import Store


def model(name: str) -> Model:
    """Return a model to write down."""
    return Model(name=ModelName(name), task="classification", created_at=datetime.now(UTC))


class TestRecord:
    def test_says_who_did_what_through_which_request(
        self, store: Store, changes: Changes, recorder: MemoryRecorder
    ) -> None:
        """One change is one record, with the actor, the request, the address and the details."""
        with changes.record(by("alice", "r-7"), "model.created", model="情感", n=3) as details:
            store.models.add(model("reviews"))
            details["found"] = "inside the block"

        [entry] = recorder.entries
        assert (entry.kind, entry.action, entry.status) == ("change", "model.created", 200)
        assert (entry.actor, entry.subject, entry.request_id, entry.ip) == ("alice", "alice", "r-7", "127.0.0.1")
        assert entry.details == {"model": "情感", "n": 3, "found": "inside the block"}
        assert msgspec.json.decode(entry.request) == entry.details

    def test_keeps_what_the_ledger_cannot_index(self, changes: Changes, recorder: MemoryRecorder) -> None:
        """Details that are neither text, number nor list are in the record's content, not among what is looked up."""
        with changes.record(by("alice"), "model.updated", tags={"team": "a"}, score=0.5, model="reviews"):
            pass

        [entry] = recorder.entries
        assert entry.details == {"model": "reviews"}
        assert msgspec.json.decode(entry.request) == {"tags": {"team": "a"}, "score": 0.5, "model": "reviews"}

    def test_is_undone_when_the_ledger_fails(self, store: Store, changes: Changes, recorder: MemoryRecorder) -> None:
        """What cannot be recorded has not happened, and the caller hears why."""
        recorder.is_failing = True

        with pytest.raises(LedgerUnavailableError), changes.record(by("alice"), "model.created"):
            store.models.add(model("reviews"))

        assert store.models.find("reviews") is None

    def test_records_nothing_when_the_change_fails(
        self, store: Store, changes: Changes, recorder: MemoryRecorder
    ) -> None:
        """A change that raises is undone and leaves no record of success."""

        def change() -> None:
            with changes.record(by("alice"), "model.created"):
                store.models.add(model("reviews"))
                raise ValueError("half-way")

        with pytest.raises(ValueError, match="half-way"):
            change()
        assert store.models.find("reviews") is None
        assert recorder.entries == []

    def test_goes_on_after_the_ledger_came_back(self, store: Store, changes: Changes, recorder: MemoryRecorder) -> None:
        """A failure of the ledger leaves nothing locked."""
        recorder.is_failing = True
        with pytest.raises(LedgerUnavailableError), changes.record(by("alice"), "model.created"):
            store.models.add(model("reviews"))
        recorder.is_failing = False

        with changes.record(by("alice"), "model.created"):
            store.models.add(model("reviews"))

        assert store.models.get("reviews").name == "reviews"
        assert recorder.actions() == ["model.created"]


class TestRecordRefusal:
    def test_says_what_was_refused_and_why(self, changes: Changes, recorder: MemoryRecorder) -> None:
        """A refusal is a record with the status and the code that the caller got."""
        changes.record_refusal(by("mallory"), "refused POST /api/v1/keys", ForbiddenError("no", code="forbidden"))

        [entry] = recorder.entries
        assert (entry.actor, entry.action, entry.status) == ("mallory", "refused POST /api/v1/keys", 403)
        assert entry.details == {"code": "forbidden"}
