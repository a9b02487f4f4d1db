"""The check of command lines that the others use finds what is wrong."""

import pytest
from conftest import check_command


def test_a_command_line_of_the_program_passes() -> None:
    check_command(["hub", "--port", "8000", "--retention=30d"], {"GLEITZEIT_STORE_URL": "sqlite:journal.db"})


@pytest.mark.parametrize(
    ("words", "variables", "why"),
    [
        (["hub", "--prot", "8000"], {}, "unexpected argument"),
        (["hub", "--port", "eight"], {}, "invalid value"),
        (["hub", "--drain-timeout", "30s"], {}, "unexpected argument"),
        (["agents"], {}, "unrecognized subcommand"),
        (["hub"], {"GLEITZEIT_STORE": "sqlite:journal.db"}, "reads no variable"),
    ],
)
def test_what_is_misspelt_fails(words: list[str], variables: dict[str, str], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_command(words, variables)
