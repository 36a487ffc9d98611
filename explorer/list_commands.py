"""The commands about lists: what to test next, frozen; and what came of it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from explorer.align import METHODS
from explorer.arguments import add_path, add_relationships, catalog_of, dataset_and_context, default_notes, sides
from explorer.errors import InputError, shown
from explorer.frozen import FrozenList, check_key, open_key
from explorer.frozen_files import frozen_paths, read_frozen, write_frozen
from explorer.knowledge import read_source
from explorer.outcomes import outcomes_of, read_results, rehearse, score_json, score_results
from explorer.proposed import known_interest, names_of_both
from explorer.sealed import opened_early, read_key, write_opened_key
from explorer.shortlist import COMPLETENESS, DEFAULT_BUDGET
from explorer.shortlist_json import list_json
from explorer.shortlist_text import list_text, results_text, track_text
from explorer.shortlists import (
    COMPARE,
    DISCOVER,
    MODES,
    default_list_plan,
    freeze_list,
    shared_evidence,
    shared_list,
)
from explorer.terminal import print_json, print_lines, say_notes, steps_bar
from explorer.track_record import append_record, read_track_record, record_of, register_frozen, track_json
from explorer.view import read_names


def add_list_commands(commands: Any) -> None:
    """Add ``shortlist`` and ``results`` to the commands of the parser."""
    shortlist = commands.add_parser("shortlist", help="list the pairs to test next, with the hits to expect; freeze it")
    add_path(shortlist)
    shortlist.add_argument(
        "--mode",
        default=DISCOVER,
        metavar="M",
        help=f"{DISCOVER} (as many hits as can be) or {COMPARE} (let the experiments judge the two maps, blind) "
        f"(default: {DISCOVER})",
    )
    shortlist.add_argument("--budget", type=int, metavar="N", help=f"pairs to test (default: {DEFAULT_BUDGET})")
    shortlist.add_argument("--context", metavar="C", help="context, or DATASET/CONTEXT of a catalog")
    shortlist.add_argument(
        "--other",
        action="append",
        metavar="O",
        help="further context that is counted in, CONTEXT or DATASET/CONTEXT; may be repeated (default: all of the "
        "same data set)",
    )
    shortlist.add_argument("--alone", action="store_true", help="count no further context in")
    shortlist.add_argument("--simple", metavar="S", help="name of the simple representation (default: the card's)")
    shortlist.add_argument("--learned", metavar="L", help="name of the learned representation (default: the card's)")
    shortlist.add_argument("--align", metavar="A", help=f"one of {', '.join(METHODS)} (default: as judge)")
    add_relationships(shortlist, "which are not listed again, besides the data set's own")
    shortlist.add_argument(
        "--source",
        action="append",
        metavar="NAME",
        help="one of the data set's own sources; may be repeated (default: all of its pairs)",
    )
    shortlist.add_argument("--no-source", action="store_true", help="none of the data set's own sources")
    shortlist.add_argument(
        "--completeness",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="shares of the truth that the sources may hold (default: "
        f"{' '.join(f'{share:g}' for share in COMPLETENESS)})",
    )
    shortlist.add_argument("--inactive", action="store_true", help="list those too that are active in neither map")
    shortlist.add_argument("--distrusted", action="store_true", help="list those too that the card says to distrust")
    shortlist.add_argument("--holds", action="store_true", help="only pairs that hold in another context")
    shortlist.add_argument("--interest", type=Path, metavar="FILE", help="only pairs with one of the names in a file")
    shortlist.add_argument("--no-evidence", action="store_true", help="the list alone, in less time")
    shortlist.add_argument(
        "--freeze",
        type=Path,
        metavar="LIST",
        help="write LIST.parquet, LIST.csv, LIST-sheet.csv for the bench and, of a comparison, LIST-key.json",
    )
    shortlist.add_argument("--track", type=Path, metavar="FOLDER", help="with --freeze: note it in a track record")
    shortlist.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    shortlist.set_defaults(run=_shortlist, representation=None)

    results = commands.add_parser("results", help="score a frozen list by what came back from the bench")
    results.add_argument("list", metavar="LIST", type=Path, nargs="?", help="the frozen list, parquet or csv")
    results.add_argument(
        "results", metavar="RESULTS", type=Path, nargs="?", help="its sheet, filled in: hit, no hit or failed"
    )
    results.add_argument(
        "--rehearse",
        type=Path,
        metavar="FILE",
        help="instead of RESULTS: take the known pairs of a file for hits, to see what scoring says; never recorded",
    )
    results.add_argument("--key", type=Path, metavar="KEY", help="of a comparison: its sealed key, once all is back")
    results.add_argument(
        "--track", type=Path, metavar="FOLDER", help="folder of your track record, to add this list to"
    )
    results.add_argument("--seed", type=int, default=0, metavar="N", help="of the random signs (default: 0)")
    results.add_argument("--json", action="store_true", help="print one JSON object")
    results.set_defaults(run=_results)


def _shortlist(options: argparse.Namespace) -> None:
    if options.track is not None and options.freeze is None:
        msg = "--track notes a list that is frozen: give --freeze LIST too"
        raise InputError(msg)
    if options.freeze is not None and options.mode in MODES:
        _require_free(options.freeze, options.mode)
    catalog = catalog_of(options)
    dataset, context = dataset_and_context(catalog, options.context)
    files = tuple(map(read_source, options.relationships))
    simple, learned = sides(options, dataset)
    plan = default_list_plan(catalog, dataset.name, context)
    others = () if options.alone else plan.others if options.other is None else tuple(options.other)
    if options.no_source and options.source:
        msg = "--no-source takes none of the data set's own sources, and --source names one: give one of the two"
        raise InputError(msg)
    sources = () if options.no_source else tuple(options.source) if options.source else plan.sources
    plan = replace(
        plan,
        mode=options.mode,
        others=others,
        simple=simple,
        learned=learned,
        align=options.align or plan.align,
        budget=DEFAULT_BUDGET if options.budget is None else options.budget,
        sources=sources,
        completeness=tuple(options.completeness or plan.completeness),
        only_active=not options.inactive,
        only_trusted=not options.distrusted,
        only_holding=options.holds,
        seed=options.seed,
    )
    unknown = ""
    if options.interest is not None:
        found_names, unknown = known_interest(_names_in(options.interest), names_of_both(dataset, plan))
        if not found_names:
            msg = f"no perturbation of interest is left to make a list of: {unknown}"
            raise InputError(msg)
        plan = replace(plan, interest=found_names)
    with steps_bar() as progress:
        found = shared_list(catalog, plan, relationships=files, progress=progress)
        evidence = None
        if not options.no_evidence:
            evidence = shared_evidence(catalog, found, relationships=files, progress=progress)
    notes = [*dataset.notes, *default_notes(options, plan.align), *([unknown] if unknown else []), *found.notes]
    # What stands beside the pairs of a comparison is sealed, and so is what could not be had of it.
    say_notes((*notes, *(evidence.notes if evidence is not None and found.census is None else ())))
    frozen = None
    if options.freeze is not None:
        frozen, key = freeze_list(found, evidence, date=datetime.now(UTC))
        paths = write_frozen(options.freeze, frozen, key=key)
        if options.track is not None:
            register_frozen(options.track, frozen)
        say_notes(_frozen_notes(frozen, paths))
    if options.json:
        made = list_json(found, evidence)
        print_json(made if frozen is None else made | {"frozen": {"digest": frozen.digest, "key": frozen.key_sha256}})
        return
    print_lines(list_text(found, evidence))


def _frozen_notes(frozen: FrozenList, paths: tuple[Path, ...]) -> list[str]:
    notes = [f"frozen: {', '.join(path.name for path in paths)}; digest {frozen.digest}"]
    if frozen.key_sha256:
        notes.append(
            f"the sealed key has the SHA-256 {frozen.key_sha256}: give it to somebody who does not read the assay, and "
            "note both numbers in your lab book"
        )
    return notes


def _require_free(path: Path, mode: Any) -> None:
    """Refuse before anything is computed: a frozen list can't be changed."""
    for form in frozen_paths(path, mode=mode).values():
        if form.exists():
            msg = f"{shown(form.name)} is there already, and a frozen list can't be changed: choose another name"
            raise InputError(msg)


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        msg = f"can't read the names in {shown(path.name)}: {why}"
        raise InputError(msg) from error
    names = read_names(text)
    if not names:
        msg = f"{shown(path.name)} holds no name: write perturbations of interest, one a line"
        raise InputError(msg)
    return names


