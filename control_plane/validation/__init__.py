"""`matrixflag validate`: everything that is wrong with files of definitions, before they are used.

    command    arguments, files in, text out, exit status
    project    files -> items -> problems of all of them together
    documents  one file -> its flags and segments, and what is wrong with their shape
    snapshots  one file that is a snapshot -> what is wrong with it
    syntax     text that is no JSON -> where and why not
    notes      problems, with what is needed to find their place
    report     problems -> places -> lines of text, JSON or annotations

All but `command` are pure. It needs no Redis and no server; of the control plane it uses only what
the API says of the shape of documents, and how it looks past that at what they mean.
"""
