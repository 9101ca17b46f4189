"""GO Feature Flag: its flags evaluated as its relay proxy does, held against its own test tables.

A context is taken as the relay takes OFREP's: `targetingKey` is the key, and empty when it is no
text; all members are attributes, and `key`, `targetingKey` and `anonymous` are set as there. A flag
with `bucketingKey` tells users apart by that attribute, which may be a path.

The modules, in the order in which they use one another:

    query        the query language as a tree
    conditions   queries as expressions of the rule program
    logic        what JSON Logic is in Go
    flags        a definition decoded, and changed by its schedule
    rules        the queries of a flag, and bounds
    programs     a flag as programs, one after another
    reading      a whole file

Options: `evaluationContextEnrichment`, attributes that the relay's configuration sets whatever the
context says.

What differs: `gofeatureflag.currentDateTime` of a context does not set the time, which is that of
the request; answers depend on the snapshot, the context and the time alone. `FLAG_CONFIG`, which
OFREP does not have, is `GENERAL` with the metadata `sourceError`. Where its own reason is one that
OpenFeature does not have, it is in the metadata `sourceReason`.

`disable` is our `enabled`. Where scheduled steps change it, though, it is theirs, for as long as
the flag is enabled here.
"""

from collections.abc import Mapping
from typing import Any

from proxy.engine.dialects.goff.flags import read_flag
from proxy.engine.dialects.goff.programs import program_of
from proxy.engine.dialects.goff.reading import ENRICHMENT, read
from proxy.engine.dialects.model import Dialect, Named, Traits, Translation
from proxy.engine.dialects.options import OBJECT
from proxy.engine.findings import Findings

__all__ = ["DIALECT"]

_NOBODY = Named()


def _translate(
    key: str, definition: Mapping[str, Any], options: Mapping[str, Any], enabled: bool
) -> Translation:
    findings = Findings()
    fixed = options.get(ENRICHMENT) or {}
    flag = read_flag(definition, findings)
    program, variants = program_of(key, flag, enabled, fixed, findings)
    return Translation(program, variants, _NOBODY, tuple(findings.problems))


def _names(_definition: Mapping[str, Any]) -> Named:
    return _NOBODY


def _traits(definition: Mapping[str, Any]) -> Traits:
    """Return whether uses are recorded: where `trackEvents` asks for it, or an experiment runs.

    To GO Feature Flag every flag is tracked that does not say no, if the relay has an exporter.
    """
    asked = definition.get("trackEvents", bool(definition.get("experimentation")))
    return Traits(track=asked is True)


_OPTIONS = {ENRICHMENT: OBJECT}

DIALECT = Dialect(
    "goff", read, _translate, _names, options=_OPTIONS, file_options=_OPTIONS, traits=_traits
)
