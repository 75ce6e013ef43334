"""The small bundles that the model server's unit tests use too."""

from tests.unit.serving.conftest import frame, frame_bundle, loaded, loaded_frame, matrix, matrix_bundle  # noqa: F401
