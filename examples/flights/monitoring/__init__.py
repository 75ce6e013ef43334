"""Prometheus and Alertmanager beside the demo, and the webhook that is called."""
