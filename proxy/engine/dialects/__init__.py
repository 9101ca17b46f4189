"""Other systems' definitions as rule programs, a module for each."""

from proxy.engine.dialects.model import (
    OVERRIDE,
    Dialect,
    Imported,
    ImportedFlag,
    ImportedSegment,
    Named,
    Traits,
    Translation,
)
from proxy.engine.dialects.options import option_problems

__all__ = ["OVERRIDE", "Dialect", "Imported", "ImportedFlag", "ImportedSegment", "Named", "Traits"]
__all__ += ["Translation", "option_problems"]
