"""GET / in a browser: a page on which people try a model. One document, no outside resource.

Invariants: every name is escaped; the page may run only its own script and talk only to its own server.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Final

from noria_serving.server.http import Answer
from noria_serving.server.models import Models
from noria_serving.server.routes.example import request
from noria_serving.server.service import Service
from noria_serving.signature import Tensor

STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.5rem}
code,textarea,pre{font:14px/1.45 ui-monospace,monospace}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem 1rem .15rem 0;text-align:left}
textarea{width:100%;min-height:11rem;box-sizing:border-box}
button{font:inherit;padding:.3rem 1.2rem;margin:.5rem 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid;padding-left:.8rem;min-height:1.5rem}
"""
SCRIPT: Final = """
for (const form of document.forms) form.addEventListener('submit', async event => {
  event.preventDefault();
  const answer = form.parentNode.querySelector('pre');
  answer.textContent = '\\u2026';
  try {
    const response = await fetch(form.getAttribute('action'),
      {method: 'POST', headers: {'content-type': 'application/json'}, body: form.elements.request.value});
    const text = await response.text();
    try { answer.textContent = response.status + '\\n' + JSON.stringify(JSON.parse(text), null, 2); }
    catch { answer.textContent = response.status + '\\n' + text; }
  } catch (error) { answer.textContent = String(error); }
});
"""


def _hash(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


POLICY: Final = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept"),
)


def show(models: Models) -> Answer:
    """The page, with a form for each version."""
    sections = "".join(_section(service) for service in models.services())
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Noria model server</title>'
        '<meta name="viewport" content="width=device-width"><style>' + STYLE + "</style></head><body>"
        '<h1>Noria model server</h1><p>Open Inference Protocol V2; <a href="/openapi.json">OpenAPI</a>, '
        '<a href="/v2/models">models</a>.</p>'
        + (sections or "<p>No model is loaded.</p>") + "<script>" + SCRIPT + "</script></body></html>"
    )  # fmt: skip
    return 200, page.encode(errors="replace"), list(HEADERS)


def _section(service: Service) -> str:
    settings = service.settings
    path = f"/v2/models/{settings.names[0]}/versions/{settings.number}/infer"
    state = escape(service.soundness.fault) if service.soundness.fault else "ready"
    example = json.dumps(request(service), indent=1)
    return (
        f"<section><h2>{escape(settings.model)}, version {escape(settings.number)}</h2><p>{state}; "
        f"<code>{escape(service.loaded.manifest.digest)}</code></p>"
        f"{_table('Input', service.signature.inputs)}{_table('Output', service.signature.outputs)}"
        f'<form action="{escape(path)}"><label>Request<textarea name="request" spellcheck="false">'
        f"{escape(example)}</textarea></label><button>Predict</button></form>"
        '<pre aria-live="polite"></pre></section>'
    )


def _table(title: str, tensors: tuple[Tensor, ...]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(t.name)}</code></td><td>{t.datatype}</td><td>{list(t.shape)}</td></tr>"
        for t in tensors
    )
    return f"<table><tr><th>{title}</th><th>Datatype</th><th>Shape</th></tr>{rows}</table>"
