"""Names of options: in a daemon's own help, and in its configuration file."""

import configparser
import re

from salt.exceptions import CommandExecutionError


def long_options(text):
    """Return the set of long option names in a `--help` text (GLib's and getopt's layout)."""
    return set(re.findall(r"^\s+(?:-\w, )?--([a-z][a-z0-9-]*)", text, re.MULTILINE))


def ini_options(text):
    """Return {option: value} of a key file with one section, as GLib reads it.

    Raises CommandExecutionError with the line when text has no section, a line that is neither
    comment nor assignment, or an option twice (GLib would silently take the last).
    """
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=("#",), interpolation=None, empty_lines_in_values=False
    )
    try:
        parser.read_string(text)
    except configparser.Error as err:
        raise CommandExecutionError(str(err).replace("\n", " ")) from err
    sections = parser.sections()
    if len(sections) != 1:
        raise CommandExecutionError(f"one section was expected, found {sections}")
    return dict(parser.items(sections[0]))
