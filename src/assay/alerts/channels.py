"""Deliver one message: as text by Apprise (e-mail, Slack, Teams, PagerDuty and others), or as signed JSON.

The JSON is signed as the Standard Webhooks specification says (webhook-id, webhook-timestamp, webhook-signature), so
that receivers can check it with the libraries there are, and know a message that comes twice by its id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from assay.alerts.rules import Channel
from assay.errors import AssayError

TIMEOUT_SECONDS = 10.0
APPRISE_SECONDS = 30.0
SHOWN_INCIDENTS = 10
SHOWN_CALLS = 3


class CannotDeliver(AssayError):
    """A message did not arrive; the message says why, without the address, which may hold a password."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What a message brings beside its text: a file, with a `title` and a `summary` for people."""

    filename: str
    media_type: str
    content: bytes
    title: str
    summary: str


def send(channel: Channel, body: Mapping[str, Any], document: Document | None = None) -> None:
    """Deliver; returns once the receiver has accepted it. Raises CannotDeliver.

    A document goes to mail and chats as an attachment where they take any, into signed JSON as Base64.
    """
    if channel.webhook:
        whole = {**body, "document": _enclosed(document)} if document else body
        _post(channel.webhook.get_secret_value(), channel.secret.get_secret_value(), whole)
    elif channel.url:
        _apprise(channel.url.get_secret_value(), body, document)


def ping(url: str) -> None:
    """Ask for a URL, for the sake of being heard. Raises CannotDeliver."""
    try:
        _accepted(httpx.get(url, timeout=TIMEOUT_SECONDS))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CannotDeliver(_without_address(error, url)) from None


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a body: HMAC-SHA256 over id.timestamp.body, in Base64.

    A secret that begins with whsec_ is Base64, any other is taken as it is.
    """
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def title(body: Mapping[str, Any]) -> str:
    """The message in one line."""
    told = body["incidents"]
    if not told:
        return "Assay: test message"
    first = told[0]
    more = f" and {len(told) - 1} more" if len(told) > 1 else ""
    group = f" [{_plain(first['group'])}]" if first["group"] else ""
    return f"[{first['severity']}] {first['event']}: {first['rule']}{group}{more}"


def text(body: Mapping[str, Any]) -> str:
    """The message for people: what, how sure, since when, where to look."""
    told = body["incidents"]
    if not told:
        return "This channel works: alerts will arrive here."
    parts = ["\n".join(_lines(one)) for one in told[:SHOWN_INCIDENTS]]
    if len(told) > SHOWN_INCIDENTS:
        parts.append(f"and {len(told) - SHOWN_INCIDENTS} more")
    return "\n\n".join(parts)


def _lines(incident: Mapping[str, Any]) -> list[str]:
    group = f" [{_plain(incident['group'])}]" if incident["group"] else ""
    lines = [f"{incident['event']}: {incident['rule']}{group} ({incident['severity']})", _plain(incident["message"])]
    lines.append(f"since {incident['began'][:16]} UTC; {incident['url']}")
    if incident["event"] != "resolved":
        lines += [
            f"call {call['span_id']}: {call['value']:.4g} {call['url']}"
            for call in incident["worst_calls"][:SHOWN_CALLS]
        ]
    return [*lines, f"runbook: {incident['runbook']}"] if incident["runbook"] else lines


def _post(url: str, secret: str, body: Mapping[str, Any]) -> None:
    content, at = json.dumps(body).encode(), int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": str(body["id"]),
        "webhook-timestamp": str(at),
        "webhook-signature": signature(secret, str(body["id"]), at, content),
    }
    try:
        _accepted(httpx.post(url, content=content, headers=headers, timeout=TIMEOUT_SECONDS))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CannotDeliver(_without_address(error, url)) from None


def _enclosed(document: Document) -> dict[str, str]:
    told = {name: getattr(document, name) for name in ("filename", "media_type", "title", "summary")}
    return {**told, "base64": base64.b64encode(document.content).decode()}


def _apprise(url: str, body: Mapping[str, Any], document: Document | None) -> None:
    try:
        import apprise
        from apprise.attachment.memory import AttachMemory
    except ImportError:
        raise CannotDeliver("this channel needs Apprise: pip install 'assay[alerts]'") from None
    service = apprise.Apprise()
    if not service.add(url):
        raise CannotDeliver("Apprise does not know this kind of address: see its list of services")
    kind = {"resolved": "success", "test": "info", "report": "info"}.get(str(body["status"]), "warning")
    attached = apprise.AppriseAttachment()
    if document:
        attached.add(AttachMemory(document.content, name=document.filename, mimetype=document.media_type))
    said = list[str]()
    arrived = service.notify(
        title=document.title if document else title(body),
        body=document.summary if document else text(body),
        notify_type=kind,
        body_format="text",
        attach=attached if document else None,
        timeout=APPRISE_SECONDS,
        log_callback=lambda entry, _: said.append(entry.message) if entry.level in ("WARNING", "ERROR") else None,
    )
    if not arrived:
        raise CannotDeliver(_without_address(said[0] if said else "Apprise could not deliver it in time", url))


def _accepted(response: httpx.Response) -> None:
    if not response.is_success:
        raise CannotDeliver(f"the receiver answered {response.status_code}")


def _without_address(error: object, url: str) -> str:
    """What went wrong in a line, without the address and without any part of it that could be a secret."""
    said = (str(error).splitlines() or [""])[0] or type(error).__name__
    for part in sorted({url, *re.split(r"[/:@?&=]+", url)}, key=len, reverse=True):
        said = said.replace(part, "***") if len(part) >= 6 else said
    return said[:300]


def _plain(text: str) -> str:
    """A name or sentence that calls nobody and links nowhere in a chat."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).replace("@", "@\u2060").replace("<", "‹").split())
