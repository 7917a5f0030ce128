"""Who a command speaks for, unless told otherwise."""

from __future__ import annotations

import getpass
import subprocess

__all__ = ["default_name"]


def default_name() -> str:
    """The name that git knows, else the account's; empty where neither has one."""
    try:
        found = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
    except OSError:
        found = None
    try:
        return (found.stdout.strip() if found else "") or getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers: the page asks
        return ""
