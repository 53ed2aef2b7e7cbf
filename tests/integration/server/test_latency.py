"""A small answer is sent at once: models read thousands of small artifacts one after the other."""

from __future__ import annotations

import statistics
import time

import httpx

from tests.integration.server.served import Served


def test_no_answer_waits_for_the_acknowledgement_of_its_headers(shared: Served) -> None:
    for url in shared.urls:
        with httpx.Client(base_url=url) as client:
            client.get("/healthz")
            seconds = []
            for _ in range(41):
                begun = time.perf_counter()
                client.get("/healthz")
                seconds.append(time.perf_counter() - begun)
        # Nagle's algorithm against delayed acknowledgements costs 40 ms each time.
        assert statistics.median(seconds) < 0.025, seconds
