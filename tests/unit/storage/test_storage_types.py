"""A record is the same however its numbers were stored: one identity, one snapshot digest, one train/test split."""

import io
import sqlite3
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartline import contract, resolution
from heartline.ingestion import sources, tables
from heartline.ingestion.mapping import parser as mapping_parser
from heartline.ingestion.sample import synthetic
from heartline.storage import record_identity, snapshots, splits

WHOLE = [column.name for column in contract.COLUMNS if column.whole]
DECIMAL = [column.name for column in contract.COLUMNS if not column.whole]
COHORT = synthetic.generate(1000)
UNITS = {column.name: 10**column.decimals for column in contract.COLUMNS}

Store = Callable[["pd.Series[float]"], object]


def _decimals(values: pd.Series) -> list[Decimal | None]:
    return [None if pd.isna(one) else Decimal(repr(float(one))) for one in values]


def _text(form: str) -> Store:
    return lambda values: ["" if pd.isna(one) else format(one, form) for one in values]


def _noisy(values: pd.Series) -> pd.Series:
    return values.astype("float32").astype("float64")


PANDAS: dict[str, Store] = {
    "float64": lambda values: values,
    "float32": lambda values: values.astype("float32"),
    "float32 widened to float64": _noisy,
    "the result of a calculation in float32": lambda values: (
        values.astype("float32") * np.float32(0.1) / np.float32(0.1)
    ),
    "Float32": lambda values: values.astype("Float32"),
    "Float64": lambda values: values.astype("Float64"),
    "Decimal": lambda values: pd.Series(_decimals(values), values.index, dtype="object"),
    "category": lambda values: _noisy(values).astype("category"),
    "numpy scalars": lambda values: values.astype("float32").astype("object"),
    "decimal128 of Arrow": lambda values: pd.Series(
        pd.array(_decimals(values), dtype=pd.ArrowDtype(pa.decimal128(9, 4))), values.index
    ),
    "float32 of Arrow": lambda values: values.astype(pd.ArrowDtype(pa.float32())),
}
INTEGERS: dict[str, Store] = {
    "Int64": lambda values: values.astype("Int64"),
    "int64 of Arrow": lambda values: values.astype(pd.ArrowDtype(pa.int64())),
}
TEXTS: dict[str, Store] = {
    "2.3": _text(""),
    "2.30": _text(".2f"),
    "2.3000e+00": _text(".6e"),
    "2.29999995231628418": lambda values: _text(".18g")(_noisy(values)),
    "+2.3": _text("+.15g"),
}


def _arrow(kind: pa.DataType, prepare: Store = lambda values: values) -> Store:
    return lambda values: pa.array(prepare(values), from_pandas=True).cast(kind, safe=False)


def _dictionary(values: pd.Series) -> pa.Array:
    return pa.array(_text("")(values)).dictionary_encode()


ARROW: dict[str, Store] = {
    "double": _arrow(pa.float64()),
    "float": _arrow(pa.float32()),
    "halffloat": lambda values: pa.array(values.to_numpy("float16"), from_pandas=True),
    "decimal128": lambda values: pa.array(_decimals(values), pa.decimal128(6, 2)),
    "decimal128, many digits": lambda values: pa.array(_decimals(values), pa.decimal128(30, 12)),
    "decimal256": lambda values: pa.array(_decimals(values), pa.decimal256(50, 20)),
    "string": lambda values: pa.array(_text(".2f")(values)),
    "large_string": lambda values: pa.array(_text("")(values), pa.large_string()),
    "dictionary": _dictionary,
}
ARROW_INTEGERS: dict[str, Store] = {
    name: _arrow(getattr(pa, name)()) for name in ("int16", "int32", "int64", "uint16", "uint64")
}


@st.composite
def records(draw: st.DrawFn) -> pd.DataFrame:
    """120 valid records whose measurements take every value of their resolution."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frame = COHORT.sample(120, random_state=random)
    for name in DECIMAL:
        frame[name] = random.integers(0, 10 * UNITS[name] + 1, len(frame)) / UNITS[name]
    return frame.reset_index(drop=True)


def _kinds(forms: dict[str, Store], whole: dict[str, Store]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {
            name: st.sampled_from(sorted(forms | whole) if name in WHOLE else sorted(forms))
            for name in contract.COLUMN_NAMES
        }
    )


def _expect_the_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Compare identity, duplicates, snapshot and split of two forms of the same records."""
    for one, other in zip(record_identity.fingerprints(found), record_identity.fingerprints(wanted), strict=True):
        assert (one == other).all()
    assert (record_identity.distinct(found)[1] == record_identity.distinct(wanted)[1]).all()
    canonical = record_identity.canonical(found)
    assert snapshots.write_snapshot(canonical) == snapshots.write_snapshot(record_identity.canonical(wanted))
    train, holdout = splits.train_test_split(canonical)
    again = splits.train_test_split(record_identity.canonical(wanted))
    pd.testing.assert_frame_equal(train, again[0], check_exact=True)
    pd.testing.assert_frame_equal(holdout, again[1], check_exact=True)


@pytest.fixture(scope="module", autouse=True)
def _store(module_store: None) -> None:
    """Snapshots of this module have a store."""


@given(frame=records(), kinds=_kinds(PANDAS, INTEGERS))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_the_types_of_pandas(frame, kinds):
    forms = PANDAS | INTEGERS
    stored = pd.DataFrame({name: forms[kind](frame[name]) for name, kind in kinds.items()})
    _expect_the_same(stored, frame)
    read = tables.from_frame(stored.set_axis(range(stored.shape[1]), axis=1), list(stored), where="a table").frame
    _expect_the_same(read, frame)


