"""How Noria talks to the API server: client, cache, server-side apply, work queue, lease, Events, watches."""
