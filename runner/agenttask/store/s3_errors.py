"""Pure: what S3 and botocore can raise → what it means to us."""

from __future__ import annotations

from typing import Final

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from agenttask.errors import Absent, Denied, Exists, Misconfigured, NotFound, StoreError, Unavailable

_BY_TYPE: Final[tuple[tuple[type[Exception], type[StoreError]], ...]] = (
    (aws.NoCredentialsError, Denied),
    (aws.PartialCredentialsError, Denied),
    (aws.NoAuthTokenError, Denied),
    (aws.TokenRetrievalError, Denied),
    (aws.CredentialRetrievalError, Unavailable),  # the instance's or the cluster's token service did not answer
    (aws.MetadataRetrievalError, Unavailable),
    (aws.HTTPClientError, Unavailable),  # every failure to connect, send or receive
    (aws.ConnectionError, Unavailable),
    (HTTPError, Unavailable),  # a body cut while it is read comes as urllib3 raised it
    (aws.IncompleteReadError, Unavailable),
    (ResponseParserError, Unavailable),  # a cut listing, or the error page of something in between
    (aws.BotoCoreError, Misconfigured),
    (ValueError, Misconfigured),  # botocore says so of an endpoint that is no URL
)
"""First match wins: most of these are kinds of `BotoCoreError`."""

_BY_CODE: Final[dict[str, type[StoreError]]] = {
    "NoSuchBucket": NotFound,
    "NoSuchKey": Absent,
    "XAdminUserNotFound": Denied,  # versitygw's word for an unknown access key, with status 404
    # Expired or half-refreshed credentials come as 400.
    "ExpiredToken": Denied,
    "ExpiredTokenException": Denied,
    "InvalidIdentityToken": Denied,
    "InvalidToken": Denied,
    "TokenRefreshRequired": Denied,
    # The request was damaged or cut on its way: also 400.
    "BadDigest": Unavailable,
    "IncompleteBody": Unavailable,
    "RequestTimeout": Unavailable,
    "XAmzContentSHA256Mismatch": Unavailable,
}

_BY_STATUS: Final[dict[int, type[StoreError]]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: Unavailable,
    409: Unavailable,  # another conditional put to this key is under way; the next try learns its outcome
    412: Exists,
    429: Unavailable,
    501: Misconfigured,
}


def translated(error: Exception, *, bucket: str) -> StoreError | None:
    """The store error this one stands for, or None for a defect. `bucket` is named where it is to blame."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, aws.ClientError):
        return _answered(error, bucket=bucket)
    if isinstance(error, aws.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Misconfigured(str(error))
    if isinstance(error, aws.HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError):
        # Its text quotes the header, and with it the key.
        return Denied("the access key or the session token has characters that no HTTP header can carry")
    for kind, meaning in _BY_TYPE:
        if isinstance(error, kind):
            return meaning(str(error))
    return None


def _answered(error: aws.ClientError, *, bucket: str) -> StoreError:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    beyond = Unavailable if status > 501 or status == 500 else Misconfigured
    meaning = _BY_CODE.get(code) or _BY_STATUS.get(status, beyond)
    said = f"{error.operation_name} was answered {status} {code}: {answer.get('Error', {}).get('Message', '')}"
    return meaning(f"bucket {bucket} does not exist: {said}" if meaning is NotFound else said)
