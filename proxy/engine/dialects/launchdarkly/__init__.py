"""LaunchDarkly: what its clients are sent, evaluated as they do.

Options: `float`, 32 or 64, the precision of the clients that are replaced (64, all but those for Go
and Java); `environment`, for files with several.

Differs from LaunchDarkly: members of big segments are not known (a warning); a circle of segments
is an error for all flags that name it, not only for whoever comes to it, and so is a circle of
prerequisites; events are not evaluation. How a context is read stands in `contexts`.
"""

from proxy.engine.dialects.launchdarkly.flags import names, translate
from proxy.engine.dialects.launchdarkly.reading import read_file
from proxy.engine.dialects.launchdarkly.segments import segment, segment_names
from proxy.engine.dialects.launchdarkly.traits import traits
from proxy.engine.dialects.model import Dialect
from proxy.engine.dialects.options import TEXT, one_of

__all__ = ["DIALECT"]

_OPTIONS = {"float": one_of(64, 32)}

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
)
