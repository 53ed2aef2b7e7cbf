"""One model's whole work, as a job in a cluster does it: trained, its missing outputs computed, measured.

Each only where something is missing, so that a job that was killed goes on from there, and of two at once one waits
and finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from superduper.api.v1alpha1 import Reason
from superduper.code import describe
from superduper.errors import NotFound, SuperduperError
from superduper.reasons import MENDED_OUTSIDE, reason

if TYPE_CHECKING:
    from superduper.backends.base.metadata import JobKind
    from superduper.components.model import Model
    from superduper.datalayer import Datalayer

DONE, FAILED, FAILED_FOR_GOOD = 0, 1, 42
"""Exit codes: failed for a reason that another attempt may mend, and for one that it does not."""
_KINDS: dict[Reason, JobKind] = {Reason.TRAINING: "train", Reason.VALIDATING: "validate"}


class Told(Protocol):
    """Who is told how far it is."""

    def say(self, text: str) -> None:
        """One line."""

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        """Rows done, rows in all, rows failed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: the exit code, and why in a word and in a sentence."""

    code: int
    reason: Reason
    message: str


class Driver:
    """Does the work of one model of a datalayer that was opened with ``defer``: models on its outputs have their own."""

    def __init__(
        self,
        db: Datalayer,
        identifier: str,
        told: Told,
        border: Callable[[], None] = lambda: None,
        *,
        asked: bool = False,
    ) -> None:
        self._db, self._identifier, self._told = db, identifier, told
        self._asked = asked
        """Whether outputs are computed whatever the trigger says."""
        self._border = border
        """Called between batches; what it raises ends the work there."""
        self._phase = Reason.APPLYING
        self._did: list[str] = []

    def work(self) -> Ended:
        """Do what is missing. Errors end in ``Ended``, and in the model's jobs."""
        try:
            return self._work()
        except SuperduperError as error:
            return self.failed(error)

    def failed(self, error: SuperduperError) -> Ended:
        """How an error ends the work."""
        why = reason(error, self._phase)
        text = str(error) or describe(error)
        return Ended(FAILED if why in MENDED_OUTSIDE else FAILED_FOR_GOOD, why, text)

    def _work(self) -> Ended:
        model = self._model()
        if model.suspend:
            return Ended(DONE, Reason.SUSPENDED, "spec.suspend is true: nothing is run")
        if model.fitted is None and (model.training is not None or model.artifact is not None):
            self._train(model)
            model = self._model()
            if model.fitted is None:
                assert model.training is not None
                text = f"waits for rows of table {model.training.table!r} to be trained on"
                return Ended(DONE, Reason.DEPENDENCY_NOT_READY, text)
        self._phase = Reason.PREDICTING
        ended = self._predict(model)
        if ended.code == DONE and model.validation is not None:
            self._phase = Reason.VALIDATING
            self._validate(model)
            return Ended(DONE, ended.reason, "; ".join([ended.message, *self._did]))
        return ended

    def _model(self) -> Model:
        found: Model = self._db.load("model", self._identifier)
        return found

    def _train(self, model: Model) -> None:
        self._phase = Reason.TRAINING
        word = "training" if model.training is not None else "fetching"
        self._told.progress(f"model/{self._identifier} {word}", 0, None)
        if self._db.upkeep.fitting.train(model):
            self._told.say(f"model/{self._identifier}: {'trained' if model.training is not None else 'fetched'}")
        self._border()

    def _predict(self, model: Model) -> Ended:
        spec = model.predict_spec
        if spec is None:
            return Ended(DONE, Reason.AVAILABLE, f"version {model.version}")
        listener = self._db.listener(self._identifier)
        if (self._asked or spec.trigger == "OnChange") and not self._db.upkeep.is_current(listener):
            what = f"model/{self._identifier} predicting"
            self._told.progress(what, 0, self._db.upkeep.coverage(listener).pending)

            def tell(_: str, done: int, failed: int, total: int) -> None:
                self._told.progress(what, done, total, failed)
                self._border()

            self._db.upkeep.progress = tell
            self._recorded(model, lambda: self._db.run(self._identifier))
        coverage = self._db.coverage(self._identifier)
        text = f"{coverage.done:,} of {coverage.rows:,} rows predicted"
        text += f", {coverage.failed:,} failed" if coverage.failed else ""
        text += f", {coverage.pending:,} pending" if coverage.pending else ""
        self._told.say(f"model/{self._identifier}: {text}")
        if not coverage.failed:
            return Ended(DONE, Reason.AVAILABLE, text)
        first = self._db.errors(self._identifier)[0]
        text = f"{text}; row {first['row']!r}: {first['error']}"
        if coverage.done:
            return Ended(DONE, Reason.PARTIAL, text)
        return Ended(FAILED_FOR_GOOD, Reason.PREDICTION_FAILED, text)

    def _validate(self, model: Model) -> None:
        """Where the model, what it is measured by, or the rows have changed since the last time."""
        assert model.validation is not None
        with self._db.upkeep.runs.lock(f"validate:{self._identifier}"):
            known = self._db.metadata.status("model", self._identifier).get("validation") or {}
            if known.get("measured") == self._db.upkeep.fitting.measured(model) or not self._has_rows(model):
                return
            self._told.progress(f"model/{self._identifier} validating", 0, None)
            metrics = self._db.validate(model)
        text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._did.append(text)
        self._told.say(f"model/{self._identifier}: {text}")

    def _has_rows(self, model: Model) -> bool:
        assert model.validation is not None
        try:
            return bool(self._db[model.validation.table].count_documents(model.validation.filter or {}).execute())
        except NotFound:
            return False

    def _recorded(self, model: Model, run: Callable[[], object]) -> None:
        """What fails before its job is begun is on record as a job all the same."""
        runs = self._db.upkeep.runs
        before = {job.id for job in self._db.metadata.jobs(self._identifier, limit=20)}
        try:
            run()
        except SuperduperError as error:
            after = [job for job in self._db.metadata.jobs(self._identifier, limit=20) if job.id not in before]
            if not any(job.phase == "Failed" for job in after):
                with suppress(SuperduperError):
                    runs.failed(_KINDS.get(self._phase, "predict"), model, error)
            raise
