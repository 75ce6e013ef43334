"""The generator of the CRDs and of their reference: the models in, YAML and Markdown out.

`python -m noria_operator.api.crdgen` writes `crds/`, the chart's copies and `docs/api/`; with `--check` it
only compares. Invariant: what a model says is in the CRD, or the generator refuses with the path of the
field; nothing is weakened in silence. Descriptions alone are shorter there (`brevity`) than in `docs/api/`.
"""

from noria_operator.api.crdgen.structural import SchemaError, structural_schema

__all__ = ["SchemaError", "structural_schema"]
