"""HostedEngine: the engine of a model that comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redline.server.engine import ServedEngine
from redline.server.pool.carried import added, at_rest

if TYPE_CHECKING:
    from redline.engine.outputs import EngineStats


class HostedEngine:
    """A ServedEngine while its model is loaded; endpoints, metrics and limits keep it when the model goes.

    It answers for itself what can be asked at any time, and hands on all else to the engine, which is there
    as long as a lease is held.
    """

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self._engine: ServedEngine | None = None
        self._before: EngineStats | None = None  # of the engines that are gone

    def __getattr__(self, name: str) -> Any:
        engine = self.__dict__.get("_engine")
        assert engine is not None or name.startswith("__"), f"{name} of a model that is not loaded"
        return getattr(engine, name)

    @property
    def loaded(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    @property
    def healthy(self) -> bool:
        """False while the engine that is loaded can serve nothing any more."""
        return self._engine is None or self._engine.healthy

    @property
    def stalled_s(self) -> float:
        """Seconds since a step ended, or 0."""
        return 0.0 if self._engine is None else self._engine.stalled_s

    def put(self, engine: ServedEngine) -> None:
        """The model was loaded."""
        assert self._engine is None, f"{self.model_name} is loaded already"
        self._engine = engine

    def take(self) -> ServedEngine:
        """The model goes; what its engine has counted stays."""
        engine, self._before = self._loaded(), at_rest(self.stats())
        self._engine = None
        return engine

    def stats(self) -> EngineStats:
        """Gauges of the engine; counters of all engines that this model has had."""
        if self._engine is not None:
            return added(self._before, self._engine.stats())
        assert self._before is not None, f"{self.model_name} was never loaded"
        return self._before

    def explain(self, request_id: str) -> list[list[str]] | None:
        """What happened to a request; None when it is not known, or the model has gone since."""
        return None if self._engine is None else self._engine.explain(request_id)

    def _loaded(self) -> ServedEngine:
        assert self._engine is not None, f"{self.model_name} is not loaded"
        return self._engine
