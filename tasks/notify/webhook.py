"""A generic JSON webhook: one POST, short timeouts, a few retries, and what failed as a sentence.

With `IRP_WEBHOOK_SECRET` in the environment each request carries `X-IRP-Signature: sha256=HEX`, the HMAC-SHA256 of its
body, by which a receiver can tell that it comes from here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

__all__ = ["post"]

_TIMEOUT = httpx.Timeout(5.0, connect=3.0)  # seconds
_PAUSES = (0.5, 2.0)  # seconds between the tries
_LATER = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another one in a moment


def post(address: str, message: Mapping[str, Any]) -> str | None:
    """Send a message with an `id`; where it failed and why, else None.

    The address may hold a secret: only its host is named.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the webhook: expected an address that begins with http:// or https://."
    body = json.dumps(message, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "irp", "Idempotency-Key": str(message["id"])}
    if secret := os.environ.get("IRP_WEBHOOK_SECRET"):
        headers["X-IRP-Signature"] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    reason = ""
    for pause in (0.0, *_PAUSES):
        time.sleep(pause)
        try:
            answer = httpx.post(address, content=body, headers=headers, timeout=_TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = type(error).__name__  # its message may hold the address
            continue
        if answer.is_success:
            return None
        reason = f"HTTP {answer.status_code}"
        if answer.status_code not in _LATER:
            break
    return f"the webhook at {parts.hostname} ({reason})."
