"""Records which unit was shown which variant: the source of the channel of exposures.

`recorder` and `buffer` are on the way of evaluations and do little; `proxy.reporting` does all
else.
"""
