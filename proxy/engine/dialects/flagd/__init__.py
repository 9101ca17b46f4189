"""flagd: JSON Logic over variants, with `fractional`, `sem_ver` and shared evaluators."""

from proxy.engine.dialects.flagd.reading import read
from proxy.engine.dialects.flagd.targeting import names, translate
from proxy.engine.dialects.model import Dialect

__all__ = ["DIALECT"]

DIALECT = Dialect("flagd", read, translate, names)
