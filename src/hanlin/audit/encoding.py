"""
The bytes of a record, fixed for good: format 1. ``tests/golden/ledger_leaf.json`` shows one.

The leaf is public and hashed into the tree: JSON in the canonical form of RFC 8785 (sorted names, no spaces, UTF-8;
numbers are integers only). It commits to each private field by SHA-256(salt ‖ value):

    seed   16 random bytes, one per record, kept only inside the sealed part
    salt   SHA-256(seed ‖ field name)[:16], so that one field can be opened without the others

The sealed part lies beside the leaf and can be destroyed without touching a single proof:

    ┌────────┬─────────┬─────────┬──────────────────────────────────────────────────────────┐
    │ 1      │ key id  │ nonce   │ AES-256-GCM of msgpack [seed, subject, ip, request, result] │
    │ 1 byte │ 16      │ 12      │ under the subject's key; format and key id authenticated │
    └────────┴─────────┴─────────┴──────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag

from hanlin.audit.entry import Entry
from hanlin.audit.subjects import KEY_ID_BYTES, SubjectKey
from hanlin.domain import InvalidInputError, TooLargeError

FORMAT: Final = 1
SEED_BYTES = 16
SALT_BYTES = 16
NONCE_BYTES = 12
SEALED_HEAD_BYTES = 1 + KEY_ID_BYTES
LARGEST_INTEGER = (1 << 53) - 1  # RFC 8785 numbers are IEEE doubles; beyond this they would lose digits
LARGEST_RECORD_BYTES = 64 << 20
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SEQUENCE_MARK = b'"sequence":0,'


class Commitments(msgspec.Struct, frozen=True):
    """SHA-256(salt ‖ value) of each private field, hexadecimal."""

    ip: str
    request: str
    result: str
    subject: str


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public part of a record; fields are declared in the order of their names, as RFC 8785 wants them."""

    action: str
    actor: str
    at_us: int
    commitments: Commitments
    compute_us: int
    details: dict[str, Any]
    format: int
    kind: str
    latency_us: int
    queue_us: int
    request_id: str
    sequence: int
    status: int
    workspace: str
    writer: str

    @property
    def at(self) -> datetime:
        """When it happened, by the clock of the writer."""
        return EPOCH + self.at_us * MICROSECOND


class Private(msgspec.Struct, frozen=True, array_like=True):
    """The private part of a record, in the clear."""

    seed: bytes
    subject: str
    ip: str
    request: bytes
    result: bytes

    def commitments(self) -> Commitments:
        """Return what the leaf has to say about these values."""
        seed = self.seed
        return Commitments(
            _commitment(seed, b"ip", self.ip.encode()),
            _commitment(seed, b"request", self.request),
            _commitment(seed, b"result", self.result),
            _commitment(seed, b"subject", self.subject.encode()),
        )


class Sealed(msgspec.Struct, frozen=True):
    """An entry made ready to be written; only its place in the log is still open."""

    at_us: int
    before: bytes
    after: bytes
    private: bytes

    def leaf(self, sequence: int) -> bytes:
        """Return the leaf for place *sequence*."""
        return b'%b"sequence":%d,%b' % (self.before, sequence, self.after)


_leaves = msgspec.json.Encoder(order="deterministic")
_leaf_decoder = msgspec.json.Decoder(Leaf)
_privates = msgspec.msgpack.Encoder()
_private_decoder = msgspec.msgpack.Decoder(Private)


