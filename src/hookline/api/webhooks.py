"""Subscriptions: the member's own API, kept to the letter of the contract that its clients already speak."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from msgspec import UNSET, Raw
from starlette.requests import Request
from starlette.responses import Response

from hookline import lifecycle, matching, rendering, retry, tokens
from hookline.api.answers import instant, json_response, no_content
from hookline.api.context import Api
from hookline.api.reading import (
    ID_MAX,
    change_of,
    company_of_list,
    company_of_post,
    may_see,
    no_such_id,
    path_id,
    principal,
    query_int,
    query_word,
    read_json,
)
from hookline.api.turns import CHANGE_TRIES
from hookline.config import Settings
from hookline.errors import Conflict, Invalid, Unavailable
from hookline.model import Action, Certificate, PayloadVersion, Role, Subscription
from hookline.ping import ping as send_ping
from hookline.rotation import RotationRequest, rotated
from hookline.storage.protocol import Creation
from hookline.storage.publications import Catalogue
from hookline.storage.views import SubscriptionQuery
from hookline.subscribing import Rules, SubscriptionRequest, changed, created

log = logging.getLogger("hookline.api")

VERSION_1: Final = (PayloadVersion.V1, PayloadVersion.STANDARD, PayloadVersion.RAW)
VERSION_2: Final = (PayloadVersion.V2,)
ALL_LIMIT: Final = 200
"""Of an operator's list over all companies."""
ID_TRIES: Final = 5
Changed = TypeVar("Changed")

BARRIER_MARGIN_SECONDS: Final = 0.1
BARRIER_POLL_SECONDS: Final = 0.01

# --- the list and one ------------------------------------------------------------------------------------------------


async def list_all(request: Request, api: Api) -> Response:
    """Answer those of version 1, or what `?payloadVersion=` names."""
    return await _list(request, api, _versions(request))


async def list_version_2(request: Request, api: Api) -> Response:
    """Answer those of version 2 alone: existing clients rely on the two lists being disjoint."""
    return await _list(request, api, VERSION_2)


async def _list(request: Request, api: Api, versions: tuple[PayloadVersion, ...]) -> Response:
    """Answer a bare array: all of the company's, or for an operator a part of everybody's."""
    company_id = company_of_list(request)
    found = await api.storage.subscriptions(
        SubscriptionQuery(
            company_id=company_id,
            versions=versions,
            # A company's list is whole: these are for operators over all, and unknown elsewhere.
            after_id=query_int(request, "afterId", 0, 0, ID_MAX) if company_id is None else 0,
            limit=_limit(request) if company_id is None else None,
        )
    )
    if found.unreadable:
        log.error(
            "damaged, and left out of a list of subscriptions: %s. Restore their rows from a backup, or delete them.",
            ", ".join(map(str, found.unreadable)),
        )
    catalogue = await api.storage.catalogue()
    return json_response([shown(subscription, catalogue, api.settings) for subscription in found.items])


async def show(request: Request, api: Api) -> Response:
    """Answer one subscription, of either version."""
    return json_response(shown(await subscription_of(request, api), await api.storage.catalogue(), api.settings))


async def create(request: Request, api: Api) -> Response:
    """Register a subscription of version 1."""
    return await _create(request, api, VERSION_1)


async def create_version_2(request: Request, api: Api) -> Response:
    """Register a subscription of version 2: it receives CloudEvents."""
    return await _create(request, api, VERSION_2)


async def _create(request: Request, api: Api, shapes: tuple[PayloadVersion, ...]) -> Response:
    """Register a subscription; the first shape is the default. 200, not 201: existing clients test for it."""
    company_id = company_of_post(request)
    body = await read_json(request, SubscriptionRequest)
    catalogue = await api.storage.catalogue()
    for _ in range(ID_TRIES):
        subscription, secret = created(
            body,
            subscription_id=tokens.new_id(api.random_bytes),
            company_id=company_id,
            shapes=shapes,
            catalogue=catalogue,
            rules=_rules(request, api),
            random_bytes=api.random_bytes,
            now=api.clock.wall_ms(),
        )
        made = change_of(request, Action.SUBSCRIPTION_CREATED, subscription.id, company_id)
        match await api.storage.create_subscription(subscription, api.settings.quota_subscriptions, change=made):
            case Creation.CREATED:
                return json_response({**shown(subscription, catalogue, api.settings), "secret": secret})
            case Creation.NO_COMPANY:
                raise no_such_id()
            case Creation.QUOTA_REACHED:
                raise Conflict(
                    f"The company has {api.settings.quota_subscriptions} subscriptions, as many as it may. "
                    "Delete one, or ask the operator for more (HOOKLINE_QUOTA_SUBSCRIPTIONS)."
                )
            case Creation.ID_TAKEN:
                continue
    raise Unavailable("No free id was found for the subscription. Nothing was stored; try again.")


