"""Noria's operator and the real Argo Rollouts controller, in turn, on an API server with simulated pods."""
