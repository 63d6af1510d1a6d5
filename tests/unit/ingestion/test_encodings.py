"""The encoding of a file is decided from evidence, never guessed."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import encodings

UCI_TO_KAGGLE = {
    "cp": {1: 3, 2: 1, 3: 2, 4: 0},
    "restecg": {0: 1, 1: 2, 2: 0},
    "slope": {1: 2, 2: 1, 3: 0},
    "thal": {6: 1, 3: 2, 7: 3},
}
KAGGLE_NAMES = [
    *("age", "sex", "cp", "trtbps", "chol", "fbs", "restecg", "thalachh", "exng", "oldpeak", "slp", "caa", "thall"),
    "output",
]


@pytest.fixture(scope="module")
def kaggle(cohort) -> pd.DataFrame:
    """The synthetic cohort in Kaggle's encoding."""
    recoded = cohort.copy()
    for name, codes in UCI_TO_KAGGLE.items():
        recoded[name] = cohort[name].map(codes)
    return recoded.assign(
        ca=cohort["ca"].fillna(4), thal=recoded["thal"].fillna(0), num=(cohort["num"] == 0).astype("float64")
    )


@pytest.fixture(scope="module")
def kaggle_file(real_data) -> tuple[pd.DataFrame, list[str]]:
    frame = pd.read_csv(real_data / "kaggle_heart_303.csv").astype("float64")
    names = list(frame.columns)
    return frame.set_axis(list(contract.COLUMN_NAMES), axis=1).set_axis(range(1, len(frame) + 1)), names


def _countable(frame: pd.DataFrame) -> dict[int, tuple[float, ...]]:
    """Return the values of each row by row number; missing values are equal to each other."""
    return {int(row[0]): row[1:] for row in frame.fillna(-1).itertuples(name=None)}


def test_the_real_kaggle_file_decodes_to_its_uci_originals(kaggle_file, cleveland):
    frame, names = kaggle_file
    decision = encodings.decide_encoding(frame, names, "auto")
    decoded = encodings.decode(frame, decision.encoding)

    assert decision.encoding == "kaggle"
    originals = _countable(cleveland.assign(num=(cleveland["num"] > 0).astype("float64")))
    found = _countable(decoded)
    assert len(found) == len(originals) == 303
    assert found[164] == found[165], "one patient is there twice"
    assert Counter(found.values()) - Counter(originals.values()) == Counter([found[165]])
    assert Counter(originals.values()) - Counter(found.values()) == Counter([originals[185]]), "and another one not"
    assert decoded["ca"].isna().sum() == (frame["ca"] == 4).sum() == 5
    assert decoded["thal"].isna().sum() == (frame["thal"] == 0).sum() == 2


@pytest.mark.parametrize(("file", "rows"), [("processed.cleveland.data", 303), ("processed.hungarian.data", 294)])
def test_the_files_of_the_archive_are_recognised_as_uci(real_data, file, rows):
    frame = pd.read_csv(real_data / file, header=None, na_values="?").astype("float64")
    decision = encodings.decide_encoding(frame.set_axis(list(contract.COLUMN_NAMES), axis=1), [], "auto")
    assert (len(frame), decision.encoding, decision.problem) == (rows, "uci", "")
    assert any("codes that only UCI has" in one for one in decision.evidence)


def test_kaggles_codes_are_decoded_to_the_original_records(kaggle, cohort):
    decision = encodings.decide_encoding(kaggle, KAGGLE_NAMES, "auto")
    decoded = encodings.decode(kaggle, decision.encoding)

    assert decision.encoding == "kaggle"
    pd.testing.assert_frame_equal(decoded, cohort.assign(num=(cohort["num"] > 0).astype("float64")))
    assert decision.evidence[0] == "names: trtbps, thalachh, exng, slp, caa, thall, output are Kaggle's"
    assert decision.evidence[2].startswith("label: higher means no disease, as in Kaggle's file (AUC of age 0.")


