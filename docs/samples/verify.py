"""A receiver that believes only what is signed. It needs Python's standard library and nothing else.

WEBHOOK_SECRETS="whsec_…" PORT=9000 python3 verify.py
"""

import base64
import hmac
import os
import re
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = os.environ["WEBHOOK_SECRETS"].split()  # two of them while one is being exchanged
TOLERANCE_SECONDS = 300


def is_genuine(headers: Message, body: bytes) -> bool:
    """Check `webhook-signature`, which covers the event's id, the time and the body."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    return _holds_one(headers.get("webhook-signature", "").split(), [_standard(secret, signed) for secret in SECRETS])


def is_genuine_by_hub(headers: Message, body: bytes) -> bool:
    """Check `X-Hub-Signature-256`, which covers the body alone."""
    expected = ["sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest() for secret in SECRETS]
    return _holds_one([headers.get("X-Hub-Signature-256", "")], expected)


def _standard(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _holds_one(sent: list[str], expected: list[str]) -> bool:
    # Not `==`: that ends at the first letter that differs, and so tells how much was right.
    return any(hmac.compare_digest(one.encode(), other.encode()) for one in sent for other in expected)


class Receiver(BaseHTTPRequestHandler):
    """Answer 204 to what is genuine, 401 to everything else."""

    def do_POST(self) -> None:
        """Check the bytes as they came, and read them as JSON only then."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        check = is_genuine_by_hub if self.path == "/hub" else is_genuine
        # Genuine: keep the body under its webhook-id, answer, and work on it afterwards. It may come again.
        self.send_response(204 if check(self.headers, body) else 401)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
