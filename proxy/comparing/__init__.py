"""`matrixflag compare`: whether two OFREP servers answer the same contexts alike.

`differences` says what differs between two answers, `asking` gets answers over OFREP, `command` is
the command line. None of them knows this project's engine: either server may be any.
"""
