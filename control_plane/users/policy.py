"""What may be a password. Pure."""

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem

__all__ = ["MAX_PASSWORD_CHARS", "MIN_PASSWORD_CHARS", "check_password"]

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256
"""More would only be work for the hash."""

_COMMON = frozenset(
    {"123456789012", "1234567890123", "12345678901234", "123456789abc", "adminadminadmin"}
    | {"administrator", "changeme12345", "changemechangeme", "iloveyou1234", "letmein12345"}
    | {"matrixflag12", "matrixflagmatrixflag", "password1234", "password12345", "passwordpassword"}
    | {"qwertyuiop12", "qwertyuiopas", "qwertyuiop[]", "qwerty123456", "welcome12345"}
)


def check_password(password: str, email: str = "", name: str = "") -> list[Problem]:
    """Return what is wrong with a new password; `email` and `name` are what everybody knows.

    Length is what counts; no rule asks for digits or signs, which only make `Password1234!`.
    """
    plain = password.strip().lower()
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        message = f"{len(password)} characters, from {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS}"
        return [Problem("/password", ProblemCode.OUT_OF_RANGE, f"{message} are taken")]
    message = ""
    if len(set(plain)) < 5:
        message = "hardly any different characters"
    elif plain in _COMMON:
        message = "one of the first that anybody tries"
    elif any(
        len(text) > 3 and text in plain
        for text in (email.lower(), email.lower().partition("@")[0], name.lower())
    ):
        message = "it holds the address or the name"
    if not message:
        return []
    hint = "several words that have nothing to do with each other are good"
    return [Problem("/password", ProblemCode.OUT_OF_RANGE, message, hint)]
