"""What is imported, against the SDKs of the systems that it comes from.

Definitions and contexts are drawn at random, with seeds, and answered twice: by the SDK itself in
Node, and by what its definitions become here. Every answer has to be the same: value, variant,
reason, and what names them.

    <system>.mjs              the SDK, asked line by line
    definitions_<system>.py   what is drawn. It keeps to what all SDKs of the system answer alike;
                              where they differ, `docs/migrate` says so
    values.py                 texts, numbers and units that make systems disagree
    asking.py                 asks both sides

The packages are those of `tests/clients/package.json`.
"""