def _results(options: argparse.Namespace) -> None:
    if options.list is None and options.track is not None:
        record = read_track_record(options.track)
        if options.json:
            print_json({"track_record": track_json(record)})
        else:
            print_lines(track_text(record))
        return
    if options.list is None:
        msg = "give LIST and RESULTS, a frozen list and its filled-in sheet; or --track FOLDER alone, to for the record"
        raise InputError(msg)
    if (options.results is None) == (options.rehearse is None):
        msg = "give RESULTS, the filled-in sheet of the list, or --rehearse FILE, and not both"
        raise InputError(msg)
    if options.rehearse is not None and (options.key is not None or options.track is not None):
        msg = "a rehearsal opens no key and is never recorded: leave --key and --track out"
        raise InputError(msg)
    frozen = read_frozen(options.list)
    if options.rehearse is None:
        outcomes = read_results(options.results, frozen)
    else:
        outcomes = outcomes_of(rehearse(frozen, read_source(options.rehearse))["result"].to_list(), frozen)
        say_notes(
            [f"a rehearsal: hits are the pairs that {shown(options.rehearse.name)} lists, and no result of a bench"]
        )
    key_rows, early = None, ""
    if options.key is not None:
        key = read_key(options.key)
        check_key(frozen, key)
        if outcomes.is_complete:
            early = opened_early(key, outcomes.digest)
            key_rows, opened = open_key(
                frozen, key, results_digest=outcomes.digest, complete=True, date=datetime.now(UTC)
            )
            write_opened_key(options.key, opened)
    score = score_results(frozen, outcomes, key_rows=key_rows, opened_early=early, seed=options.seed)
    track = None
    if options.track is not None:
        said = append_record(options.track, record_of(frozen, outcomes, score, date=datetime.now(UTC)))
        say_notes([said or "this list was added to the track record"])
        track = read_track_record(options.track)
    if options.json:
        print_json(score_json(score) | ({} if track is None else {"track_record": track_json(track)}))
        return
    print_lines(results_text(frozen, score))
    if track is not None:
        print_lines(["", *track_text(track)])
