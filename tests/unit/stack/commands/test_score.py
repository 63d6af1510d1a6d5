"""What `heartline score` refuses before it asks the stack."""

import pytest

from stack.commands import score
from stack.errors import UsageError


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.csv"
    path.write_text("age\n50\n")
    (tmp_path / "link.csv").symlink_to(path)
    (tmp_path / "folder").mkdir()
    return path


@pytest.mark.parametrize("output", ["records.csv", "link.csv", "folder/../records.csv"])
@pytest.mark.parametrize("as_address", [False, True])
def test_the_records_are_not_replaced(records, output, as_address):
    source = records.as_uri() if as_address else str(records)
    with pytest.raises(UsageError, match="the output would replace the records") as caught:
        score.run_parameters(source, {"output": str(records.parent / output)})
    assert "nothing was scored" in caught.value.hint
    assert records.read_text() == "age\n50\n"


def test_another_file_may_be_replaced(records):
    output = records.with_name("scored.csv")
    output.write_text("of an earlier run")
    assert score.run_parameters(str(records), {"output": str(output)})["output"] == str(output)
