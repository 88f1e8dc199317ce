#!/usr/bin/env python3
"""Prints a .loco file with other settings in its train block.

    python3 variant.py ../resnet50.loco precision=bf16 >resnet50-bf16.loco

Such settings are no params, so that -D cannot change them. A setting that is
there gets the value, one that is not is added. A file that imports files of its
own, which lie beside it, is refused, as the copy lies elsewhere.
"""

import re
import sys


class Refused(Exception):
    """A file that has no such variant."""


def block(text):
    """Where the lines between `train {` and its `}` begin and end."""
    found = re.search(r"^train \{[^\n]*\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise Refused("it has no train block over several lines")
    return found.span(1)


def variant(text, settings):
    """The text with settings, a dict of words, in its train block."""
    for name in re.findall(r'^import "([^"]*)"', text, re.MULTILINE):
        if not name.startswith("std/"):
            raise Refused(f"it imports {name}")
    begin, end = block(text)
    held = text[begin:end]
    for name, value in settings.items():
        held, times = re.subn(rf"(^|;)([ \t]*){re.escape(name)}[ \t][^;\n]*", rf"\g<1>\g<2>{name} {value}", held, flags=re.MULTILINE)
        if times > 1:
            raise Refused(f"{name} stands {times} times in its train block")
        if times == 0:
            held += f"  {name} {value}\n"
    return text[:begin] + held + text[end:]


def main(arguments):
    if not arguments or not all(re.fullmatch(r"[a-z_]+=[^;\n{}]+", a) for a in arguments[1:]):
        print("call: variant.py FILE NAME=VALUE ...", file=sys.stderr)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as source:
            text = variant(source.read(), dict(a.split("=", 1) for a in arguments[1:]))
    except (OSError, Refused) as error:
        print(f"variant.py: {arguments[0]}: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
