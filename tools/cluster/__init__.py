"""A real Kubernetes on this machine, for the demo, the tests and for looking around.

`python3 -m tools.cluster up` ends with a node that is Ready, a default StorageClass, an OCI registry and a
kubeconfig. Where the cluster comes from, in order of preference: `NORIA_KUBECONFIG` (used, never created or
deleted), kind when Docker answers, else Kubernetes built from Go modules that runs in namespaces of its own.

Standard library only: the tool runs with any Python 3.11 before anything else is installed.
"""
