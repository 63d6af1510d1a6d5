"""heartline.postgres: the addresses that it takes, and what messages say of them."""

import psycopg2
import pytest

from heartline import postgres


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_sqlalchemys_addresses_are_understood(scheme):
    with pytest.raises(psycopg2.OperationalError, match="port 1 failed"):
        postgres.connect(f"{scheme}://ledger:s3cret@127.0.0.1:1/heartline")


def test_a_message_names_the_place_and_no_password():
    url = "postgresql://ledger:s3cret@db.example:6543/heartline"
    assert (postgres.place(url), postgres.role(url)) == ("db.example:6543/heartline", "ledger")


@pytest.mark.parametrize(("text", "line"), [("refused\nLINE 1: …", "refused"), ("", "ValueError")])
def test_the_first_line_of_an_error_is_never_empty(text, line):
    assert postgres.first_line(ValueError(text)) == line
