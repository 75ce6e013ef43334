"""What a request costs: Noria, its peers and bare floors on the same models and payloads, in turn. `make
bench-server`; docs/benchmarks/server.md says how to read it.
"""
