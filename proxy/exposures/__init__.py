"""Records which unit was shown which variant, and reports it to the control plane.

`recorder` and `buffer` are on the way of evaluations and do little; `reporter` does the rest.
"""
