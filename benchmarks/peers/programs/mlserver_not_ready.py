"""A model inside MLServer that says of itself that it is not ready; runs in its environment."""

from mlserver import MLModel


class NotReadyModel(MLModel):
    """What `load` returns is whether it is."""

    async def load(self):
        return False
