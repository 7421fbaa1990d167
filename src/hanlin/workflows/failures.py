"""What became of work that went wrong, as plain data: the only way from an exception to a task's error."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hanlin.domain import InternalError, PlatformError, StorageFullError

T = TypeVar("T")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why work failed: for people (message, hint), for programs (code), and whether another try may help."""

    code: str
    message: str
    hint: str = ""
    param: str | None = None
    is_retryable: bool = False
    trace: str = ""  # for the task's log only

    def as_error(self) -> Mapping[str, Any]:
        """Return what a task keeps as its error."""
        error = {"code": self.code, "message": self.message, "hint": self.hint}
        return error | ({"param": self.param} if self.param else {})


def guarded(work: Callable[[], T]) -> T | Failure:
    """
    Return what *work* returns, or a Failure for whatever it raised.

    A PlatformError keeps its code, message and hint; a full disk becomes ``storage_full``; anything else is
    ``internal_error``, with the traceback for the log and nothing of it in the message.
    """
    try:
        return work()
    except PlatformError as error:
        return _failure(error)
    except Exception as error:  # noqa: BLE001 - the task runner: whatever a task raises ends that task only
        return _failure(_platform_error(error), trace=traceback.format_exc(), cause=error)


def _platform_error(error: Exception) -> PlatformError:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return StorageFullError("the disk is full", hint="free some space, then retry the task")
    return InternalError(f"the task failed with {type(error).__name__}", hint="the task's log has the details")


def _failure(error: PlatformError, *, trace: str = "", cause: Exception | None = None) -> Failure:
    return Failure(
        code=error.code,
        message=error.message,
        hint=error.hint,
        param=error.param,
        is_retryable=error.is_retryable or isinstance(cause, (ConnectionError, TimeoutError)),
        trace=trace,
    )
