"""The number types of PostgreSQL: the same records as in a text file, to the bit."""

import pandas as pd
import pytest

from heartline import contract
from heartline.ingestion import sources
from heartline.ingestion.sample import synthetic
from heartline.storage import record_identity
from tests.postgres import Postgres

TYPES = ("numeric", "numeric(5,2)", "numeric(20,12)", "real", "double precision", "real::double precision", "text")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    try:
        columns = ", ".join(f"{name} text" for name in contract.COLUMN_NAMES)
        server.run(f"CREATE TABLE patients ({columns})")
        for row in synthetic.generate(200).astype("object").itertuples(index=False):
            values = [None if pd.isna(one) else f"{one:.15g}" for one in row]
            server.run(f"INSERT INTO patients VALUES ({', '.join(['%s'] * len(values))})", *values)
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize("kind", TYPES)
def test_a_record_is_the_same_in_each_number_type(database, kind):
    query = f"SELECT {', '.join(f'{name}::{kind} AS {name}' for name in contract.COLUMN_NAMES)} FROM patients"
    table = sources.read("postgres", query=query, settings=sources.Settings(database_url=database.url)).table
    found, wanted = (record_identity.canonical(one) for one in (table.frame, synthetic.generate(200)))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    hashes = [record_identity.fingerprints(one)[1].tolist() for one in (table.frame, synthetic.generate(200))]
    assert hashes[0] == hashes[1]