async def change(request: Request, api: Api) -> Response:
    """Change a subscription. After `active: false` is answered nothing starts; `true` also lifts a `Retry-After`."""
    body = await read_json(request, SubscriptionRequest)
    is_switched = body.active is not UNSET
    catalogue = await api.storage.catalogue()
    rules = _rules(request, api)

    async def attempt() -> Subscription | None:
        before = await subscription_of(request, api)
        after = changed(before, body, catalogue, rules, now=api.clock.wall_ms())
        note = change_of(request, Action.SUBSCRIPTION_CHANGED, after.id, after.company_id)
        is_stored = await api.storage.replace_subscription(after, lift_hold=is_switched and after.active, change=note)
        return after if is_stored else None

    after = await _in_turn(request, api, attempt)
    if is_switched and after.active:
        api.wake()
    elif is_switched:
        await nothing_starts([after.id], api)
    return json_response(shown(after, catalogue, api.settings))


async def delete(request: Request, api: Api) -> Response:
    """Delete a subscription, a damaged one too. After the answer no attempt of it starts."""
    subscription_id, company_id = path_id(request), company_of_list(request)
    alone = SubscriptionQuery(
        company_id=company_id, versions=tuple(PayloadVersion), after_id=subscription_id - 1, limit=1
    )
    found = await api.storage.subscriptions(alone)
    if subscription_id not in {*[each.id for each in found.items], *found.unreadable}:
        raise no_such_id()
    owner = found.items[0].company_id if found.items else company_id
    gone = change_of(request, Action.SUBSCRIPTION_DELETED, subscription_id, owner)
    if not await api.storage.delete_subscription(subscription_id, change=gone):
        raise no_such_id()
    await nothing_starts([subscription_id], api)
    return no_content()


async def rotate(request: Request, api: Api) -> Response:
    """Answer the subscription with a new secret, shown this once; the old one goes on signing for the overlap."""
    body = await read_json(request, RotationRequest, may_be_empty=True)
    catalogue = await api.storage.catalogue()

    async def attempt() -> dict[str, Any] | None:
        before = await subscription_of(request, api)
        after, secret = rotated(before, body, api.keyring, random_bytes=api.random_bytes, now=api.clock.wall_ms())
        note = change_of(request, Action.SECRET_ROTATED, after.id, after.company_id)
        is_stored = await api.storage.replace_subscription(after, lift_hold=False, change=note)
        return {**shown(after, catalogue, api.settings), "secret": secret} if is_stored else None

    return json_response(await _in_turn(request, api, attempt))


async def ping(request: Request, api: Api) -> Response:
    """Answer 202 once a ping is on disk, as `events.publish` does."""
    subscription = await subscription_of(request, api)
    if not subscription.active:
        raise Conflict(
            f"The subscription is inactive ({subscription.inactive_reason}), so nothing is sent to it. "
            'Activate it first: PATCH {"active": true}.'
        )
    event_id = await send_ping(
        api.storage,
        subscription,
        event_source=api.settings.event_source,
        now=api.clock.wall_ms(),
        random_bytes=api.random_bytes,
    )
    if event_id is None:
        raise no_such_id()
    api.wake()
    api.telemetry.published(events=1, deliveries=1)
    detail = await api.storage.event(event_id, company_id=None, after_id=0, limit=1, attempts_max=0)
    if detail is None:
        raise Unavailable("The ping is stored, and could not be read back. See the delivery log for it.")
    return json_response({"deliveryId": detail.deliveries[0].id, "eventId": event_id}, 202)


