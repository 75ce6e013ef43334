"""What a request costs: Noria, its peers and bare floors on the same models and payloads, in turn. `make
bench-server` prints the tables and keeps them in build/bench.
"""
