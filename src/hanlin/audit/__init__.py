"""
The ledger: an account of every prediction and every change that cannot be altered unnoticed.

>>> from pathlib import Path; from tempfile import mkdtemp; home = Path(mkdtemp())
>>> keys = LedgerKeys.load(home / "secrets")
>>> with Ledger.open(home / "ledger", "gateway", keys=keys) as ledger:
...     receipt = ledger.append_sync(Entry(kind="prediction", action="predict", actor="key:demo", request=b"..."))
>>> receipt.index, verify(home / "ledger", keys).is_intact
(0, True)
"""

from hanlin.audit.checkpoints import Checkpoint, verifier_key
from hanlin.audit.disk import Disk
from hanlin.audit.entry import Detail, Entry, Receipt, Record
from hanlin.audit.keys import LedgerKeys
from hanlin.audit.ledger import Commit, Ledger
from hanlin.audit.pages import SearchPage, iter_records, search
from hanlin.audit.proofs import consistency_proof, inclusion_proof, verify_consistency, verify_inclusion
from hanlin.audit.query import Query
from hanlin.audit.tree import hash_leaf, root_of
from hanlin.audit.verification import LogReport, VerifyReport, verify

__all__ = [
    "Checkpoint",
    "Commit",
    "Detail",
    "Disk",
    "Entry",
    "Ledger",
    "LedgerKeys",
    "LogReport",
    "Query",
    "Receipt",
    "Record",
    "SearchPage",
    "VerifyReport",
    "consistency_proof",
    "hash_leaf",
    "inclusion_proof",
    "iter_records",
    "root_of",
    "search",
    "verifier_key",
    "verify",
    "verify_consistency",
    "verify_inclusion",
]
