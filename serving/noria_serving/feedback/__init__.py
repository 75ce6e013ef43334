"""Feedback without a store: signed tokens carry what labels are joined with."""
