"""What the server refuses, each with its HTTP status and a name that programs can tell apart."""

from __future__ import annotations

from hilum.errors import HilumError


class ServeError(HilumError):
    """A request that is not answered with what it asked for; `kind` and `status` are its class's."""

    status = 500
    kind = "failed"


class NotFoundError(ServeError):
    """There is no such film, model, class or method."""

    status, kind = 404, "not-found"


class GoneError(ServeError):
    """The film's file was not kept, or no longer."""

    status, kind = 410, "not-kept"


class TooLargeError(ServeError):
    """A body, a file in it, or what a ZIP holds is over its limit."""

    status, kind = 413, "too-large"


class BadRequestError(ServeError):
    """The request itself is wrong."""

    status, kind = 400, "bad-request"


class UnreadableError(ServeError):
    """The file is no film, or is broken."""

    status, kind = 422, "unreadable-film"


class LoginNeededError(ServeError):
    """Nobody is logged in, or the password or token is wrong."""

    status, kind = 401, "login-needed"


class ForbiddenError(ServeError):
    """The role does not allow it, or the request came from another site."""

    status, kind = 403, "forbidden"


class TooManyError(ServeError):
    """One client asks too often."""

    status, kind = 429, "too-many-requests"


class SlowClientError(ServeError):
    """The body did not arrive in time."""

    status, kind = 408, "too-slow"


class BusyError(ServeError):
    """The queue is full: come back after `RETRY_AFTER_SECONDS`."""

    status, kind = 503, "busy"


class StoreDownError(ServeError):
    """The database does not answer."""

    status, kind = 503, "store-down"


RETRY_AFTER_SECONDS = 2
