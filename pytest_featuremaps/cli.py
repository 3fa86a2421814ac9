"""The console script `pytest-featuremaps`: see what failed comparisons left, and decide on it.

It ends with 0 when all is done that was asked for, 1 when something was refused or waits for a
decision still, 2 when it was called in a wrong way or something cannot be read, 3 when nothing
waits for review that was asked for, and 4 when it refuses to accept, because it runs in CI.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pytest_featuremaps import disk
from pytest_featuremaps.review import folder, listing, outcomes, page, selection
from pytest_featuremaps.review.interactive import InteractiveReview
from pytest_featuremaps.review.records import BadRecord
from pytest_featuremaps.review.selection import BadApprovals, Selection, UnknownResult
from pytest_featuremaps.wording import plain

DONE, LEFT, WRONG, NOTHING, IN_CI = range(5)
_CODES: Final = (
    "exit codes: 0 done; 1 refused, or still to be decided; 2 a wrong call, or something "
    "unreadable; 3 nothing is waiting that was asked for; 4 refused, because this is CI"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code."""
    args = _parser().parse_args(arguments)
    # Once: a command that clears a project's results must not go on in another's around it.
    args.root = _root(args.root)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return _complain("Interrupted; pytest-featuremaps list shows what is left.", LEFT)
    except UnknownResult as error:
        return _complain(str(error), NOTHING)
    except (BadRecord, BadApprovals, OSError) as error:
        return _complain(str(error), WRONG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-featuremaps",
        description="Review what failed comparisons of feature maps left.",
        epilog=_CODES,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    known = {
        "list": (_list, "list what waits for review"),
        "review": (_review, "decide on one feature map after the other"),
        "accept": (_accept, "make what was found the baseline"),
        "reject": (_reject, "forget what was found, and keep the baseline"),
        "report": (_report, "write one page with all pictures, which needs no network"),
    }
    for name, (run, text) in known.items():
        command = commands.add_parser(name, help=text, description=text, epilog=_CODES)
        command.set_defaults(run=run)
        _add_filters(command)
        if name in {"accept", "reject"}:
            command.add_argument("--dry-run", action="store_true", help="change nothing")
        if name in {"list", "accept", "reject"}:
            command.add_argument("--json", action="store_true", help="for scripts")
        if name == "accept":
            command.add_argument(
                "--approvals",
                metavar="FILE",
                type=Path,
                help="carry out the decisions that the page of the report made",
            )
        if name == "report":
            command.add_argument("-o", "--output", metavar="FILE.html", type=Path)
    return parser


def _add_filters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="an id from the list, id:layer, a test, or a file or folder of tests; all by default",
    )
    command.add_argument(
        "-k",
        "--test",
        metavar="TEXT",
        help="tests with this text in their id, or a pattern: *conv*",
    )
    command.add_argument("--layer", metavar="TEXT", help="likewise for feature maps, by their key")
    command.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        type=Path,
        help="the folder of results, such as the artifact of a CI run; .featuremaps by default",
    )
    command.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        help="the root directory of the project; where .featuremaps is, or the current one",
    )


def _list(args: argparse.Namespace) -> int:
    selected = _selected(args)
    if args.json:
        _say(json.dumps([outcomes.described(one) for one in selected], indent=1))
    else:
        _say("\n".join([*listing.lines(selected), _summary(args, selected)]))
    return LEFT if selected else _nothing(args)


def _review(args: argparse.Namespace) -> int:
    if _is_in_ci():
        return _refuse_in_ci()
    selected = _selected(args)
    _say(_summary(args, selected))
    if not selected:
        return _nothing(args)
    # There is nothing to decide about what was compared with a revision.
    decidable = [one for one in selected if not one.result.record.revision]
    if not decidable:
        return LEFT
    review = InteractiveReview(decidable, _say)
    try:
        review.run(input)
    except KeyboardInterrupt:
        return _complain("Interrupted: nothing was accepted or rejected.", LEFT)
    decided = ("accept", "reject")
    code = _carry_out([(word, one) for word in decided for one in review.selections(word)], args)
    left = list(_left_of(selected, args))
    _say(_summary(args, left, again=True))
    return LEFT if left else code


