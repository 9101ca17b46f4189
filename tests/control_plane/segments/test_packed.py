"""Units as bytes."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.segments.packed import pack, unpack

units = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(units))
def test_what_was_packed_is_unpacked(texts: list[str]) -> None:
    """Newlines, quotes and backslashes, too."""
    assert unpack(b"".join(map(pack, texts))) == texts


def test_ordinary_units_take_their_bytes_and_one() -> None:
    """That is what it is for."""
    assert pack("user-1") == b"user-1\n"
    assert len(pack("ä\n")) == 5
