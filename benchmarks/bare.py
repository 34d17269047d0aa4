"""The yardstick: a Flask route that says ok, to be served under the very settings of the connector."""

from flask import Flask

app = Flask(__name__)


@app.post("/v1/webhook")
def webhook() -> str:
    return "ok"
