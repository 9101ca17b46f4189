"""The words that cross the wire: reasons, error codes, problem codes.

Rules: a code is never reused for another meaning and never renamed; each one has a row in
`docs/error-codes.md` (a test compares). Reasons are the OpenFeature set and nothing else, because a
shipped client fails on any other (the OFREP Python provider looks the reason up in an enum).
"""

from enum import StrEnum

__all__ = ["ErrorCode", "KeyKind", "ProblemCode", "Reason", "Severity"]


class Reason(StrEnum):
    """Why an evaluation gave its value (OpenFeature specification, types, resolution reason)."""

    STATIC = "STATIC"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"


class ErrorCode(StrEnum):
    """Evaluation errors that OFREP 0.3.0 lets a server answer."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


class KeyKind(StrEnum):
    """What a key may be used for; the word in the middle of `mf_<kind>_<secret>`."""

    SIDECAR = "sidecar"
    """Reads one environment's snapshots and reports what was exposed."""
    SERVER = "server"
    """Evaluates every flag of one environment."""
    CLIENT = "client"
    """Evaluates only flags marked `client_side`; may be public."""
    SERVICE = "service"
    """Manages definitions over the API, with a role; a program's, not a person's."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class ProblemCode(StrEnum):
    """What can be wrong with a document; each is explained in docs/error-codes.md."""

    # The bytes
    MALFORMED_JSON = "malformed_json"
    DUPLICATE_KEY = "duplicate_key"
    TOO_DEEP = "too_deep"
    # The shape
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_ONE_OF = "not_one_of"
    OUT_OF_RANGE = "out_of_range"
    # The meaning
    INVALID_KEY = "invalid_key"
    INVALID_SALT = "invalid_salt"
    INVALID_DATE = "invalid_date"
    INVALID_TIME = "invalid_time"
    INVALID_NETWORK = "invalid_network"
    NO_VARIANTS = "no_variants"
    VALUE_TYPE = "value_type"
    VALUE_TOO_LARGE = "value_too_large"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    ARRAY_VALUE = "array_value"
    METADATA_NOT_FLAT = "metadata_not_flat"
    UNKNOWN_VARIANT = "unknown_variant"
    UNKNOWN_SEGMENT = "unknown_segment"
    UNKNOWN_FLAG = "unknown_flag"
    DUPLICATE_PREREQUISITE = "duplicate_prerequisite"
    PREREQUISITE_CYCLE = "prerequisite_cycle"
    VARIANT_IN_USE = "variant_in_use"
    SEGMENT_CYCLE = "segment_cycle"
    SEGMENT_TOO_DEEP = "segment_too_deep"
    INVALID_PATH = "invalid_path"
    UNKNOWN_OPERATOR = "unknown_operator"
    OPERATOR_VALUES = "operator_values"
    OPERATOR_OPTION = "operator_option"
    INVALID_PATTERN = "invalid_pattern"
    UNKNOWN_ZONE = "unknown_zone"
    WEIGHTS_SUM = "weights_sum"
    WEIGHT_RANGES = "weight_ranges"
    RANGES_OVERLAP = "ranges_overlap"
    DUPLICATE_RULE_ID = "duplicate_rule_id"
    DUPLICATE_VARIANT = "duplicate_variant"
    DUPLICATE_UNIT = "duplicate_unit"
    MISSING_BLOB = "missing_blob"
    INVALID_BLOB = "invalid_blob"
    SOURCE_DECIDES = "source_decides"
    SOURCE_REMOVED = "source_removed"
    KEY_IN_USE = "key_in_use"
    ARCHIVED = "archived"
    OTHER_SYSTEM = "other_system"
    OPTION_MISSING = "option_missing"
    OPTION_ASSUMED = "option_assumed"
    UNITS_MAY_MOVE = "units_may_move"
    SWITCHED = "switched"
    UNKNOWN_ENVIRONMENT = "unknown_environment"
    UNKNOWN_PROJECT = "unknown_project"
    VALUE_DISAGREES = "value_disagrees"
    READ_ONLY = "read_only"
    OTHER_ENVIRONMENT_CHANGED = "other_environment_changed"
    UNSUPPORTED = "unsupported"
    TOO_MANY = "too_many"
    NOT_COMPILED = "not_compiled"
