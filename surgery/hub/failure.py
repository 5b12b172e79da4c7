"""Errors of the Hub's client while writing, as our own messages.

None of the client's own text is shown: it may hold signed addresses.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from surgery.checkpoint.hub import http_error, status_of
from surgery.errors import PublishError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token that may write"
_DUPLICATE = "/lfs-files/duplicate"
_BUSY = frozenset({429, 500, 502, 503, 504})


class CopyRefusedError(PublishError):
    """The Hub does not copy a file from one repository to another."""


class HubBusyError(PublishError):
    """The connection broke or the Hub was busy: the same again may well work."""


@contextmanager
def publish_errors(label: str) -> Iterator[None]:
    """Turn the client's errors into one sentence each.

    Args:
        label: What was being done, for example `me/merge: uploading`.

    Raises:
        PublishError: For every error of the client; `HubBusyError` where trying again may help.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise PublishError(f"{label}: HF_HUB_OFFLINE forbids it. Unset it to publish.") from error
    except errors.LocalTokenNotFoundError as error:
        raise PublishError(f"{label}: no account is logged in to the Hub. {LOG_IN}.") from error
    except errors.FileDuplicationError as error:
        raise CopyRefusedError(f"{label}: the Hub does not copy these files.") from error
    except errors.HFValidationError as error:
        raise PublishError(
            f"{label}: expected namespace/name of letters, digits, '-', '_' and '.'."
        ) from error
    except (http_error(), RuntimeError, ValueError, OSError) as error:
        cause = _http_cause(error)
        if cause is None and isinstance(error, OSError):
            raise PublishError(f"{label}: {error.strerror or 'failed'}.") from error
        if cause is None:
            raise PublishError(
                f"{label}: the Hub's client stopped ({type(error).__name__})."
            ) from error
        refusal = _refusal(label, status_of(cause))
        if _DUPLICATE in _address(cause) and not isinstance(refusal, HubBusyError):
            raise CopyRefusedError(*refusal.args) from error
        raise refusal from error


def _http_cause(error: BaseException) -> BaseException | None:
    """Return the failed request behind an error, which the client may have wrapped."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, http_error()):
        cause = cause.__cause__ or cause.__context__
    return cause


def _address(error: BaseException) -> str:
    """Return the target of a refused request."""
    request = getattr(getattr(error, "response", None), "request", None)
    return str(getattr(request, "url", ""))


def _refusal(label: str, status: int | None) -> PublishError:
    """Return a sentence for a status; without a status, the connection broke."""
    if status is None:
        return HubBusyError(f"{label}: the connection to the Hub broke off. Try again.")
    if status in _BUSY:
        return HubBusyError(
            f"{label}: the Hub answered with status {status}: it is busy. Try again."
        )
    explanations = {
        400: "the Hub does not take it as it is",
        401: f"the Hub does not know the token. {LOG_IN}",
        403: f"the token may not do that. {LOG_IN} to this namespace",
        404: "there is no such repository, or the token may not see it",
        409: "it already exists, or somebody else is changing it",
        412: "somebody else changed it meanwhile. Look at it, then publish again",
        413: "the Hub finds it too large",
    }
    return PublishError(
        f"{label}: {explanations.get(status, f'the Hub answered with status {status}')}."
    )
