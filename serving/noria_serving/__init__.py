"""Noria's model server and the bundle library with which training code hands over a model."""

TYPE_CHECKING = False  # that of `typing`, which the supervisor does without
if TYPE_CHECKING:
    from noria_serving.feedback.token import token_id
    from noria_serving.python_model import PythonModel

__all__ = ["PythonModel", "token_id"]
_MODULES = {"PythonModel": "noria_serving.python_model", "token_id": "noria_serving.feedback.token"}


def __getattr__(name: str) -> object:
    """Imported when somebody asks for it: the supervisor (supervisor.py) does not."""
    if name in _MODULES:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
