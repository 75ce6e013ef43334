"""The script by which a router decides who may call: keys from files, claims of tokens that Envoy verified.

Comes in: Guards. Goes out: Lua. Invariants: it lets nobody in by itself, but leaves a verdict that routes ask
for, so a script that fails closes the door; whatever a user wrote stands in it as bytes in a string and can
end nothing.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping

from noria_operator.domain.access import Guard
from noria_operator.routers import access_lua

METADATA = "noria.access"
"""Namespace of the verdict on a request: under the deployment's name one of those below."""
TOLD = "noria.access.told"
"""Namespace of what its caller is told: `why` and `challenge`, which may be deployments' names, too."""
GRANTED, FORBIDDEN, UNKNOWN = "granted", "forbidden", "unknown"
SHORTEST_KEY = 16
LONGEST_KEY = 1024


def judging(guards: Iterable[Guard], *, keys: Mapping[str, str], jwks: Mapping[str, str], report: str) -> str:
    """The script that leaves a verdict on a request, or answers what a router holds to check with.

    `keys` are directories by Secret, `jwks` files by deployment; `report` the path under which it is asked.
    """
    table = ",\n".join(f"[{_text(one.deployment)}] = {_guard(one, keys, jwks)}" for one in guards)
    constants = {
        "METADATA": METADATA,
        "TOLD": TOLD,
        "GRANTED": GRANTED,
        "FORBIDDEN": FORBIDDEN,
        "UNKNOWN": UNKNOWN,
        "REPORT": report.replace("-", "%-"),
    }
    said = "".join(f"local {name} = {_text(value)}\n" for name, value in constants.items())
    said += f"local SHORTEST, LONGEST = {SHORTEST_KEY}, {LONGEST_KEY}\nlocal guards = {{\n{table}\n}}\n"
    return said + access_lua.FILES + access_lua.KEYS + access_lua.CLAIMS + access_lua.JUDGE


def serving_key_sets(files: Mapping[str, str]) -> str:
    """The script that answers with files, by path; what is not there is left to the route."""
    table = ", ".join(f"[{_text(path)}] = {_text(file)}" for path, file in sorted(files.items()))
    return f"local files = {{{table}}}\n{access_lua.FILES}{access_lua.KEY_SETS}"


def _guard(guard: Guard, keys: Mapping[str, str], jwks: Mapping[str, str]) -> str:
    claims = ", ".join(
        f"[{_text(claim)}] = {{{', '.join(f'[{_text(value)}] = true' for value in values)}}}"
        for claim, values in guard.claims
    )
    fields = {
        "rules": guard.rules,
        "keys": keys.get(guard.keys, ""),
        "header": guard.header,
        "jwks": "remote" if guard.uri else jwks.get(guard.deployment, ""),
        "need": need(guard),
        "challenge": challenge(guard),
    }
    said = ", ".join(f"{name} = {_text(value)}" for name, value in fields.items())
    return f"{{{said}, token = {'true' if guard.issuer else 'false'}, claims = {{{claims}}}}}"


def need(guard: Guard) -> str:
    """What a caller without a credential is told."""
    where = "Authorization: Bearer" if guard.header == "authorization" else f"the header {guard.header}"
    ways = [f"a key in {where}"] if guard.keys else []
    ways += ["a token in Authorization: Bearer"] if guard.issuer else []
    return f"{guard.deployment} needs {' or '.join(ways)}" if ways else f"{guard.deployment} lets nobody in"


def challenge(guard: Guard) -> str:
    """Of WWW-Authenticate (RFC 9110, 11.6.1)."""
    scheme = "Bearer" if guard.issuer or guard.header == "authorization" else "ApiKey"
    return f'{scheme} realm="{guard.deployment}"'


def _text(value: str) -> str:
    """A string of Lua; bytes that could end or change one stand in it as numbers."""
    plain = string.ascii_letters + string.digits + " -_.:/@"
    return "".join(['"', *(chr(one) if chr(one) in plain else f"\\{one:03d}" for one in value.encode()), '"'])
