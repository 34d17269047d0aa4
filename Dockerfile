# syntax=docker/dockerfile:1

# The full image has the compiler that a package without a wheel for this machine needs (gunicorn_h1c on ARM).
FROM python:3.11-bookworm AS build
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /tmp/requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin connector \
    && install --directory --owner connector --group connector --mode 0750 /data
COPY --from=build /opt/venv /opt/venv
COPY app.py gunicorn.conf.py /app/
COPY connector /app/connector
COPY schemas /app/schemas
COPY fixtures /app/fixtures

# The working directory is the volume: the first start writes its .env there, and a connector.yaml is found there.
# Nothing else is written, so the root file system can be read-only (with a tmpfs on /tmp).
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GUNICORN_CMD_ARGS="--config /app/gunicorn.conf.py" \
    HOST=0.0.0.0 \
    PORT=8080 \
    CONNECTOR_DATA_DIR=/data
WORKDIR /data
VOLUME /data
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=4)"]
CMD ["python", "-m", "connector", "up"]
