"""What a development server tells a newcomer to type next: whole commands with real values in them."""

import shlex
import shutil
import socket
import sys
from contextlib import closing
from pathlib import Path

RECEIVER_PORT = 9000
"""Where the receiver of the first steps listens, unless somebody else does."""


def first_steps(url: str, token: str, program: str, receiver_port: int) -> str:
    """Return three steps to paste into a POSIX shell: a company, a subscription with its receiver, an event."""
    call = f"curl -sS -H {shlex.quote(f'Authorization: Bearer {token}')} -H 'Content-Type: application/json'"
    return f"""\
Next, in another terminal:

# 1. a company
COMPANY=$({call} {url}/v1/companies -d '{{"name":"Acme"}}' | sed -E 's/.*"id":([0-9]+).*/\\1/'); echo "company $COMPANY"

# 2. its subscription, and a receiver that checks each signature and fails the first attempt
SECRET=$({call} "{url}/v1/webhooks?companyId=$COMPANY" \
-d '{{"callbackUrl":"http://127.0.0.1:{receiver_port}/"}}' | sed -E 's/.*"secret":"([^"]+)".*/\\1/')
{program} listen --port {receiver_port} --secret "$SECRET" --fail 1 &
{until_listening(receiver_port)}

# 3. an event: it is answered 503 at once, and delivered by the first retry 10 to 12 s later
{call} {url}/v1/events \
-d '{{"eventType":"note.created","companyIds":['"$COMPANY"'],"data":{{"noteToken":"a1b2c3","text":"hello"}}}}'; echo
"""


def until_listening(port: int) -> str:
    """Return the command that waits for a receiver just started behind it, so that all steps can be pasted at once."""
    return f"curl -s -o /dev/null --retry 9 --retry-delay 1 --retry-connrefused http://127.0.0.1:{port}/"


def program_name() -> str:
    """Return what to type to run this program: its bare name where that leads here, else in full."""
    script = sys.argv[0]
    if shutil.which("hookline") == script:
        return "hookline"
    if script.endswith("__main__.py"):
        return f"{shlex.quote(sys.executable)} -m hookline"
    return shlex.quote(str(Path(script).absolute()))


def free_port(wanted: int) -> int:
    """Return `wanted` where nobody listens on it, else a port that is free now."""
    for port in (wanted, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
