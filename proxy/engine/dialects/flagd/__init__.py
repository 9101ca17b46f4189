"""flagd: JSON Logic over variants, with `fractional`, `sem_ver` and shared evaluators.

Options: `fractional`, the version of it that the flags were divided by. It has no word for who may
see a flag, nor for recording that one is used.
"""

from proxy.engine.dialects.flagd.reading import read
from proxy.engine.dialects.flagd.targeting import FRACTIONAL, names, translate
from proxy.engine.dialects.model import Dialect
from proxy.engine.dialects.options import one_of

__all__ = ["DIALECT"]

_OPTIONS = {"fractional": one_of(*FRACTIONAL)}

DIALECT = Dialect("flagd", read, translate, names, options=_OPTIONS, file_options=_OPTIONS)
