"""/healthz, /readyz and /metrics. Whatever may wait for a lock runs off the hub, with a time-out."""

from collections.abc import Callable

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST

from connector.api.exposition import exposition
from connector.errors import ConnectorError
from connector.overview import Overview

READY_SECONDS = 1.0  # a load balancer asks often, and must hear of a lock at once


def build_api(
    read_overview: Callable[[], Overview],
    check_writable: Callable[[float], None],
) -> Blueprint:
    """`check_writable` raises TimeoutError after the seconds given, ConnectorError with the reason it cannot store;
    `read_overview` raises TimeoutError when there was no telling in time.
    """
    api = Blueprint("api", __name__)

    @api.get("/healthz")
    def healthz() -> Response:
        return _text(200, "ok")

    @api.get("/readyz")
    def readyz() -> Response:
        try:
            check_writable(READY_SECONDS)
        except TimeoutError:
            return _text(503, f"the journal did not answer within {READY_SECONDS:g} s")
        except ConnectorError as error:
            return _text(503, str(error))
        return _text(200, "ready")

    @api.get("/metrics")
    def metrics() -> Response:
        try:
            overview = read_overview()
        except TimeoutError:
            return _text(503, "the journal or the ledger did not answer in time")
        return Response(exposition(overview), content_type=CONTENT_TYPE_LATEST)

    return api


def _text(status: int, text: str) -> Response:
    return Response(text + "\n", status, content_type="text/plain; charset=utf-8")
