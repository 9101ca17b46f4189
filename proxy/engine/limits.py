"""Bounds of a definition, each with its reason. What exceeds one is a problem, never a slow answer.

They keep three promises:

- No step of a compile or of a check holds an event loop for 5 ms. What is large in all is done in
  steps (`proxy.engine.findings`), so these bound what cannot be divided: decoding a definition, one
  leaf, one rollout, one value.
- An evaluation's work is bounded whatever the context holds. Ordinary flags take microseconds. One
  that has all that is allowed, and names 200 segments that do, asks 200,000 leaves: 10 ms. Texts
  and lists of a context are read up to `MAX_READ_CHARS` and `MAX_READ_ELEMENTS`, so that a leaf
  over them does no more however large the context is. Two kinds are dearer, with a string of that
  length: all texts of `contains`, 8 ms at worst (`MAX_SEARCHED`), and regular expressions, 2 ms for
  fifty ordinary ones and 10 ms a leaf for those made to be slow (`MAX_MATCHED_CHARS`). Each segment
  that is named may have as many again: nothing bounds the two over all segments.
- No small document becomes large in memory.

They are far above what definitions in use have; raising one means measuring those three again.
"""

from proxy.contract.units import MAX_UNIT_CHARS

__all__ = [
    "MAX_ALL_VALUES_BYTES",
    "MAX_ARMS",
    "MAX_CONDITIONS",
    "MAX_CONDITION_DEPTH",
    "MAX_DEFINITION_BYTES",
    "MAX_DEFINITION_PIECES",
    "MAX_INTEGER",
    "MAX_LEAF_CHARS",
    "MAX_MATCHED_CHARS",
    "MAX_METADATA_BYTES",
    "MAX_MOMENT_CHARS",
    "MAX_NAME_CHARS",
    "MAX_NETWORKS",
    "MAX_PATH_CHARS",
    "MAX_PATTERNS",
    "MAX_PATTERN_BYTES",
    "MAX_PATTERN_CHARS",
    "MAX_PREREQUISITES",
    "MAX_PREREQUISITES_IN_ALL",
    "MAX_PREREQUISITE_NESTING",
    "MAX_PROBLEMS",
    "MAX_RANGES",
    "MAX_READ_CHARS",
    "MAX_READ_ELEMENTS",
    "MAX_RULES",
    "MAX_SEARCHED",
    "MAX_SEGMENT_CONDITIONS",
    "MAX_SEGMENT_NESTING",
    "MAX_SEGMENT_REFERENCES",
    "MAX_SEGMENT_UNITS",
    "MAX_TAGS",
    "MAX_TARGETS",
    "MAX_TEXT_CHARS",
    "MAX_UNIT_CHARS",
    "MAX_VALUES",
    "MAX_VALUE_BYTES",
    "MAX_VALUE_DEPTH",
    "MAX_VALUE_NODES",
    "MAX_VARIANTS",
    "MAX_VERSION_CHARS",
    "MAX_VERSION_RANGES",
    "MAX_VALUES_IN_ALL",
]

MAX_DEFINITION_BYTES = 3_840 * 1024
"""Of one flag or segment in an environment as JSON. Decoding is one step: 1 ms at this size where
it is mostly text, 5 ms where every character of it is escaped."""

MAX_DEFINITION_PIECES = 100_000
"""Commas of a definition, outside its texts, its lists counted twice and its objects six times, as
rules and conditions take that much longer than texts and numbers: decoding takes 5 ms at most."""

MAX_VARIANTS = 1_000
"""Of a flag. Simple writes of new values add one each, so a setting changed daily lasts years."""

MAX_RULES = 500
"""Of a flag in one environment; they are tried in order."""

MAX_TARGETS = 1_000
"""Of a flag in one environment: one for each variant."""

MAX_ARMS = 2_000
"""Of all rollouts of a flag in one environment."""

MAX_RANGES = 2_000
"""Of all rollouts of a flag in one environment. A rollout has one an arm, and a few more after each
of many changes of its weights."""

MAX_CONDITIONS = 1_000
"""Nodes of all condition trees of a flag in one environment, or of one segment: at 50 ns each,
50 us when none matches."""

MAX_CONDITION_DEPTH = 64
"""Nesting of one condition. Documents are refused below 64 by the contract; this also bounds the
recursion of validation and compilation, and the parentheses of generated code (CPython: 200)."""

MAX_VALUES = 10_000
"""Of one leaf. Longer lists are what segments' unit lists are for."""