@given(frame=records(), kinds=_kinds(ARROW, ARROW_INTEGERS))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_the_types_of_parquet(frame, kinds):
    forms, buffer = ARROW | ARROW_INTEGERS, io.BytesIO()
    pq.write_table(pa.table({name: forms[kind](frame[name]) for name, kind in kinds.items()}), buffer)
    _expect_the_same(tables.parse(buffer.getvalue(), where="a.parquet").frame, frame)


@given(frame=records(), kinds=_kinds(TEXTS, {}), comma=st.booleans())
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_the_texts_of_csv(frame, kinds, comma):
    stored = pd.DataFrame({name: TEXTS[kind](frame[name]) for name, kind in kinds.items()}, dtype="str")
    if comma:
        stored = stored.apply(lambda texts: texts.str.replace(".", ","))
    text = stored.to_csv(index=False, sep=";" if comma else ",")
    _expect_the_same(tables.parse(text.encode(), where="a.csv").frame, frame)


FACTORS = ("10", "0.1", "2", "0.5", "25.4", "38.67", "0.0555")


@given(
    frame=records(),
    kind=st.sampled_from(sorted(PANDAS)),
    factor=st.sampled_from(FACTORS),
    decimals=st.integers(1, 3),
    name=st.sampled_from(["trestbps", "chol", "oldpeak"]),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_measurements_in_another_unit(frame, kind, factor, decimals, name):
    (column,) = [one for one in contract.COLUMNS if one.name == name]
    half = Decimal(5).scaleb(-column.decimals - 1)  # with a factor of ten and the like, products are halves
    exact = [
        round((Decimal(repr(float(one))) + half) / Decimal(factor), decimals)
        for one in frame[name].where(frame[name] > 0, 1)
    ]
    missing = frame.index % 20 == 0
    file = pd.Series([float(one) for one in exact], frame.index).mask(missing, 99.9)
    mapping = mapping_parser.parse(f"columns: {{{name}: {{factor: {factor}, missing: [99.9]}}}}", title="test")
    found = []
    for store in (PANDAS["float64"], PANDAS[kind]):
        stored = frame.assign(**{name: store(file)})
        table = tables.from_frame(stored.set_axis(range(stored.shape[1]), axis=1), list(stored), where="a table")
        found.append(mapping.decode(table.frame, table.unparseable)[0])
    pd.testing.assert_frame_equal(found[1], found[0], check_exact=True)
    unit = Decimal(1).scaleb(-column.decimals)
    nearest = [float((one * Decimal(factor)).quantize(unit, ROUND_HALF_UP)) for one in exact]
    assert found[0][name][missing].isna().all()
    if factor in ("10", "0.1", "2", "0.5"):  # products that are never just below a half
        assert found[0][name][~missing].tolist() == pd.Series(nearest)[~missing].tolist()


SQLITE = ("REAL", "NUMERIC", "TEXT", "DOUBLE", "DECIMAL(5,2)")


@given(frame=records(), kinds=st.lists(st.sampled_from(SQLITE), min_size=14, max_size=14))
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_the_types_of_a_database(frame, kinds, tmp_path):
    path = tmp_path / "heart.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(frame, kinds, strict=True))
        connection.execute(f"CREATE TABLE patients ({columns})")
        frame.to_sql("patients", connection, index=False, if_exists="append")
    connection.close()
    read = sources.read("postgres", settings=sources.Settings(database_url=f"sqlite:///{path}")).table.frame
    _expect_the_same(read, frame)


@pytest.mark.parametrize("column", contract.COLUMNS, ids=lambda column: column.name)
def test_every_legal_value_survives_float32_to_the_bit(column):
    units = UNITS[column.name]
    exact = np.arange(column.minimum * units, column.maximum * units + 1) / units
    assert column.maximum * UNITS[column.name] < resolution.LARGEST
    for stored in (exact.astype("float32"), exact.astype("float32") * np.float32(10) / np.float32(10)):
        found = resolution.at_resolution(stored, column)
        assert (found.view("int64") == (exact + 0.0).view("int64")).all()
        assert not resolution.is_finer(stored, column).any()


@pytest.mark.parametrize(
    ("given_value", "wanted"),
    [(2.3456, 2.35), (2.345, 2.35), (2.344, 2.34), (2.355, 2.36), (9.999, 10.0), (-0.001, 0.0), (0.004, 0.0)],
)
def test_a_finer_value_is_rounded_halves_upwards_whatever_its_type(given_value, wanted):
    (column,) = [one for one in contract.COLUMNS if one.name == "oldpeak"]
    texts = np.array([given_value])
    for stored in (texts, texts.astype("float32"), texts.astype("float32").astype("float64"), texts + 1e-15):
        (found,) = resolution.at_resolution(stored, column)
        assert (found, np.signbit(found)) == (wanted, False)
        assert resolution.is_finer(stored, column).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300, -1e300, 123456789.125])
def test_values_far_from_the_contract_are_kept_for_the_message(value):
    for column in contract.COLUMNS:
        assert resolution.at_resolution(np.array([value]), column).tolist() == [value]


@pytest.mark.parametrize("value", [54.5, 2.7, 0.001])
def test_a_fraction_in_an_integer_column_is_kept_and_named(value):
    age = contract.COLUMNS[0]
    assert resolution.at_resolution(np.array([value, 54.000001, np.nan]), age)[:2].tolist() == [value, 54.0]
    assert resolution.is_finer(np.array([value, 54.000001, np.nan]), age).tolist() == [True, False, False]
