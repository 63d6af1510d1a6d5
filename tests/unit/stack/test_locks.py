import os

import pytest

from stack.errors import Exit, InUseError
from stack.locks import exclusive


def test_the_second_is_told_who_holds_it(tmp_path):
    with exclusive(tmp_path / "lock", "up"):
        with pytest.raises(InUseError) as caught, exclusive(tmp_path / "lock", "down"):
            pass
        assert caught.value.where.startswith(f"`heartline up`, process {os.getpid()}, since ")
        assert caught.value.code == Exit.IN_USE


def test_it_is_free_again_afterwards_also_after_a_failure(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock", "up"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "lock", "down"):
        pass


@pytest.mark.parametrize("with_children", [False, True])
def test_children_hold_it_only_when_they_should(tmp_path, with_children):
    with exclusive(tmp_path / "lock", "up", with_children=with_children):
        kept = [fd for fd in range(3, 1024) if _is(fd, tmp_path / "lock") and os.get_inheritable(fd)]
    assert bool(kept) == with_children


def _is(fd, path):
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False
