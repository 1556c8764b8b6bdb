"""Protocols by name and from the user's own files."""

import argparse
import re

import pytest

from kdjax.arguments.judging import add_evaluate
from kdjax.checks import UserError
from kdjax.configs.protocols import PROTOCOLS, TABLES, Protocol, read_protocol


def test_every_table_has_a_protocol_and_every_protocol_is_in_the_help():
    assert {each.table for each in PROTOCOLS.values()} == set(TABLES)
    commands = argparse.ArgumentParser().add_subparsers()
    add_evaluate(commands)
    text = re.sub(r"\s+", "", commands.choices["evaluate"].format_help())
    for name in PROTOCOLS:
        assert f"{name}," in text
        assert read_protocol(name) is PROTOCOLS[name]


def test_a_file_of_the_users_own_is_a_protocol(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from kdjax.configs.protocols import Protocol\n"
        "def protocol():\n    return Protocol('harder JPEG', 'qualities', ('raw', 'jpeg20'))\n"
    )
    assert read_protocol(str(path)) == Protocol("harder JPEG", "qualities", ("raw", "jpeg20"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def protocol():\n    return 3\n", "must return a kdjax.configs.protocols.Protocol"),
        (
            "from kdjax.configs.protocols import Protocol\n"
            "def protocol():\n    return Protocol('', 'heights')\n",
            "whose table is one of: qualities, specialists",
        ),
        ("", "does not define protocol()"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, content, message):
    path = tmp_path / "theirs.py"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        read_protocol(str(path))
    assert message in str(error.value)


def test_an_unknown_name_has_a_hint():
    with pytest.raises(UserError, match="no protocol is called 'cross-data'; did you mean 'cross-"):
        read_protocol("cross-data")
