"""`noria-server`: serve one bundle, told by the environment (contract.py) what to serve and under which
names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from noria_serving import log, result, settings
from noria_serving.contract import VERIFICATION_SCHEMA
from noria_serving.errors import NoriaError


def main() -> None:
    """Exit codes: 0 after a drain, 2 for a bad environment, 3 for unreachable storage, 1 for a refused
    bundle.
    """
    log.configure()
    try:
        chosen = settings.read(os.environ)
    except NoriaError as error:
        logging.getLogger(__name__).exception("refused", extra={"reason": str(error.reason)})
        result.write_error(VERIFICATION_SCHEMA, error)
        sys.exit(result.exit_code(error.reason))
    sys.exit(_run(chosen))


def _run(chosen: settings.Settings) -> int:
    import uvloop  # noqa: PLC0415  after the environment was found good

    from noria_serving.server.lifecycle import Lifecycle  # noqa: PLC0415

    async def serve() -> int:
        return await Lifecycle(chosen).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


if __name__ == "__main__":
    main()
