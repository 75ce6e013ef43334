"""Telling people outside of the cluster what happened to objects of ours."""