def _accept(args: argparse.Namespace) -> int:
    if _is_in_ci():
        return _refuse_in_ci()
    if args.approvals is None:
        return _decide("accept", _selected(args), args)
    try:
        approvals = args.approvals.read_bytes()
    except FileNotFoundError:
        return _complain(f"--approvals {args.approvals}: there is no such file.", WRONG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return _complain(f"--approvals {args.approvals} cannot be read: {reason}.", WRONG)
    try:
        decisions = list(selection.approved(_results(args), approvals))
    except BadApprovals as error:
        return _complain(f"{args.approvals}: {error}.", WRONG)
    return _carry_out(decisions, args) if decisions else NOTHING


def _reject(args: argparse.Namespace) -> int:
    return _decide("reject", _selected(args), args)


def _report(args: argparse.Namespace) -> int:
    selected = _selected(args)
    if not selected and _others(args, selected):
        return _complain(_summary(args, selected), NOTHING)
    path = args.output or Path("featuremaps.html")
    reason = disk.make_room(path, Path.cwd(), args.root)
    if reason:
        return _complain(f"--output {path}: {reason}.", WRONG)
    disk.replace(path, page.render([chosen.result for chosen in selected]))
    _say(str(path))
    return DONE


def _decide(decision: str, selected: Sequence[Selection], args: argparse.Namespace) -> int:
    if not selected:
        return _complain(_summary(args, selected), NOTHING)
    return _carry_out([(decision, chosen) for chosen in selected], args)


def _carry_out(decisions: Iterable[tuple[str, Selection]], args: argparse.Namespace) -> int:
    """Accept or reject, one result after the other; what is refused does not stop the rest."""
    code = DONE
    dry, in_json = getattr(args, "dry_run", False), getattr(args, "json", False)
    told = []
    try:
        for decision, chosen in decisions:
            outcome = outcomes.carry_out(decision, chosen, args.root, dry=dry)
            code = LEFT if outcome["outcome"] == "refused" else code
            told.append(outcome)
    finally:  # also where Ctrl-C leaves the rest as it is
        for text in [json.dumps(told, indent=1)] if in_json else map(outcomes.line, told):
            _say(text)
    return code


def _selected(args: argparse.Namespace) -> list[Selection]:
    return selection.select(_results(args), args.names, test=args.test, layer=args.layer)


def _left_of(selected: Iterable[Selection], args: argparse.Namespace) -> Iterator[Selection]:
    """Yield what was chosen and is not decided yet."""
    keys = {chosen.result.folder: chosen.keys for chosen in selected}
    for chosen in selection.select(_results(args)):
        left = chosen.keys & keys.get(chosen.result.folder, frozenset())
        if left:
            yield Selection(chosen.result, left)


def _summary(
    args: argparse.Namespace, selected: Sequence[Selection], *, again: bool = False
) -> str:
    filters = [
        f"-k {args.test}" if args.test else "",
        f"--layer {args.layer}" if args.layer else "",
    ]
    words = " ".join([*args.names, *filter(None, filters)])
    return listing.summary(selected, asked=words, others=_others(args, selected), again=again)


def _others(args: argparse.Namespace, selected: Iterable[Selection]) -> int:
    """Return how many feature maps wait besides those that are asked for."""
    every = selection.select(_results(args))
    return sum(len(one.keys) for one in every) - sum(len(one.keys) for one in selected)


def _nothing(args: argparse.Namespace) -> int:
    return NOTHING if _others(args, ()) else DONE


def _results(args: argparse.Namespace) -> list[folder.Result]:
    source: Path = args.source or args.root / folder.DEFAULT
    if args.source is not None and not source.is_dir():
        raise NotADirectoryError(f"--from {source}: there is no such folder.")
    folder.clear(source)
    return folder.read(source)


def _root(named: Path | None) -> Path:
    """Return the root directory: as it was named, or the nearest upwards that holds results."""
    if named is not None:
        return named
    here = Path.cwd()
    return next((one for one in (here, *here.parents) if (one / folder.DEFAULT).is_dir()), here)


def _is_in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def _refuse_in_ci() -> int:
    return _complain(
        "This is CI (the environment variable CI is set), where no baseline is accepted: download "
        "what the run left, and accept it where a person has looked at it.",
        IN_CI,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"{plain(text, None)}\n")
    return code


def entry() -> None:
    """Run as a console script."""
    # Names may have characters that the output's encoding does not.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
