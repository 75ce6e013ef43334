"""What a class of your own must offer to be served: `load` and `predict`. See docs/bundle.md.

Standard library only: whoever imports `noria_serving` gets this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class PythonModel(ABC):
    """A model of your own, for the format `python`.

    The server makes one object without arguments, calls `load` once, and then `predict` in another thread,
    one call at a time.
    """

    def load(self, directory: Path) -> None:  # noqa: B027  a class may need no files
        """Read what the model needs; `directory` holds the files that were given to `save`. What is raised
        here keeps the version from becoming ready.
        """

    @abstractmethod
    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, ArrayLike]:
        """The answer to the rows of one request, or of several that were joined.

        inputs: for each column of the training rows, in their order, an array of shape [rows, 1], or
        `input-0` of shape [rows, features] where they were a matrix. Numbers are float64 (a missing one is
        NaN), whole numbers int64, truth values bool, text str (a missing one is empty). They are read-only.

        Gives arrays by name, each with one entry a row. A classifier gives `probabilities`, of shape [rows,
        classes] in the order of the sorted labels; `label`, where it is left out, is the likeliest class. One
        that has no probabilities gives `label` and nothing else. A regression gives its prediction first, of
        shape [rows] or [rows, 1]. Further outputs are free; names, datatypes and shapes must be those that
        the first answer in `save` had.

        What is raised here is answered as a failure of the model: 500, with the exception's class and
        message.
        """
