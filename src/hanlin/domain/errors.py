"""
Everything that can go wrong, as a caller sees it:

* PlatformError
  - InvalidInputError             400
  - UnauthenticatedError          401
  - ForbiddenError                403
  - NotFoundError                 404
  - MethodNotAllowedError         405
  - ConflictError                 409
    · IllegalMoveError
  - PreconditionFailedError       412
  - TooLargeError                 413
  - UnprocessableError            422
  - RateLimitedError              429 (retryable)
  - InternalError                 500
  - UnavailableError              503 (retryable)
    · OverloadedError
    · LedgerUnavailableError
  - DeadlineExceededError         504 (retryable)
  - StorageFullError              507

The class decides how a dialect renders the error; the code names the case and never changes.
"""

from __future__ import annotations

from typing import ClassVar


class PlatformError(Exception):
    """
    A failure that a caller can understand and act on.

    *message* says what was found, *hint* what would be right, *code* (snake_case) is stable and part of the API.
    *request_id* is there when another process reported the failure: it leads to that process's log.
    """

    code: str = "internal_error"
    status: ClassVar[int] = 500
    is_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        param: str | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint
        self.param = param
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInputError(PlatformError):
    """What was sent or configured cannot be used as it is."""

    code = "invalid_input"
    status = 400


class UnauthenticatedError(PlatformError):
    """No usable credential came with the call."""

    code = "invalid_api_key"
    status = 401


class ForbiddenError(PlatformError):
    """The caller is known but may not do this."""

    code = "forbidden"
    status = 403


class NotFoundError(PlatformError):
    """The thing that was named does not exist, or not for this caller."""

    code = "not_found"
    status = 404


class MethodNotAllowedError(PlatformError):
    """The path exists, and something else can be done with it."""

    code = "method_not_allowed"
    status = 405


class ConflictError(PlatformError):
    """The call does not fit the state the thing is in."""

    code = "conflict"
    status = 409


class IllegalMoveError(ConflictError):
    """A state was asked for that cannot follow the present one."""

    code = "illegal_move"

    def __init__(self, subject: str, found: str, wanted: str) -> None:
        super().__init__(f"{subject} is {found} and cannot become {wanted}")


class PreconditionFailedError(PlatformError):
    """The thing changed since the caller read it."""

    code = "precondition_failed"
    status = 412


class TooLargeError(PlatformError):
    """A body, text or list is past a limit; the message says the limit and what came."""

    code = "too_large"
    status = 413


class UnprocessableError(PlatformError):
    """Well-formed, but it contradicts itself or an earlier call."""

    code = "unprocessable"
    status = 422


class RateLimitedError(PlatformError):
    """The caller's limit is used up for now."""

    code = "rate_limited"
    status = 429
    is_retryable = True


class InternalError(PlatformError):
    """Our own fault; the request id leads to the log."""


class UnavailableError(PlatformError):
    """The part that is needed does not answer at the moment."""

    code = "unavailable"
    status = 503
    is_retryable = True


class OverloadedError(UnavailableError):
    """There is no room in the queue; nothing was started."""

    code = "overloaded"


class LedgerUnavailableError(UnavailableError):
    """The record could not be made durable, so the answer is withheld."""

    code = "ledger_unavailable"


class DeadlineExceededError(PlatformError):
    """The answer would have come too late."""

    code = "deadline_exceeded"
    status = 504
    is_retryable = True


class StorageFullError(PlatformError):
    """The disk has no room for what has to be written; nothing was lost."""

    code = "storage_full"
    status = 507