MAX_LEAF_CHARS = 360_000
"""Of all values of one leaf: with `fold` they are put into one case, 6 ns a character."""

MAX_SEARCHED = 200
"""Texts that are looked for within others (`contains`), of all leaves of a flag in one environment,
or of one segment: each is looked for by itself, in 40 us at worst in a string of `MAX_READ_CHARS`
that nearly has it everywhere, in 1 us in others."""

MAX_VALUES_IN_ALL = 20_000
"""Values of all leaves and units of all targets of a flag in one environment, together: that many
are checked and made into sets in about 2 ms."""

MAX_SEGMENT_UNITS = 20_000
"""Included and excluded units of one segment, together; for the same reason."""

MAX_PREREQUISITES = 20
"""Of a flag in one environment."""

MAX_PREREQUISITE_NESTING = 10
"""Flags that ask one another in a row: each is one call deeper in evaluation."""

MAX_PREREQUISITES_IN_ALL = 100
"""Flags that are asked for one flag, those that they ask put in place: each can cost what one flag
costs at most."""

MAX_SEGMENT_NESTING = 16
"""Segments within segments: each level is one call deeper in evaluation."""

MAX_SEGMENT_CONDITIONS = 1_000
"""Conditions of a segment with those of every segment it names put in place: ten lines of segments
that each name the one below twice would otherwise make a million."""

MAX_SEGMENT_REFERENCES = 200
"""Of a flag in one environment: with the bound above, a flag never costs more than 200,000 leaves,
whatever later happens to its segments."""

MAX_VALUE_BYTES = 64 * 1024
"""Of one variant's value as JSON. Larger things belong in a file that a flag names."""

MAX_ALL_VALUES_BYTES = 3_584 * 1024
"""Of all values of a flag. Simple writes of large values add one each, and fifty that are served no
more are kept, so there is room for them."""

MAX_VALUE_NODES = 20_000
"""Members and elements of all values of a flag, with the values themselves: checked in 2 ms."""

MAX_VALUE_DEPTH = 64
"""Nesting of a value; encoders recurse."""

MAX_METADATA_BYTES = 8 * 1024
"""Of a flag's metadata as JSON: it is repeated in every answer."""

MAX_INTEGER = 2**53 - 1
"""Largest integer that JavaScript and every other reader of JSON has exactly (RFC 7493, 2.2)."""

MAX_PATH_CHARS = 256
"""Of the name of an attribute; bounds the steps of a path, too."""

MAX_PATTERN_CHARS = 1_000
"""Of one regular expression."""

MAX_PATTERNS = 50
"""Regular expressions of all leaves of a flag in one environment, or of one segment. An ordinary
one takes 20 us to compile and 5 KB, one of large classes of letters 1 ms and 70 KB; with the bound
below, 13 MB at the very worst."""

MAX_PATTERN_BYTES = 256 * 1024
"""Memory of the regular expressions of one leaf, together, for their program and for the automaton
that matching builds of it. A class of all letters, without regard to case, takes 70 KB."""

MAX_MATCHED_CHARS = 16_384
"""Of a string that is matched against regular expressions. Ordinary ones take 2 ns a character, and
one made to defeat the automaton 0.5 us, so a leaf never takes longer than about 10 ms."""

MAX_READ_CHARS = 16_384
"""Of a string of a context that is put into another case, or that texts are looked for in. A longer
one has none, as with `MAX_MATCHED_CHARS`."""

MAX_READ_ELEMENTS = 1_000
"""Of a list of a context whose elements are compared: at 50 ns each, 50 us. A longer one has none
of the values."""

MAX_MOMENT_CHARS = 64
"""Of a date and time: with 38 digits of a fraction."""

MAX_NETWORKS = 1_000
"""Of all leaves of a flag in one environment, or of one segment: read twice, to check and to
compile, in about 2 ms. Longer lists can be divided over segments."""

MAX_VERSION_RANGES = 100
"""As above; the longest there can be, of a hundred identifiers, take 25 us each."""

MAX_VERSION_CHARS = 256
"""Of a version; as npm has it. It bounds the integers that are made of its digits."""

MAX_NAME_CHARS = 256
"""Of names people read: a flag's name, owner, a variant, a rule's id, a tag."""

MAX_TEXT_CHARS = 8_192
"""Of a description."""

MAX_TAGS = 100
"""Of a flag or a segment."""

MAX_PROBLEMS = 1_000
"""Reported of one document; a hostile one must not make a long answer."""
