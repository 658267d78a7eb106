"""The redline command: one verb per file, imported when it is named, so that --help costs nothing."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from difflib import get_close_matches
from typing import Any, NoReturn

import redline
from redline.cli import exit_codes
from redline.errors import RedlineError

# verb -> what it does; redline/cli/<verb>.py has add_arguments(parser) and run(args) -> exit code
VERBS = {
    "generate": "complete one prompt, or answer it with an instruct model",
    "chat": "talk with a model in the terminal",
    "serve": "serve models over HTTP with the OpenAI API",
    "batch": "answer all requests of a file in OpenAI's batch format",
    "pull": "download a model into the cache",
    "techniques": "list the optimisations, their switches and what each promises",
    "eval": "measure how well a model predicts a text",
    "bench": "measure speed and memory on this machine",
    "hardware": "measure what this machine can do at most, and show its roofline",
    "profile": "show where the time of a forward pass goes, beside the roofline",
    "ablate": "measure what each technique buys, off alone and on alone",
    "verify": "check on this machine that what is exact is exact, and that bounds hold",
}
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # what writing to a full or broken disk gives
EXIT_ERROR = 2
EXIT_PIPE = 141  # and by SIGPIPE


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments the way every other user error is reported: one line, exit code 2."""

    def __init__(self, **options: Any) -> None:
        # An abbreviated flag would become ambiguous, or another flag, when one is added.
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        report(f"{message} (see {self.prog} --help)")
        raise SystemExit(EXIT_ERROR)


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a character the terminal cannot show is no reason to fail
            stream.reconfigure(errors="replace")
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except RedlineError as error:
        report(str(error))
        return EXIT_ERROR
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        report(f"cannot write the output: {error.strerror}")
        return EXIT_ERROR


def _replace_closed_streams() -> None:
    """A stream that the caller closed, as `>&-` does, is None in sys; an empty one takes its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  open until the process ends


def report(message: str) -> None:
    """Print one error line, whatever line breaks the message has."""
    sys.stderr.write(f"redline: error: {' '.join(message.split())}\n")


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser for one verb; without one, what --help shows."""
    listing = "\n".join(f"  {name:<12}{summary}" for name, summary in VERBS.items())
    parser = Parser(
        prog="redline",
        usage="redline [--version] VERB ...",
        description=f"LLM inference at the limit of the hardware you have.\n\nverbs:\n{listing}",
        epilog="redline VERB --help explains the flags of one verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"redline {redline.__version__}")
    verbs = parser.add_subparsers(
        prog="redline",
        dest="verb",
        metavar="VERB",
        required=True,
        parser_class=Parser,
        help=argparse.SUPPRESS,
    )
    if verb in VERBS:
        module = importlib.import_module(f"redline.cli.{verb}")
        child = verbs.add_parser(verb, description=f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.")
        module.add_arguments(child)
        child.set_defaults(run=module.run)
    return parser


def _run(argv: list[str]) -> int:
    verb = next((word for word in argv if not word.startswith("-")), None)
    parser = build_parser(verb)
    if verb is None and not argv:
        parser.print_help()
        return EXIT_ERROR
    if verb is not None and verb not in VERBS:
        close = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(VERBS)}"
        parser.error(f"unknown verb {verb!r}; {hint}")
    args = parser.parse_args(argv)
    args.argv = argv  # for reports that say how they were made
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
