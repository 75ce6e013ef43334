"""The frame of our own jobs: run, write the result or the reason, give the exit code that says which."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from noria_serving import contract, log, result
from noria_serving.errors import NoriaError, Reason
from noria_serving.leaving import leave

Work = Callable[[Mapping[str, str]], dict[str, Any]]


def main(schema: str, work: Work) -> NoReturn:
    """This process is that job."""
    leave(run(schema, work, os.environ))


def run(schema: str, work: Work, env: Mapping[str, str]) -> int:
    """0 with the document of `work` written, else as result.py maps the reason."""
    log.configure()
    logger = logging.getLogger(__name__)
    target = env.get(contract.ENV_RESULT)
    try:
        document = work(env)
        result.write(document, target)
        logger.info("done", extra={"result": document})
    except NoriaError as error:
        refusal = error
        logger.exception("refused", extra={"reason": str(error.reason)})
    except Exception as error:
        refusal = NoriaError(Reason.INTERNAL, f"{type(error).__name__}: {error}")
        logger.exception("failed")
    else:
        return 0
    result.write_error(schema, refusal, target)
    return result.exit_code(refusal.reason)
