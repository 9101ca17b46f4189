"""The engine: definitions in, problems and callables out, answers out of those. Pure.

It knows nothing of HTTP, of clocks, of where definitions come from and of who asks. The sidecar
serves with it and the control plane validates with it, so what is published is what compiles.

    definition -> validate -> problems
    definition -> translate -> rule program -> codegen -> callable -> answer with its bytes

This is its whole interface; the modules behind it are its own affair.
"""

from proxy.engine.answers import Answer
from proxy.engine.bucketing import bucket, reallocate
from proxy.engine.code_defaults import code_defaults
from proxy.engine.compile import compile_changes, compile_flag, compile_snapshot
from proxy.engine.compiled import CompiledFlag, CompiledSnapshot, Evaluate
from proxy.engine.dialects import OVERRIDE
from proxy.engine.evaluate import evaluate
from proxy.engine.explain import explain, explaining, nearest_keys
from proxy.engine.explain_text import explanation_text, result_text
from proxy.engine.file_text import FileText, FileUnreadable, read_file_text
from proxy.engine.importing import (
    Import,
    check_import_options,
    flag_source_names,
    flag_source_options,
    flag_source_traits,
    idle_source_options,
    import_document,
    segment_source_names,
    shared_place,
    sharing,
)
from proxy.engine.memo import Memo
from proxy.engine.ramps import ramp_arms
from proxy.engine.recognising import NATIVE, whose
from proxy.engine.times import parse_moment
from proxy.engine.timing import Timing
from proxy.engine.validate import (
    check_definition,
    check_flag,
    check_segment,
    checking_flag,
    checking_segment,
)

__all__ = [
    # compile and answer
    "OVERRIDE",
    "Answer",
    "CompiledFlag",
    "CompiledSnapshot",
    "Evaluate",
    "Memo",
    "Timing",
    "code_defaults",
    "compile_changes",
    "compile_flag",
    "compile_snapshot",
    "evaluate",
    "parse_moment",
    # explain
    "explain",
    "explaining",
    "explanation_text",
    "nearest_keys",
    "result_text",
    # validate
    "check_definition",
    "check_flag",
    "check_segment",
    "checking_flag",
    "checking_segment",
    # read other systems' files
    "NATIVE",
    "FileText",
    "FileUnreadable",
    "read_file_text",
    "Import",
    "check_import_options",
    "flag_source_names",
    "flag_source_options",
    "flag_source_traits",
    "idle_source_options",
    "import_document",
    "segment_source_names",
    "shared_place",
    "sharing",
    "whose",
    # split units
    "bucket",
    "ramp_arms",
    "reallocate",
]
