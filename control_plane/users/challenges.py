"""Challenges: what somebody must answer to go on, sealed and given to them to bring back.

A challenge holds what it is for, whose it is, until when it is good, and the random bytes that a
passkey signs. It is kept nowhere; Redis counts the answers to it, five at most, and which one was
right, of which there is one. So asking for challenges fills nothing.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from control_plane.users.sealing import Sealer
from control_plane.users.store import CHALLENGE_S

__all__ = ["Challenge", "Challenges"]

_PREFIX = "mf_challenge_"


class Challenge(msgspec.Struct, frozen=True):
    """What a challenge says.

    `until` is in Unix seconds. `stamp` tells the password that was right, `method` how it was
    proved, `account` as what the attempt was counted. `secret` is that of an authenticator app that
    is to be set up.
    """

    id: str
    purpose: str
    until: float
    user: str
    stamp: str = ""
    secret: str = ""
    nonce: bytes = b""
    method: str = "password"
    account: str = ""


class Challenges:
    """Makes challenges and reads them."""

    def __init__(self, sealer: Sealer, now: Callable[[], datetime]) -> None:
        self._sealer = sealer
        self._now = now

    def make(
        self,
        purpose: str,
        user: str,
        *,
        stamp: str = "",
        secret: str = "",
        method: str = "password",
        account: str = "",
    ) -> tuple[str, Challenge]:
        """Return a new challenge, as it is sent and as it is."""
        until = self._now() + timedelta(seconds=CHALLENGE_S)
        challenge = Challenge(
            secrets.token_hex(16),
            purpose,
            until.timestamp(),
            user,
            stamp,
            secret,
            secrets.token_bytes(32),
            method,
            account,
        )
        return _PREFIX + self._sealer.seal(msgspec.json.encode(challenge), "challenge"), challenge

    def read(self, text: str, *purposes: str) -> Challenge | None:
        """Return what a challenge says, None when it is not ours, for something else, or over."""
        content = self._sealer.open(text.removeprefix(_PREFIX), "challenge")
        if content is None or not text.startswith(_PREFIX):
            return None
        try:
            challenge = msgspec.json.decode(content, type=Challenge)
        except msgspec.MsgspecError:  # of another version of this program
            return None
        if challenge.purpose not in purposes or challenge.until <= self._now().timestamp():
            return None
        return challenge
