"""Writes whole files, to a folder or to an object store by way of fsspec: each is seen when it is complete, or not at
all.

A request's `url` is where the file will stand. Headers: `Authorization` has the store's credentials, as JSON in
base64; `endpoint` and `region` say where it is, when that is not the provider's own.
"""

import contextlib
import logging
import os
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from connector.errors import TransportError
from connector.json_codec import read_json
from connector.model import Request, Response
from connector.transports.address_guard import AddressGuard, Deadline, Network, Resolver, resolve_by_system
from connector.transports.file import FILE_MODE, FOLDER_MODE, describe, sync_folder

# Who writes to folders only has no fsspec; who does not is told the command before anything here is called.
try:
    import fsspec
    from fsspec.asyn import AsyncFileSystem, sync
except ImportError:
    pass

WRITTEN = Response(200, {}, b"")
MASK = "•••"
SECRET_CHARACTERS = 4  # shorter ones would blot out half of every error
# Errors of the clients that say: nobody told me who I am, or what I was told is wrong.
CREDENTIAL_ERRORS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "NoAuthTokenError",
        "DefaultCredentialsError",
        "RefreshError",
        "ClientAuthenticationError",
        "CredentialUnavailableError",
    }
)
# What a client says of its errors, each time and with a traceback, the attempt's own line says once.
for client in ("s3fs", "aiobotocore", "botocore", "gcsfs", "azure"):
    logging.getLogger(client).setLevel(logging.CRITICAL)


class ObjectTransport:
    """Shared by threads; a store's client is made at the first request that needs it, and used again."""

    def __init__(self, allow_networks: Sequence[Network] = (), resolve: Resolver = resolve_by_system) -> None:
        self._guard = AddressGuard(allow_networks, resolve)
        self._stores: dict[tuple[str, ...], Any] = {}
        self._stores_guard = threading.Lock()

    def send(self, request: Request, timeout_seconds: float) -> Response:
        """Durable when it answers 200; another status is the store's own, or what HTTP would say. Raises
        TransportError when nobody answered; then the object is there as a whole, or as it was before."""
        scheme, separator, _ = request.url.partition("://")
        if not separator:
            try:
                replace_file(Path(request.url), request.body)
            except OSError as error:
                raise TransportError(f"cannot write to {Path(request.url).parent}: {describe(error)}") from error
            return WRITTEN
        deadline = time.monotonic() + timeout_seconds
        try:
            self._refuse_inner(request.headers.get("endpoint"), timeout_seconds)
            put(self._store(scheme, request.headers, timeout_seconds), request, deadline)
        except TransportError:
            raise
        except Exception as error:  # each store's client has a tree of errors of its own
            status = status_of(error)
            reason = told(error, credentials_of(request.headers))
            if status is None:
                raise TransportError(f"{scheme}: {reason}") from error
            return Response(status, {}, reason.encode("utf-8", "replace"))
        return WRITTEN

    def close(self) -> None:
        with self._stores_guard:
            self._stores.clear()

    def _store(self, scheme: str, headers: Mapping[str, str], timeout_seconds: float) -> Any:
        key = (scheme, *(headers.get(name, "") for name in ("Authorization", "endpoint", "region")))
        with self._stores_guard:
            store = self._stores.get(key)
            if store is None:
                options = store_options(scheme, headers, timeout_seconds)
                # Its own cache of clients would keep them, and their secrets, for ever.
                store = self._stores[key] = client_class(scheme)(skip_instance_cache=True, **options)
                if hasattr(store, "retries"):
                    store.retries = 1  # whether to try again, others decide, who also tell why
        return store

    def _refuse_inner(self, endpoint: str | None, timeout_seconds: float) -> None:
        if endpoint is None:
            return
        parts = urlsplit(endpoint)
        deadline = Deadline()
        deadline.start(timeout_seconds)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            self._guard.refuse_inner(str(parts.hostname), port, deadline)
        except TimeoutError as error:
            raise TransportError(f"the name {parts.hostname} cannot be resolved in time") from error


def client_class(scheme: str) -> Any:
    """The class of the store's client."""
    found = fsspec.get_filesystem_class(scheme)
    # In front of gcsfs stands an extension for zonal buckets that first asks another address, by gRPC, for another
    # right; all that is needed is below it.
    return next((one for one in found.__mro__ if one.__module__ == "gcsfs.core"), found)


def store_options(scheme: str, headers: Mapping[str, str], timeout_seconds: float) -> dict[str, Any]:
    """What the store's client is made with."""
    options: dict[str, Any] = dict(credentials_of(headers))
    endpoint, region = headers.get("endpoint"), headers.get("region")
    if endpoint:
        options["endpoint_url"] = endpoint
    if scheme == "s3":
        limits = {"connect_timeout": timeout_seconds, "read_timeout": timeout_seconds}
        options["config_kwargs"] = {**limits, "retries": {"total_max_attempts": 1}}
        options["client_kwargs"] = {"region_name": region} if region else {}
    elif scheme == "gs" and str(options.get("token", "")).lstrip().startswith("{"):
        options["token"] = read_json(options["token"].encode())  # a service account's key, as it is downloaded
    elif scheme in ("az", "abfs"):
        options["anon"] = False  # without a key it asks for the machine's own identity
    return options


def credentials_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    text = headers.get("Authorization", "").partition(" ")[2]
    found: Mapping[str, str] = read_json(b64decode(text)) if text else {}
    return found


def put(store: Any, request: Request, deadline: float) -> None:
    """One upload: stores show an object once all of it is there. Raises what the store's client raises."""
    place = store._strip_protocol(request.url)
    left = deadline - time.monotonic()
    if left <= 0:
        raise TransportError("no time was left for the upload")
    if isinstance(store, AsyncFileSystem):
        sync(store.loop, store._pipe_file, place, request.body, timeout=left)
    else:
        store.makedirs(store._parent(place), exist_ok=True)
        store.pipe_file(place, request.body)


def replace_file(path: Path, body: bytes) -> None:
    """The file has this content, on disk, under this name, or is as it was. Raises OSError."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")  # hidden, so that no reader takes it for one of the files
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    for folder in {path.parent, *(made.parent for made in missing)}:
        sync_folder(folder)


# ── errors ──


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from; the clients wrap each other's."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the store answered with, or would have; None when there was no answer."""
    if isinstance(error, TimeoutError):  # what went before it was not the end of it
        return None
    for one in chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):  # botocore
            answered = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:  # azure, gcsfs
            answered = getattr(one, "status_code", None) or getattr(one, "code", None)
        if isinstance(answered, int) and 300 <= answered <= 599:
            return answered
    for one in chain(error):
        if type(one).__name__ in CREDENTIAL_ERRORS:
            return 401
    # gcsfs says it in words only.
    if isinstance(error, PermissionError) or str(error).startswith("Forbidden"):
        return 403
    return 404 if isinstance(error, FileNotFoundError) else None


def told(error: BaseException, credentials: Mapping[str, str]) -> str:
    """What went wrong, for a person, without the secrets."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in sorted(credentials.values(), key=len, reverse=True):
        if len(secret) >= SECRET_CHARACTERS:
            text = text.replace(secret, MASK)
    return text[:500]
