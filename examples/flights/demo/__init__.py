"""`make demo`: the whole loop on a real cluster with a year of real flights, told as it happens and checked
at the end.
"""
