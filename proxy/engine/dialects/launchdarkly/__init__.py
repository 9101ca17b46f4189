"""LaunchDarkly: what its clients are sent, evaluated as they do.

Options: `float`, 32 or 64, the precision of the clients that are replaced (64, all but those for Go
and Java); `environment`, for files with several.

Differs from LaunchDarkly: members of big segments are not known (a warning); a circle of segments
is an error for all flags that name it, not only for whoever comes to it, and so is a circle of
prerequisites; events are not evaluation. How a context is read stands in `contexts`.
"""

from collections.abc import Mapping
from typing import Any

from proxy.engine.dialects.launchdarkly.flags import names, translate
from proxy.engine.dialects.launchdarkly.reading import read_file
from proxy.engine.dialects.launchdarkly.segments import segment, segment_names
from proxy.engine.dialects.launchdarkly.traits import traits
from proxy.engine.dialects.model import Dialect
from proxy.engine.dialects.options import TEXT, one_of
from proxy.engine.dialects.within import objects

__all__ = ["DIALECT"]

_ASSUMED = "rollouts are counted as by SDKs other than those for Go and Java, which are 32"
_OPTIONS = {"float": one_of(64, 32)._replace(assumed=_ASSUMED)}


def _depends(definition: Mapping[str, Any]) -> frozenset[str]:
    """Return the precision for what divides contexts: a rollout, a rule for a share."""
    divides = any(node.get(n) for node in objects(definition) for n in ("rollout", "weight"))
    return frozenset(_OPTIONS) if divides else frozenset()


DIALECT = Dialect(
    "launchdarkly",
    read_file,
    translate,
    names,
    segment,
    segment_names,
    options=_OPTIONS,
    file_options={**_OPTIONS, "environment": TEXT},
    traits=traits,
    depends=_depends,
)