def test_kaggles_codes_are_recognised_without_its_names(kaggle):
    assert encodings.decide_encoding(kaggle, [], "auto").encoding == "kaggle"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda uci, kaggle: uci.assign(num=uci["num"] == 0), [], id="uci codes, label inverted"),
        pytest.param(lambda uci, kaggle: kaggle.assign(num=1 - kaggle["num"]), [], id="kaggle codes, label of uci"),
        pytest.param(lambda uci, kaggle: kaggle, list(contract.COLUMN_NAMES), id="kaggle codes, names of uci"),
        pytest.param(lambda uci, kaggle: uci, KAGGLE_NAMES, id="uci codes, names of kaggle"),
        pytest.param(lambda uci, kaggle: pd.concat([uci, kaggle[:20]]), [], id="rows of both"),
    ],
)
def test_conflicting_evidence_leaves_the_encoding_undecided(cohort, kaggle, change, names):
    frame = change(cohort, kaggle).astype("float64")
    decision = encodings.decide_encoding(frame, names, "auto")
    assert decision.encoding == ""
    assert decision.problem == "the evidence about the encoding conflicts"


def test_ambiguous_records_leave_the_encoding_undecided(cohort):
    either = cohort[cohort["cp"].between(1, 3) & cohort["slope"].between(1, 2) & (cohort["thal"] == 3)]
    decision = encodings.decide_encoding(either.assign(num=(either["num"] > 0).astype("float64")), [], "auto")
    assert decision.encoding == ""
    assert decision.problem == "there is not enough evidence to decide the encoding"


@pytest.mark.parametrize("encoding", ["uci", "kaggle"])
def test_a_requested_encoding_is_used_and_the_evidence_is_still_recorded(kaggle, encoding):
    decision = encodings.decide_encoding(kaggle, KAGGLE_NAMES, encoding)
    assert decision.encoding == encoding
    assert decision.evidence[0] == f"set by the user: encoding={encoding}"
    assert len(decision.evidence) == 4


def test_a_single_code_of_the_other_encoding_is_an_error_in_its_row(cohort):
    stray = cohort.copy()
    stray.loc[[3, 9], "thal"] = 0
    decision = encodings.decide_encoding(stray, [], "auto")
    assert decision.encoding == "uci"
    assert "codes: 2 of 303 rows have codes that only Kaggle has (thal 0)" in decision.evidence


@pytest.mark.parametrize("encoding", ["uci", "kaggle"])
def test_minus_nine_is_missing(cohort, kaggle, encoding):
    frame = (cohort if encoding == "uci" else kaggle).copy()
    frame.loc[5, ["chol", "thal"]] = -9
    decoded = encodings.decode(frame, encoding)
    assert decoded.loc[5, ["chol", "thal"]].isna().all()
    assert decoded.notna().sum().sum() >= cohort.notna().sum().sum() - 2


def test_a_code_that_kaggle_lacks_is_missing_after_decoding(kaggle):
    frame = kaggle.copy()
    frame.loc[2, "cp"], frame.loc[4, "thal"], frame.loc[6, "num"] = 4, 7, 3
    decoded = encodings.decode(frame, "kaggle")
    assert np.isnan([decoded.loc[2, "cp"], decoded.loc[4, "thal"], decoded.loc[6, "num"]]).all()


@pytest.mark.parametrize("encoding", ["UCI", "Kaggle", " uci", "", "cleveland"])
@pytest.mark.parametrize(
    ("use", "expected"),
    [
        pytest.param(lambda frame, it: encodings.decide_encoding(frame, [], it), "auto, uci or kaggle", id="decide"),
        pytest.param(encodings.decode, "uci or kaggle", id="decode"),
    ],
)
def test_an_unknown_encoding_is_refused(cohort, encoding, use, expected):
    with pytest.raises(DataError) as caught:
        use(cohort, encoding)
    assert str(caught.value) == (
        f"unknown encoding {encoding!r}\n"
        "  where:    parameter encoding\n"
        f"  expected: {expected}\n"
        "  hint:     choose one of these, in lower case"
    )


def test_records_are_not_decoded_with_the_encoding_auto(cohort):
    with pytest.raises(DataError, match="unknown encoding 'auto'"):
        encodings.decode(cohort, "auto")
