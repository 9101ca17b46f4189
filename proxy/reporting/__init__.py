"""Brings what a sidecar collects to the control plane: one pipeline, a channel for each kind.

    source (exposures, events, usage) -> channel -> control plane
                                            \\-> spool (disk), while nobody takes it

`channel` decides, `batches` packs, `spool` keeps. What is collected, and how, is the sources' own.
"""