def seal(
    entry: Entry,
    writer: str,
    key_for: Callable[[str], SubjectKey],
    *,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Sealed:
    """
    Return *entry* with its commitments computed and its private part encrypted under its subject's key.

    Raises InvalidInputError for what cannot be written canonically, TooLargeError past 64 MiB.
    """
    if entry.at.tzinfo is None:
        raise _unfit("at", "has no time zone")
    _check_details(entry.details, "details")
    try:
        return _seal(entry, writer, key_for(entry.subject), entropy(SEED_BYTES + NONCE_BYTES))
    except UnicodeEncodeError as error:
        raise _unfit("text", "holds half of a surrogate pair") from error
    except (OverflowError, TypeError) as error:
        raise _unfit("entry", str(error)) from error


def _seal(entry: Entry, writer: str, key: SubjectKey, random: bytes) -> Sealed:
    private = Private(random[:SEED_BYTES], entry.subject, entry.ip, entry.request, entry.result)
    at_us = (entry.at - EPOCH) // MICROSECOND
    leaf = Leaf(
        action=entry.action,
        actor=entry.actor,
        at_us=at_us,
        commitments=private.commitments(),
        compute_us=entry.compute_us,
        details=entry.details,  # type: ignore[arg-type]  # only encoded, never kept
        format=FORMAT,
        kind=entry.kind,
        latency_us=entry.latency_us,
        queue_us=entry.queue_us,
        request_id=entry.request_id,
        sequence=0,
        status=entry.status,
        workspace=entry.workspace,
        writer=writer,
    )
    # The last match is the field itself: what follows it are texts, and inside a text quotes are escaped.
    before, _, after = _leaves.encode(leaf).rpartition(SEQUENCE_MARK)
    nonce, head = random[SEED_BYTES:], bytes((FORMAT,)) + key.id
    sealed = head + nonce + key.cipher.encrypt(nonce, _privates.encode(private), head)
    if len(before) + len(after) + len(sealed) > LARGEST_RECORD_BYTES:
        raise TooLargeError(f"a record of {len(sealed)} bytes is past the limit of {LARGEST_RECORD_BYTES}")
    return Sealed(at_us, before, after, sealed)


def parse_leaf(leaf: bytes) -> Leaf:
    """Return the decoded leaf; raises ValueError that says what is wrong with it."""
    try:
        decoded = _leaf_decoder.decode(leaf)
    except msgspec.DecodeError as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if decoded.format != FORMAT:
        raise ValueError(f"its format is {decoded.format}, known is {FORMAT}")
    return decoded


def key_id_of(sealed: bytes) -> bytes:
    """Return the id of the key a private part is encrypted under; raises ValueError for an unknown format."""
    if len(sealed) < SEALED_HEAD_BYTES + NONCE_BYTES or sealed[0] != FORMAT:
        raise ValueError("its private part has an unknown format")
    return sealed[1:SEALED_HEAD_BYTES]


def unseal(sealed: bytes, key: SubjectKey) -> Private:
    """Return the private part in the clear; raises ValueError when it was changed or the key is another one."""
    head, nonce = sealed[:SEALED_HEAD_BYTES], sealed[SEALED_HEAD_BYTES : SEALED_HEAD_BYTES + NONCE_BYTES]
    try:
        return _private_decoder.decode(key.cipher.decrypt(nonce, sealed[SEALED_HEAD_BYTES + NONCE_BYTES :], head))
    except InvalidTag as error:
        raise ValueError("its private part does not decrypt") from error


def _commitment(seed: bytes, name: bytes, value: bytes) -> str:
    salt = hashlib.sha256(seed + name).digest()[:SALT_BYTES]
    return hashlib.sha256(salt + value).hexdigest()


def _check_details(value: object, name: str) -> None:
    """Raise InvalidInputError for anything that RFC 8785 would write differently than we do."""
    if isinstance(value, str | bool | None):
        return
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise _unfit(name, "is an integer of more than 53 bits")
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check_details(item, name)
        return
    if not isinstance(value, Mapping):
        raise _unfit(name, f"is a {type(value).__name__}")
    _check_mapping(value, name)


def _check_mapping(value: Mapping[Any, object], name: str) -> None:
    for key, item in value.items():
        if not isinstance(key, str) or not key.isascii():
            raise _unfit(name, f"has a name that is not ASCII: {key!r}")
        _check_details(item, f"{name}.{key}")


def _unfit(name: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name} {what} and cannot be recorded",
        code="ledger_entry_invalid",
        hint="aware times; texts, booleans, integers of at most 53 bits, lists, mappings with ASCII names",
    )
