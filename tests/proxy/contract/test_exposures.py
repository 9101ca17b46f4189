"""The batch has a wire form."""

import msgspec
import pytest

from proxy.contract.exposures import Exposure, ExposureBatch
from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS

ITEM = Exposure("f", "on", "u-1", "targetingKey", None, "SPLIT", "e", 7, 5, 1)


def test_a_batch_is_read_as_it_was_written() -> None:
    """Experiments are null where there are none."""
    batch = ExposureBatch("id", "sidecar-1", 9, [ITEM])
    text = msgspec.json.encode(batch)
    assert msgspec.json.decode(text, type=ExposureBatch) == batch
    assert b'"experiment":null' in text


def test_unknown_members_are_refused() -> None:
    """What is not understood cannot be counted."""
    text = b'{"id":"x","instance":"i","sent_ms":1,"items":[],"x":1}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=ExposureBatch)


def test_ordinary_items_fit_as_many_as_are_allowed() -> None:
    """The two bounds agree."""
    assert len(msgspec.json.encode(ITEM)) * MAX_BATCH_ITEMS <= 2 * MAX_BATCH_BYTES
