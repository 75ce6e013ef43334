"""Noria's model server and the bundle library with which training code hands over a model."""

from noria_serving.python_model import PythonModel

__all__ = ["PythonModel"]
