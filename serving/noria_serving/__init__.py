"""Noria's model server and the bundle library with which training code hands over a model."""
