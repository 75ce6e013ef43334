"""What users write: the four kinds as pydantic models, the only source of the CRDs and of their reference.

Comes in: JSON of the API server. Goes out: frozen models, or one readable error. Invariant: the CRDs accept
what these models accept, and nothing else.
"""
