"""What was found, as a Markdown page: clients, edge cases and schemathesis, the servers side by side.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.conformance.fuzz import Outcome
from benchmarks.conformance.probes import Probe

CLIENTS = """\
## Clients that others wrote

Checks that passed, of those in [each client's script](../../benchmarks/conformance/clients). They ask for
all that the clients can do, also beyond the protocol's text: binary tensors, the model repository, streams,
V1."""
EDGES = """\
## Edge cases

What came: the status, and the keys of an error or what is odd about the body. Bold is not the right answer.
The protocol's text says of every error that its body must be `{"error": "…"}`, and no type of its OpenAPI
document may be null. The JSON of readiness has both keys because the text names one and clients read the
other."""
FUZZ = """\
## schemathesis

Requests made from the protocol's public OpenAPI document: its own, and the one that MLServer's package has,
both [corrected where they are faulty](../../benchmarks/conformance/document.py). Failures are faults of the
server (5xx), and statuses, types and bodies that the document does not have, each once an operation, of which
no more is asked then."""
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
LENGTH = 160
Reports = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class Found:
    """What one server did."""

    clients: Reports
    """By suite and check: None, or what went wrong."""
    answers: Mapping[str, str]
    """By the name of a probe."""
    fuzz: Mapping[str, Outcome]
    """By the document that requests were made from."""


def markdown(found: Mapping[str, Found], probes: Sequence[Probe], about: str) -> str:
    """The whole page; `found` by the title of the server, in the order of the columns."""
    parts = [
        f"# Open Inference Protocol: conformance\n\n{about}",
        CLIENTS,
        _clients(found),
        *(_failures(title, _client_failures(server)) for title, server in found.items()),
        EDGES,
        _edges(found, probes),
        FUZZ,
        _fuzz(found),
        *(
            _failures(f"{title}, by {document}", outcome.failures)
            for title, server in found.items()
            for document, outcome in server.fuzz.items()
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def faults(server: Found, probes: Sequence[Probe]) -> list[str]:
    """Everything that a server did not do right."""
    wrong = (
        f"{probe.name}: {server.answers[probe.name]}, not {probe.right}"
        for probe in probes
        if server.answers[probe.name] != probe.right
    )
    fuzzed = (failure for outcome in server.fuzz.values() for failure in outcome.failures)
    return [*_client_failures(server), *wrong, *fuzzed]


def _clients(found: Mapping[str, Found]) -> str:
    suites = next(iter(found.values())).clients
    return _table(
        found, ["client"], [[suite] for suite in suites], lambda server, row: _passed(server.clients[row[0]])
    )


def _edges(found: Mapping[str, Found], probes: Sequence[Probe]) -> str:
    rows = [[probe.name, probe.right] for probe in probes]

    def cell(server: Found, row: Sequence[str]) -> str:
        name, right = row
        given = server.answers[name]
        return given if given == right else f"**{given}**"

    return _table(found, ["request", "right"], rows, cell)


def _fuzz(found: Mapping[str, Found]) -> str:
    figures: dict[str, Callable[[Outcome], int]] = {
        "failures": lambda outcome: len(outcome.failures),
        "operations": lambda outcome: len(outcome.operations),
        "requests": lambda outcome: outcome.requests,
    }
    documents = next(iter(found.values())).fuzz
    rows = [[document, name] for document in documents for name in figures]

    def cell(server: Found, row: Sequence[str]) -> str:
        document, name = row
        return str(figures[name](server.fuzz[document]))

    return _table(found, ["document", ""], rows, cell)


def _table(
    found: Mapping[str, Found],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    cell: Callable[[Found, Sequence[str]], str],
) -> str:
    lines = [[*head, *found], ["---"] * (len(head) + len(found))]
    lines += [[*row, *(cell(server, row) for server in found.values())] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _passed(report: Mapping[str, str | None]) -> str:
    good = sum(1 for wrong in report.values() if wrong is None)
    return f"{good} of {len(report)}" if good == len(report) else f"**{good} of {len(report)}**"


def _client_failures(server: Found) -> list[str]:
    return [
        f"{suite} {check}: {wrong}"
        for suite, report in server.clients.items()
        for check, wrong in report.items()
        if wrong is not None
    ]


def _failures(title: str, failures: Sequence[str]) -> str:
    """As code, the beginning of each: messages hold whatever a server sent."""
    lines = (" ".join(ADDRESS.sub("", failure).split())[:LENGTH] for failure in failures)
    return "\n".join([f"{title}:", "", "```text", *lines, "```"]) if failures else ""
