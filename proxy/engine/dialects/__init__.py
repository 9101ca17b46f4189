"""Other systems' definitions as rule programs, a module for each."""

from proxy.engine.dialects.model import (
    Dialect,
    Imported,
    ImportedFlag,
    ImportedSegment,
    Named,
    Translation,
)

__all__ = ["Dialect", "Imported", "ImportedFlag", "ImportedSegment", "Named", "Translation"]
