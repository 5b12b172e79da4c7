"""What the Hub's client raises when something is written, in sentences of ours.

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
def publish_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into one sentence each.

    Args:
        what: What was being done, for example `me/merge: uploading`.

    Raises:
        PublishError: For every error of the client; `HubBusyError` where trying again may help.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise PublishError(f"{what}: HF_HUB_OFFLINE forbids it. Unset it to publish.") from error
    except errors.LocalTokenNotFoundError as error:
        raise PublishError(f"{what}: nobody is logged in to the Hub. {LOG_IN}.") from error
    except errors.FileDuplicationError as error:
        raise CopyRefusedError(f"{what}: the Hub does not copy these files.") from error
    except errors.HFValidationError as error:
        raise PublishError(
            f"{what}: expected namespace/name of letters, digits, '-', '_' and '.'."
        ) from error
    except (http_error(), RuntimeError, ValueError, OSError) as error:
        found = _http_cause(error)
        if found is None and isinstance(error, OSError):
            raise PublishError(f"{what}: {error.strerror or 'failed'}.") from error
        if found is None:
            raise PublishError(
                f"{what}: the Hub's client gave up ({type(error).__name__})."
            ) from error
        refusal = _refusal(what, status_of(found))
        if _DUPLICATE in _address(found) and not isinstance(refusal, HubBusyError):
            raise CopyRefusedError(*refusal.args) from error
        raise refusal from error


def _http_cause(error: BaseException) -> BaseException | None:
    """The failed request behind an error, which the client may have wrapped in others."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, http_error()):
        found = found.__cause__ or found.__context__
    return found


def _address(error: BaseException) -> str:
    """Where a request went that was answered with a refusal."""
    request = getattr(getattr(error, "response", None), "request", None)
    return str(getattr(request, "url", ""))


def _refusal(what: str, status: int | None) -> PublishError:
    """A sentence for a status; for none, the connection broke."""
    if status is None:
        return HubBusyError(f"{what}: the connection to the Hub broke off. Try again.")
    if status in _BUSY:
        return HubBusyError(
            f"{what}: the Hub answered with status {status}: it is busy. Try again."
        )
    told = {
        400: "the Hub does not take it as it is",
        401: f"the Hub does not know the token. {LOG_IN}",
        403: f"the token may not do that. {LOG_IN} to this namespace",
        404: "there is no such repository, or the token may not see it",
        409: "it is there already, or somebody else is changing it",
        412: "somebody else changed it meanwhile. Look at it, then publish again",
        413: "the Hub finds it too large",
    }
    return PublishError(f"{what}: {told.get(status, f'the Hub answered with status {status}')}.")
