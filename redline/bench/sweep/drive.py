"""drive(): give a load to an engine as its users would, and return the times of every request."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

from redline.bench.sweep.load import Request
from redline.config.sampling import SamplingParams
from redline.engine.engine import Engine
from redline.engine.outputs import RequestMetrics
from redline.engine.request import RequestOptions

_names = (f"sweep-{number}" for number in itertools.count())  # an engine knows its latest requests by name


def drive(
    engine: Engine,
    requests: Sequence[Request],
    concurrency: int | None,
    on_done: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[RequestMetrics]:
    """Run `requests` to their ends; the metrics come in the order of the requests.

    At most `concurrency` are in the engine at once; None: all that have arrived. Each arrives at its own
    time, or, having none, when its turn comes. `on_done` hears of each that ends. What is left when an
    exception ends the run is aborted. Raises RedlineError when a request fails.
    """
    return _Drive(engine, requests, concurrency, on_done, sleep).run()


class _Drive:
    def __init__(
        self,
        engine: Engine,
        requests: Sequence[Request],
        concurrency: int | None,
        on_done: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._concurrency = len(requests) if concurrency is None else concurrency
        self._on_done = on_done
        self._sleep = sleep
        self._start_s = engine.now_s()
        self._num_added = 0
        self._place: dict[str, int] = {}  # of each request that is in the engine
        self._metrics: dict[int, RequestMetrics] = {}

    def run(self) -> list[RequestMetrics]:
        try:
            while len(self._metrics) < len(self._requests):
                self._add_arrived()
                if not self._waited():
                    self._step()
        finally:
            for request_id in self._place:
                self._engine.abort(request_id)
        return [self._metrics[place] for place in range(len(self._requests))]

    def _add_arrived(self) -> None:
        while (
            self._num_added < len(self._requests)
            and len(self._place) < self._concurrency
            and self._until_next_s() <= 0
        ):
            request = self._requests[self._num_added]
            request_id = next(_names)
            params = SamplingParams(max_tokens=request.output_tokens, temperature=0.0, ignore_eos=True)
            # One that came while a step ran has waited since then.
            arrival_s = None if request.at_s is None else self._start_s + request.at_s
            self._engine.add(request_id, request.prompt, params, RequestOptions(arrival_s=arrival_s))
            self._place[request_id] = self._num_added
            self._num_added += 1

    def _until_next_s(self) -> float:
        at_s = self._requests[self._num_added].at_s
        return 0.0 if at_s is None else self._start_s + at_s - self._engine.now_s()

    def _waited(self) -> bool:
        """Sleep if there is nothing to compute before the next arrival, or before a closed batch starts."""
        idle_s = self._engine.idle_for_s()
        if self._engine.has_work and idle_s is None:
            return False
        if self._num_added == len(self._requests) or len(self._place) >= self._concurrency:
            self._engine.flush()  # nobody else comes before one of these has ended
            return False
        until_s = self._until_next_s()
        self._sleep(max(0.0, until_s if idle_s is None else min(until_s, idle_s)))
        return True

    def _step(self) -> None:
        for delta in self._engine.step():
            if delta.error is not None:
                raise delta.error
            if delta.metrics is not None:
                self._metrics[self._place.pop(delta.request_id)] = delta.metrics
                self._on_done()
