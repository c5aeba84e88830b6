"""Say of one thing that was looked at whether it works, and what to change where it does not."""

from __future__ import annotations

import msgspec

from sterna.model.errors import CredentialsExpired, SternaError, WrongSetting


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``ok``: True works, False must be changed (``advice`` says how), None is a fact."""

    name: str
    ok: bool | None
    words: str
    advice: str = ""


def advice_for(error: SternaError) -> str:
    """What to do about an error that ended a look."""
    if isinstance(error, CredentialsExpired):
        return "Renew the credentials, then check again."
    if error.exit_code == 3:
        return "Give other credentials: --profile NAME, the environment, or --no-sign-request for a public bucket."
    if isinstance(error, WrongSetting):
        return "Change the option or the variable that the sentence names."
    return "Check again; if it stays, ask whoever runs the server."
