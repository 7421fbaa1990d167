"""Who may do what."""

from hanlin.auth.guard import require
from hanlin.auth.keys import Keys, caller_of, hash_key, load_secret, parse_key_id

__all__ = ["Keys", "caller_of", "hash_key", "load_secret", "parse_key_id", "require"]
