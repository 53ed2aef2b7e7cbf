"""The engine behind all kinds: caches, queue, server-side apply, lease, metrics. It knows no kind's meaning."""