async def subscription_of(request: Request, api: Api) -> Subscription:
    """Return the subscription of the path, or raise `NotFound` where it is not this request's to see."""
    found = await api.storage.subscription(path_id(request), company_id=company_of_list(request))
    if found is None or not may_see(request, found.company_id):
        raise no_such_id()
    return found


async def _in_turn(request: Request, api: Api, attempt: Callable[[], Awaitable[Changed | None]]) -> Changed:
    """Change the subscription of the path, one request of this node after another; `attempt` may lose to another node.

    Raise `Unavailable` where it does each time.
    """
    async with api.turns.of(path_id(request)):
        for _ in range(CHANGE_TRIES):
            if (after := await attempt()) is not None:
                return after
    raise Unavailable("The subscription kept changing under this request. Nothing was changed by it; try again.")


async def nothing_starts(subscription_ids: Iterable[int], api: Api) -> None:
    """Wait until every attempt claimed before the change has ended or may not start any more."""
    until = api.clock.monotonic_seconds() + lifecycle.START_WINDOW_MS / 1000 + BARRIER_MARGIN_SECONDS
    for subscription_id in subscription_ids:
        while await api.storage.has_fresh_claims(subscription_id, lifecycle.START_WINDOW_MS):
            if api.clock.monotonic_seconds() >= until:
                return
            await asyncio.sleep(BARRIER_POLL_SECONDS)


# --- what is asked for -----------------------------------------------------------------------------------------------


def _versions(request: Request) -> tuple[PayloadVersion, ...]:
    name = query_word(request, "payloadVersion")
    if name is None:
        return VERSION_1
    if name == "ANY":
        return tuple(PayloadVersion)
    if name not in VERSION_1:
        raise Invalid.field("payloadVersion", f"expected {', '.join(VERSION_1)} or ANY.")
    return (PayloadVersion(name),)


def _limit(request: Request) -> int:
    return min(query_int(request, "limit", ALL_LIMIT, 1, 2**31 - 1), ALL_LIMIT)


def _rules(request: Request, api: Api) -> Rules:
    return Rules(
        url_rules=api.url_rules,
        keyring=api.keyring,
        timeout_seconds_max=api.settings.timeout_seconds_max,
        shows_settings=principal(request).role is Role.OPERATOR,
    )


# --- what is shown ---------------------------------------------------------------------------------------------------


def shown(subscription: Subscription, catalogue: Catalogue, settings: Settings) -> dict[str, Any]:
    """Show a subscription: never a secret or a credential, of its headers the names alone."""
    policies, shape = subscription.policies, subscription.payload_version
    event_types = subscription.event_types
    if event_types is None:
        event_types = matching.effective_types(catalogue.types.values(), shape)
    return {
        "id": subscription.id,
        "companyId": subscription.company_id,
        "callbackUrl": subscription.callback_url,
        "eventTypes": event_types,
        "active": subscription.active,
        "createdAt": instant(subscription.created_at),
        "updatedAt": instant(subscription.updated_at),
        "callbackAuthType": subscription.auth_type,
        "payloadVersion": shape,
        "retryDelaysSeconds": _delays(policies.retry_delays_seconds, settings),
        "timeoutSeconds": policies.timeout_seconds,
        "maxInFlight": policies.max_in_flight,
        "ratePerSecond": policies.rate_per_second,
        "ordered": policies.ordered,
        "contentType": rendering.media_type(shape, policies.content_type),
        "headers": policies.header_names,
        "filter": None if policies.filter is None else Raw(policies.filter.encode()),
        "caseDirections": policies.case_directions,
        "partnerCompanyIds": policies.partner_company_ids,
        "clientCertificate": policies.client_certificate and _certificate(policies.client_certificate),
        "caCertificate": policies.ca_certificates and [_certificate(each) for each in policies.ca_certificates],
        "validation": policies.validation,
        "inactiveReason": subscription.inactive_reason,
        "inactiveSince": instant(subscription.inactive_at),
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {"subject": certificate.subject, "expiresAt": instant(certificate.expires_at)}


def _delays(policy: tuple[int, ...] | str | None, settings: Settings) -> tuple[int, ...] | str:
    """Show waits as they were given; the installation's where none were."""
    return policy if isinstance(policy, str) else retry.schedule_seconds(policy, settings.retry_delays_seconds)
