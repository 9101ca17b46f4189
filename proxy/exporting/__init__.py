"""`matrixflag export`: a project's definitions as a file, native or flagd's.

`flagd` translates, purely; `reading` gets definitions over the API; `command` is the command line.
"""
