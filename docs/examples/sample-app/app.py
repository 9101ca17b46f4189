"""A shop's front page that asks a flag which greeting a user sees.

It knows OpenFeature and the address of an OFREP server, nothing of Matrix Flag: the sidecar beside
it could be any other. When the sidecar is away the code's default is served, so the page never
fails because of a flag; `source` in the answer tells which of the two it was.

    OFREP_URL=http://localhost:8016 PORT=8080 python app.py
    curl 'http://localhost:8080/?user=ada'
"""

import json
import logging
import os
import signal
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from urllib.parse import parse_qs, urlsplit

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

FLAG = "new-greeting"
TIMEOUT_S = 1.0
"""A sidecar on the same machine answers in microseconds; a page does not wait longer for one."""


logger = logging.getLogger("shop")


def greeting(user: str) -> dict[str, str]:
    """Return what the page shows a user, and where the decision came from."""
    context = EvaluationContext(targeting_key=user, attributes={"page": "front"})
    details = api.get_client().get_boolean_details(FLAG, False, context)
    text = f"Welcome to the new shop, {user}!" if details.value else f"Hello, {user}."
    source = "code default" if details.error_code else f"flag, {details.reason}"
    return {"greeting": text, "variant": details.variant or "", "source": source}


class Page(BaseHTTPRequestHandler):
    """`GET /?user=NAME` and `GET /healthz`."""

    protocol_version = "HTTP/1.1"  # keep connections alive

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/healthz":
            self.answer(HTTPStatus.OK, {"status": "ok"})
        elif url.path == "/":
            user = parse_qs(url.query).get("user", ["anonymous"])[0][:100]
            self.answer(HTTPStatus.OK, greeting(user))
        else:
            self.answer(HTTPStatus.NOT_FOUND, {"error": "there is / and /healthz"})

    def answer(self, status: HTTPStatus, document: dict[str, str]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep requests out of the log: each would name a user."""


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    url = os.environ.get("OFREP_URL", "http://localhost:8016")
    api.set_provider(OFREPProvider(url, timeout=TIMEOUT_S))
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    server = ThreadingHTTPServer(address, Page)

    def stop(number: int, frame: FrameType | None) -> None:
        # shutdown() waits for the serving loop, which this handler interrupts: call it elsewhere
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    logger.info("serving on http://%s:%d, flags from %s", *server.server_address[:2], url)
    server.serve_forever()
    server.server_close()
    api.shutdown()


if __name__ == "__main__":
    main()
