"""Pure: what S3 and botocore can raise → what it means to us."""

from __future__ import annotations

from typing import Final

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from agenttask.errors import Absent, Denied, Exists, Full, Misconfigured, NotFound, StoreError, Unavailable

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
    # No space: MinIO and Ceph have a word for it, some with status 403.
    "QuotaExceeded": Full,
    "XMinioAdminBucketQuotaExceeded": Full,
    "XMinioStorageFull": Full,
    # The key service is asked on each put.
    "KMS.ThrottlingException": Unavailable,
    "ThrottlingException": Unavailable,
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
    507: Full,
}

_ADVICE: Final[dict[type[StoreError], str]] = {
    Denied: "check the keys, and that they may list the bucket {bucket} and get, put and delete objects in it",
    NotFound: "create the bucket {bucket}, or correct its name or the endpoint",
    Full: "make room in the store, or raise its quota",
}
_UNTRUSTED: Final = ("CERTIFICATE_VERIFY_FAILED", "doesn't match")  # the latter of a host name, from urllib3
_NO_CONDITIONS: Final = "the server has no conditional writes (If-None-Match), which the log needs: use another"


def translated(error: Exception, *, bucket: str) -> StoreError | None:
    """The store error this one stands for, or None for a defect. `bucket` is named where it is to blame."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, aws.ClientError):
        return _answered(error, bucket=bucket)
    if isinstance(error, aws.SSLError) and any(word in str(error) for word in _UNTRUSTED):
        return Misconfigured(f"{error}; give the certificates that vouch for the server (caConfigMapRef)")
    if isinstance(error, aws.HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError):
        # Its text quotes the header, and with it the key.
        return Denied("the access key or the session token has characters that no HTTP header can carry")
    for kind, meaning in _BY_TYPE:
        if isinstance(error, kind):
            return _advised(meaning, str(error), bucket=bucket)
    return None


def _answered(error: aws.ClientError, *, bucket: str) -> StoreError:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    beyond = Unavailable if status > 501 or status == 500 else Misconfigured
    meaning = _BY_CODE.get(code) or _BY_STATUS.get(status, beyond)
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if status == 404 and not {"content-length", "transfer-encoding"} & headers.keys():
        return Unavailable(f"the answer to {error.operation_name} was cut in its headers, before it said why")
    said = f"{error.operation_name} was answered {status} {code}: {answer.get('Error', {}).get('Message', '')}"
    if status == 501 and error.operation_name == "PutObject":
        return Misconfigured(f"{said}; {_NO_CONDITIONS}")
    if meaning is NotFound:
        said = f"bucket {bucket} does not exist: {said}"
    return _advised(meaning, said, bucket=bucket)


def _advised(meaning: type[StoreError], said: str, *, bucket: str) -> StoreError:
    advice = _ADVICE.get(meaning)
    return meaning(f"{said}; {advice.format(bucket=bucket)}" if advice else said)
