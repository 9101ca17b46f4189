"""Codes and seals, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.users.sealing import Sealer
from control_plane.users.totp import (
    new_recovery_codes,
    new_secret,
    recovery_hash,
    step_of,
)

RFC_6238 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("now_s", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_standard(now_s: int, code: str) -> None:
    """RFC 6238, appendix B, in six digits; also with a blank in the middle."""
    assert step_of(RFC_6238, code, now_s, 0) == now_s // 30
    assert step_of(RFC_6238, f"{code[:3]} {code[3:]}", now_s, 0) == now_s // 30


@given(st.integers(100, 10**7), st.integers(-40, 40), st.integers(0, 29))
def test_a_code_is_good_in_its_step_and_beside_it(step: int, far: int, second: int) -> None:
    """And not once it, or a later one, was used."""
    import pyotp

    code = pyotp.TOTP(RFC_6238).generate_otp(step)
    now_s = (step + far) * 30 + second
    found = step_of(RFC_6238, code, now_s, 0)
    if abs(far) <= 1:
        assert found == step
        assert step_of(RFC_6238, code, now_s, step) is None
        assert step_of(RFC_6238, code, now_s, step - 1) == step
    else:
        assert found != step


def test_secrets_and_codes_are_never_the_same() -> None:
    """160 bits and 80."""
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) == 32
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(len(code.replace("-", "")) == 16 for code in codes)
    assert recovery_hash("u_1", codes[0]) == recovery_hash("u_1", codes[0].upper())
    assert recovery_hash("u_1", codes[0]) != recovery_hash("u_2", codes[0])


OLD, NEW = "an old secret of enough characters", "a new secret, also of enough of them"


@given(st.binary(max_size=200), st.integers(0, 10**6), st.integers(0, 255))
def test_a_seal_opens_whole_or_not_at_all(content: bytes, where: int, other: int) -> None:
    """Changed in any character, or made for another purpose, it does not."""
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal(content, "totp", "u_1")
    assert sealer.open(sealed, "totp", "u_1") == content
    assert sealer.open(sealed, "totp", "u_2") is None
    assert sealer.open(sealed, "totp") is None
    at = where % len(sealed)
    changed = sealed[:at] + chr(other) + sealed[at + 1 :]
    assert sealer.open(changed, "totp", "u_1") in (None, content)
    assert (sealer.open(changed[:-3], "totp", "u_1")) is None


def test_the_first_secret_seals_and_all_open() -> None:
    """One that is left out opens nothing any more; without any there are no seals."""
    sealed = Sealer([OLD]).seal(b"x", "a")
    both = Sealer([NEW, OLD])
    assert both.open(sealed, "a") == b"x"
    assert not both.is_current(sealed)
    assert both.is_current(both.seal(b"x", "a"))
    assert Sealer([NEW]).open(sealed, "a") is None
    assert Sealer([]).open(sealed, "a") is None
    with pytest.raises(ValueError, match="no secret"):
        Sealer([]).seal(b"x", "a")
