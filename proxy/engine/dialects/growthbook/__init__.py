"""GrowthBook: features, as its SDKs download them, as rule programs.

The context is the attributes: `{"targetingKey": "u-1", "country": "NL"}`. The attribute `id` is the
member `id`, or where that is missing or null `targetingKey`, in conditions and for splits; every
other attribute is the member of its name. What of a request GrowthBook's SDKs are told beside the
attributes is the member `$growthbook` (`requests`).

    definition   the feature, as in the file, or an experiment as applications give it to `run`
    options      {"savedGroups": {id: [...]}, "contextualBandits": {id: {...}}}

Values are JavaScript's: text, numbers, order and truth as the SDK for JavaScript has them, which is
the one the others are tested against.
"""

from collections.abc import Mapping
from typing import Any

from proxy.engine.dialects.growthbook.features import has_experiment, names, translate
from proxy.engine.dialects.growthbook.reading import read
from proxy.engine.dialects.model import Dialect, Traits
from proxy.engine.dialects.options import OBJECT

__all__ = ["DIALECT"]


def _traits(definition: Mapping[str, Any]) -> Traits:
    """Return whether uses are recorded: those of experiments, which SDKs call back for."""
    return Traits(track=has_experiment(definition))


_OPTIONS = {"savedGroups": OBJECT, "contextualBandits": OBJECT}

DIALECT = Dialect(
    "growthbook",
    read,
    translate,
    names,
    options=_OPTIONS,
    file_options=_OPTIONS,
    traits=_traits,
)
