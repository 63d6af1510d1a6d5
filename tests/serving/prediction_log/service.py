"""A service whose prediction log is written by the test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from serving.prediction_log import writer
from serving.prediction_log.writer import PredictionLog
from tests.postgres import Postgres
from tests.serving.fakes import RECORD, Service

NO_DATABASE = "postgresql://predictions:s3cret@127.0.0.1:1/predictions"


class Logged(Service):
    """A service whose log is written by the test."""

    @property
    def log(self) -> PredictionLog:
        log: PredictionLog = self.app.extensions["prediction_log"]
        return log

    def predict(self, body: Any = RECORD, **headers: str) -> Any:
        response = self.client.post("/predict", json=body, headers=headers)
        assert response.status_code == 200
        return response.get_json()

    def tick(self) -> dict[str, Any]:
        self.log._next_try = self.log._next_adopt = 0
        self.log.tick()
        return self.describe()

    def describe(self) -> dict[str, Any]:
        state: dict[str, Any] = msgspec.to_builtins(self.log.describe())
        return state


Start = Callable[..., Logged]


def logged(postgres: Postgres) -> list[str]:
    return [found for (found,) in postgres.run("SELECT prediction_id::text FROM prediction ORDER BY answered")]


def spills(service: Logged) -> list[Path]:
    return list((Path(service.app.extensions["settings"].cache) / writer.FOLDER).glob("*"))
