"""Writes `bucketing.json`: `python -m tests.vectors.make_bucketing`.

The vectors are fixed for ever; writing them again must not change a byte (a test compares). They
are computed by `murmur3.py`, not by the library that the engine uses.
"""

import json
from pathlib import Path
from typing import Any

from tests.vectors.murmur3 import murmur3_x86_32

PATH = Path(__file__).with_name("bucketing.json")

_SALTS = ["f3b1", "0123456789abcdef0123456789abcdef", "checkout-v2", "a/b", "A_-z", "ä"]
_TEXTS = [
    "u-1",
    "ä",
    "0",
    " ",
    " u-1",
    "u-1 ",
    "U-1",
    "日本語",
    "👩‍👩‍👧",
    "e\u0301",
    "\u00e9",
    "\u0000",
    "a.b",
    "x" * 300,
]
_NUMBERS: list[Any] = [42, 0, -1, 42.0, -0.0, 1e15, 2**53 - 1, -(2**53 - 1), 123456789012]


def vectors() -> list[dict[str, Any]]:
    """Return a thousand vectors: what is bucketed, what is hashed, hash and bucket."""
    units: list[Any] = [*_TEXTS, *_NUMBERS]
    made = [_vector(salt, unit) for salt in _SALTS for unit in units]
    made += [_vector(_SALTS[i % 2], f"user-{i}") for i in range(1_000 - len(made))]
    return made


def document() -> str:
    """Return the text of the file."""
    head = {
        "algorithm": "h = murmur3_x86_32(utf8(salt + '.' + unit), seed 0), unsigned; "
        "bucket = (h * 100000) >> 32",
        "units": "a string as it is; an integer, or a float of integral value, as its decimal",
    }
    lines = ",\n".join(json.dumps(vector, sort_keys=True) for vector in vectors())
    return json.dumps(head)[:-1] + f', "vectors": [\n{lines}\n]}}\n'


def _vector(salt: str, unit: Any) -> dict[str, Any]:
    text = unit if isinstance(unit, str) else str(int(unit))
    h = murmur3_x86_32(f"{salt}.{text}".encode())
    return {"salt": salt, "unit": unit, "hash": h, "bucket": (h * 100_000) >> 32}


if __name__ == "__main__":
    PATH.write_text(document())
