"""flagd: JSON Logic over variants, with `fractional`, `sem_ver` and shared evaluators.

Options: `fractional`, the version of it that the flags were divided by. It has no word for who may
see a flag, nor for recording that one is used.
"""

from collections.abc import Mapping
from typing import Any

from proxy.engine.dialects.flagd.reading import read
from proxy.engine.dialects.flagd.targeting import FRACTIONAL, names, translate
from proxy.engine.dialects.model import Dialect
from proxy.engine.dialects.options import one_of
from proxy.engine.dialects.within import objects

__all__ = ["DIALECT"]

_ASSUMED = "read as v2, flagd's from core 0.15 on, where v1 gives users other variants"
_OPTIONS = {"fractional": one_of(*FRACTIONAL)._replace(assumed=_ASSUMED)}


def _depends(definition: Mapping[str, Any]) -> frozenset[str]:
    """Return the version of `fractional` for a flag that has one."""
    logic = [definition.get("targeting"), definition.get("$evaluators")]
    return frozenset(_OPTIONS) if any("fractional" in node for node in objects(logic)) else _NONE


_NONE: frozenset[str] = frozenset()


DIALECT = Dialect(
    "flagd",
    read,
    translate,
    names,
    options=_OPTIONS,
    file_options=_OPTIONS,
    depends=_depends,
)
