"""A server with a story to show: deliveries that succeed, fail, retry, die and are held, for two companies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from e2e.harness import Client, Server, until
from e2e.receiver import Receiver, Reply

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@dataclass(frozen=True)
class Scene:
    """What pages can be looked at."""

    server: Server
    receiver: Receiver
    operator: Client
    member_token: str
    viewer_token: str
    company: int
    subscription: int
    event: str
    delivery: int
    dead_delivery: int

    @classmethod
    def made(cls, directory: Path) -> Self:
        """Start everything and wait until the story is told."""
        receiver = Receiver().start()
        server = Server(directory, f"sqlite:///{directory}/hookline.db").start()
        operator = server.client()
        company = operator.company("Acme Corp")
        other = operator.company("Cedar Systems")
        receiver.answer(
            "/webhooks/collaboration-events",
            Reply(503, body=b"<html><h1>503 Service Temporarily Unavailable</h1></html>"),
            Reply(503, body=HOSTILE.encode()),
            Reply(200, body=b'{"received": true, "queued": 3}'),
        )
        subscription = subscribe(operator, company, receiver.url("/webhooks/collaboration-events"), [1, 2, 3])
        dead = subscribe(operator, company, receiver.url("/archive"), [])
        subscribe(operator, company, receiver.url("/only-closed"), [], eventTypes=["webhook.ping"])
        failing = subscribe(operator, other, receiver.url("/inbound"), [3600])
        paused = subscribe(operator, other, receiver.url("/paused"), [])
        receiver.judge("/archive", lambda _: Reply(500, body=b"Internal error"))
        receiver.judge("/inbound", lambda _: Reply(502))
        operator.made("PATCH", f"/v1/webhooks/{paused}", {"active": False})
        event = operator.made(
            "POST",
            "/v1/events",
            {
                "eventType": "note.created",
                "companyIds": [company, other],
                "data": {
                    "requestToken": "deadbeefdeadbeef",
                    "noteToken": "a1b2c3",
                    "priority": "P2",
                    "summary": "Customer confirmed the workaround",
                },
            },
        )["id"]
        until(lambda: len(operator.log(subscription)) == 3, "the third attempt")
        until(lambda: len(operator.log(failing)) == 1, "the failed attempt")
        until(lambda: len(operator.log(dead)) == 1, "the dead delivery")
        for number in range(6):
            operator.publish(company, {"n": number, "note": HOSTILE})
        return cls(
            server=server,
            receiver=receiver,
            operator=operator,
            member_token=token_of(operator, company, "member"),
            viewer_token=token_of(operator, company, "viewer"),
            company=company,
            subscription=subscription,
            event=event,
            delivery=operator.log(subscription)[0]["deliveryId"],
            dead_delivery=operator.log(dead)[0]["deliveryId"],
        )

    def close(self) -> None:
        """End everything."""
        self.operator.close()
        self.server.close()
        self.receiver.close()

    @property
    def pages(self) -> dict[str, str]:
        """Name the pages by their addresses."""
        subscription = f"/subscriptions/{self.subscription}"
        return {
            "overview": "/",
            "events": "/events",
            "event": f"/events/{self.event}",
            "delivery": f"{subscription}/deliveries/{self.delivery}",
            "subscriptions": "/subscriptions",
            "subscription": subscription,
            "subscription-new": "/subscriptions/new",
            "subscription-edit": f"{subscription}/edit",
            "pause": f"{subscription}/pause",
            "replay": f"{subscription}/replay",
            "event-types": "/event-types",
            "companies": "/companies",
            "company": f"/companies/{self.company}",
            "accounts": f"/companies/{self.company}/accounts",
            "sign-out": "/sign-out",
            "preferences": "/preferences",
            "tokens": "/tokens",
            "nodes": "/nodes",
            "audit": "/audit",
        }


def subscribe(client: Client, company: int, url: str, delays: list[int], **members: object) -> int:
    """Make a subscription of a company; return its id."""
    body = {"callbackUrl": url, "retryDelaysSeconds": delays, **members}
    number: int = client.made("POST", f"/v1/webhooks?companyId={company}", body)["id"]
    return number


def token_of(client: Client, company: int, role: str) -> str:
    """Make a token of a company."""
    token: str = client.made("POST", f"/v1/companies/{company}/tokens", {"name": f"{role} of Acme", "role": role})[
        "token"
    ]
    return token
