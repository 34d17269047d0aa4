"""gunicorn's configuration: `gunicorn app:app` finds it. A line that differs from gunicorn's default says why."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)  # the gunicorn command knows only its own folder when it reads this

from connector.web_process import web_process  # noqa: E402  # needs the line above

_settings = web_process.read_settings()
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host

wsgi_app = "app:app"
bind = f"{_host}:{_settings.port}"
workers = _settings.workers
worker_class = "connector.gunicorn_worker.ConnectorWorker"
http_parser = "fast"  # the one in C
backlog = 2048

# The client's idle time is 90 s (Go): whoever closes first, it must not be us while a request is on its way.
keepalive = _settings.keepalive_seconds
# Outlasts keep-alive, so that a reload closes no idle connection before its time.
graceful_timeout = _settings.keepalive_seconds + 10
timeout = 30  # a worker whose loop hangs this long is replaced

# A refused request stalls Customer.io for an hour: long queries and many headers are taken, within what is harmless.
limit_request_line = 0  # a megabyte, says the parser
limit_request_fields = 256  # the parser's own limit
limit_request_field_size = 65_536
secure_scheme_headers: dict[str, str] = {}  # not used here, and contradictory ones would be answered 400
forwarder_headers = ""  # SCRIPT_NAME from a proxy would be answered 500 when it does not fit
forwarded_allow_ips = _settings.forwarded_allow_ips

control_socket_disable = True  # a door that nobody needs
proc_name = "customerio-connector"
loglevel = _settings.log_level
logger_class = "connector.gunicorn_worker.ConnectorLogger"  # keeps write keys out
accesslog = None  # one line per event tells nothing that the counts do not
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a full disk must not stop heartbeats

when_ready = web_process.when_ready
on_reload = web_process.on_reload
on_exit = web_process.on_exit
