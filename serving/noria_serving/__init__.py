"""Noria's model server and the bundle library with which training code hands over a model."""

TYPE_CHECKING = False  # that of `typing`, which the supervisor does without
if TYPE_CHECKING:
    from noria_serving.python_model import PythonModel

__all__ = ["PythonModel"]


def __getattr__(name: str) -> object:
    """Imported when somebody asks for it: the supervisor (supervisor.py) does not."""
    if name in __all__:
        from noria_serving import python_model  # noqa: PLC0415

        return getattr(python_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
