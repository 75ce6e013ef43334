"""What the objects of the loop say, as Prometheus metrics.

Counters of a process forget at a restart and cannot name objects without growing for ever. These gauges are
read from the cache at each scrape instead: they are right from the first one, and end with their object.
"""
