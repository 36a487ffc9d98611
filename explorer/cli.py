"""The command line: what a file holds, a map of its rows, neighbours, the verdict, contexts, predictions, lists."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from explorer import __version__
from explorer.access import TOKEN_VARIABLE
from explorer.activity import ACTIVE_Q, measure_activity
from explorer.aggregate import build_map, checked_aggregate
from explorer.align import METHODS, check_method
from explorer.arguments import (
    OneLineParser,
    add_path,
    add_relationships,
    catalog_of,
    dataset_and_context,
    default_notes,
    roles_of,
    sides,
)
from explorer.build import build
from explorer.card import cautions_about
from explorer.catalog import open_catalog, shared_map
from explorer.context_json import contexts_json
from explorer.context_reports import (
    Place,
    inactive_in,
    other_places,
    passports_of,
    read_place,
    shared_overlap,
    shared_report,
)
from explorer.context_text import contexts_text
from explorer.digits import counted
from explorer.errors import InputError, shown
from explorer.expression import PrincipalComponentsSource
from explorer.held_tables import quiet_sentence
from explorer.judge_report import judgement_text
from explorer.judged import JudgeView, judgement_json
from explorer.judgements import default_alignment, own_sources, shared_judgement
from explorer.knowledge import knowledge_beside, read_source
from explorer.labels import label_rows
from explorer.list_commands import add_list_commands
from explorer.load import Dataset, load_dataset, load_screen
from explorer.moments import describe_excluded, excluded_rows
from explorer.partners import DEFAULT_K
from explorer.passport import confounding, passport_of, passport_of_screen
from explorer.predicted import with_conditions
from explorer.prediction_text import prediction_text
from explorer.predictions import check_plan, default_plan, default_target, prediction_json, shared_prediction
from explorer.relate import neighborhood
from explorer.screen import Representation, Screen
from explorer.side_activity import SideActivity
from explorer.sources import SpreadSource
from explorer.terminal import one_line, print_json, print_lines, rows_bar, say_error, say_notes, steps_bar
from explorer.totals import require_totals_memory
from explorer.verdict import DEFAULT_BUDGET
from explorer.wording import activity_sentence, position_sentences
from explorer.write import check_target, write_map


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit status: 0, or 2 after a line on standard error when the input can't be used; of a catalog, a line for
        each dataset that can't.
    """
    parser = _parser()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that can't show a sign gets its number instead of a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = parser.parse_args(arguments)
        if options.run is None:
            parser.print_help()
        else:
            options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) left early; what it wanted it has. Python must not flush at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except _SeveralProblems as error:
        for problem in error.problems:
            say_error(problem)
        return 2
    except MemoryError as error:
        say_error(f"not enough memory: {error}" if str(error) else "not enough memory")
        return 2
    except (InputError, OSError) as error:
        say_error(str(error))
        return 2
    return 0


class _SeveralProblems(Exception):
    """Several datasets can't be used: one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__()
        self.problems = tuple(problems)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="explorer", description="Perturbation maps: simple and learned, side by side.")
    parser.add_argument("--version", action="version", version=f"explorer {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")

    check = commands.add_parser(
        "check", help="say what a dataset, a catalog or a file holds, and whether it can be used"
    )
    add_path(check)
    check.set_defaults(run=_check)

    neighbors = commands.add_parser("neighbors", help="list the nearest perturbations of one perturbation")
    add_path(neighbors)
    neighbors.add_argument("query", metavar="QUERY", help="the perturbation")
    neighbors.add_argument("--representation", metavar="R", help="name of the representation (default: the only one)")
    neighbors.add_argument("--context", metavar="C", help="name of the context (default: the card's)")
    neighbors.add_argument("--align", default="none", metavar="A", help=f"one of {', '.join(METHODS)} (default: none)")
    neighbors.add_argument("-k", type=int, default=10, metavar="N", help="number of neighbours (default: 10)")
    neighbors.add_argument("--opposite", action="store_true", help="the most opposite instead of the most similar")
    neighbors.set_defaults(run=_neighbors)

    build = commands.add_parser("build", help="make a map of a screen's rows, of any number, and write it as h5ad")
    add_path(build)
    build.add_argument("--representation", metavar="R", help="name of the representation (default: the only one)")
    build.add_argument("--out", required=True, type=Path, metavar="MAP.h5ad", help="file to write")
    build.add_argument("--context", metavar="C", help="name of the context (default: the card's)")
    build.add_argument("--align", default="none", metavar="A", help=f"one of {', '.join(METHODS)} (default: none)")
    build.add_argument("--aggregate", default="mean", metavar="G", help="mean or median (default: mean)")
    build.add_argument("--no-activity", action="store_true", help="make the map alone, in less time and memory")
    build.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a dask scheduler whose workers read the rows")
    build.set_defaults(run=_build)

    judge = commands.add_parser("judge", help="judge a learned representation against a simple one")
    add_path(judge)
    judge.add_argument("--simple", metavar="S", help="name of the simple representation (default: the only one)")
    judge.add_argument("--learned", metavar="L", help="name of the learned representation (default: the only one)")
    judge.add_argument("--context", metavar="C", help="name of the context (default: the card's)")
    judge.add_argument(
        "--align",
        metavar="A",
        help=f"one of {', '.join(METHODS)} (default: the card's, else center where there are several batches and "
        "controls in each, else none)",
    )
    add_relationships(judge, "to judge by, instead of the dataset's own")
    judge.add_argument(
        "--source",
        action="append",
        metavar="NAME",
        help="one of the dataset's own sources, of pairs or gene sets; may be repeated (default: all of its pairs)",
    )
    judge.add_argument("-k", type=int, default=DEFAULT_K, metavar="N", help="number of neighbours (default: 10)")
    judge.add_argument("--budget", type=int, default=DEFAULT_BUDGET, metavar="N", help="pairs listed (default: 100)")
    judge.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    judge.set_defaults(run=_judge)

    contexts = commands.add_parser(
        "contexts", help="say which neighbours hold in other contexts, and which can't be judged"
    )
    add_path(contexts)
    contexts.add_argument(
        "--context", metavar="C", help="context, or DATASET/CONTEXT of a catalog (default: the card's)"
    )
    contexts.add_argument(
        "--other",
        action="append",
        metavar="O",
        help="CONTEXT, DATASET/CONTEXT or DATASET/CONTEXT:REPRESENTATION to compare with; may be repeated (default: "
        "all of the same data set)",
    )
    contexts.add_argument("--representation", metavar="R", help="whose neighbours are judged (default: --simple)")
    contexts.add_argument("--simple", metavar="S", help="name of the simple representation (default: the card's)")
    contexts.add_argument("--learned", metavar="L", help="name of the learned representation (default: the card's)")
    contexts.add_argument("--align", metavar="A", help=f"one of {', '.join(METHODS)} (default: as judge)")
    add_relationships(contexts, "to compare over, besides the data set's own")
    contexts.add_argument("--query", metavar="Q", help="a perturbation whose neighbours are listed")
    contexts.add_argument("-k", type=int, default=DEFAULT_K, metavar="N", help="number of neighbours (default: 10)")
    contexts.add_argument(
        "--at-least", type=int, metavar="N", help="others in which an edge that holds generally must hold"
    )
    contexts.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    contexts.set_defaults(run=_contexts)

    predict = commands.add_parser(
        "predict", help="say whether unseen perturbations are predicted better than baselines"
    )
    add_path(predict)
    predict.add_argument(
        "--task",
        metavar="T",
        help="transfer (from another context of the data set), prior (from any embedding of the perturbations) or "
        "pairs (from their single perturbations) (default: what the data set allows, in this order)",
    )
    predict.add_argument(
        "--context", metavar="C", help="context that is predicted (default: another than --source-context)"
    )
    predict.add_argument(
        "--target", metavar="R", help="representation that is predicted (default: the first neutral one)"
    )
    predict.add_argument("--source-context", metavar="C", help="context, or DATASET/CONTEXT, that is predicted from")
    predict.add_argument("--simple", metavar="S", help="name of the simple representation (default: the card's)")
    predict.add_argument("--learned", metavar="L", help="name of the learned representation (default: the card's)")
    predict.add_argument("--align", metavar="A", help=f"one of {', '.join(METHODS)} (default: as judge)")
    add_relationships(predict, "whose groups folds keep together, besides those of the data set's sources")
    predict.add_argument(
        "--source",
        action="append",
        metavar="NAME",
        help="source of the groups that folds keep together; may be repeated",
    )
    predict.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    predict.set_defaults(run=_predict)

    add_list_commands(commands)

    # Not abbreviated: --token would be taken for --token-file, and a message would show what was given.
    serve = commands.add_parser(
        "serve", help="share a catalog with other people: read-only, in their browsers", allow_abbrev=False
    )
    serve.add_argument("catalog", metavar="CATALOG", type=Path, help="folder of datasets, one dataset, or one file")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=_port, default=8000, help="port to listen on (default: 8000)")
    serve.add_argument("--base-url", metavar="URL", help="where visitors reach it, behind a reverse proxy")
    serve.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with the token that visitors must know (or the variable {TOKEN_VARIABLE})",
    )
    serve.add_argument("--public", action="store_true", help="let everybody in, without a token")
    serve.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a reverse proxy whose X-Forwarded-For is believed; may be repeated",
    )
    serve.add_argument("--most-pages", type=_pages, default=200, metavar="N", help="pages open at once (default: 200)")
    serve.add_argument("--no-warm", action="store_true", help="make first pages when they are asked for")
    serve.set_defaults(run=_serve)
    return parser


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) <= 65_535:
        return int(text)
    msg = f"expected a port from 0 to 65535, got {shown(text)}"
    raise argparse.ArgumentTypeError(msg)


def _pages(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 100_000:
        return int(text)
    msg = f"expected a number of pages from 1 to 100000, got {shown(text)}"
    raise argparse.ArgumentTypeError(msg)


def _serve(options: argparse.Namespace) -> None:
    # Here, since no other command needs marimo.
    from explorer.server import ServerSettings, serve

    serve(
        ServerSettings(
            options.catalog,
            host=options.host,
            port=options.port,
            base_url=options.base_url,
            token_file=options.token_file,
            public=options.public,
            trusted_proxies=tuple(options.trusted_proxy),
            most_pages=options.most_pages,
            warm=not options.no_warm,
        )
    )


def _check(options: argparse.Namespace) -> None:
    path: Path = options.path
    given = {key: value for key, value in roles_of(options).items() if value is not None}
    if path.is_dir() and not given and options.context_column is None:
        catalog = open_catalog(path)
        datasets, problems = list(catalog.datasets.values()), list(catalog.problems.values())
    else:
        datasets, problems = [load_dataset(path, roles=given, context_column=options.context_column)], []
    reports = []
    for dataset in datasets:
        unusable: list[str] = []
        try:
            reports.append(_report(dataset, unusable=unusable))
        except (InputError, OSError) as error:
            # Of several, one that fails when its rows are read keeps nobody from the others.
            unusable.append(str(error))
        folder = dataset.path.name
        problems += [
            error if dataset.path == path or error.startswith(f"{folder}/") else f"{folder}: {error}"
            for error in dict.fromkeys(unusable)
        ]
    if options.json and reports:
        print_json({"datasets": reports})
    elif not options.json:
        for report in reports:
            sys.stdout.write(_describe(report))
    if problems:
        sys.stdout.flush()
        raise _SeveralProblems(problems)


def _report(dataset: Dataset, *, unusable: list[str]) -> dict[str, Any]:
    """Read everything once: each matrix from its first row to its last; why an embedding can't be used is noted."""
    knowledge = knowledge_beside(dataset)
    contexts, passports = [], []
    for name in dataset.contexts:
        screen = load_screen(dataset, name)
        passport = passport_of_screen(dataset, screen)
        passports.append(passport)
        left_out = pl.Series(screen.is_control() & ~np.bool_(screen.roles.keep_controls))
        representations = []
        for representation in screen.representations.values():
            # Axes that nobody asked for are not looked for: with many genes that takes minutes.
            derived = isinstance(representation.source, PrincipalComponentsSource) and not dataset.path.is_dir()
            excluded, problem = None, ""
            try:
                excluded = None if derived else excluded_rows(screen, representation)
            except InputError as error:
                if not isinstance(representation.source, SpreadSource):
                    raise
                # An embedding of perturbations from elsewhere takes no other representation with it.
                problem = str(error)
                unusable.append(problem)
            representations.append(
                {
                    "name": representation.name,
                    "kind": representation.kind,
                    "rows": representation.n_rows,
                    "features": representation.n_features,
                    "excluded": "" if excluded is None else describe_excluded(excluded, screen),
                    "problem": problem or _lack_of_memory(screen, representation),
                }
            )
        contexts.append(
            {
                "name": name,
                "conditions": passport.sentence,
                "passport": passport.to_json(),
                "rows": screen.rows.height,
                "perturbations": screen.rows[screen.roles.perturbation].filter(~left_out).n_unique(),
                "controls": int(screen.is_control().sum()),
                "representations": representations,
            }
        )
    return {
        "name": dataset.name,
        "title": dataset.card.title,
        "license": dataset.card.license,
        "notes": list(dataset.notes),
        "contexts": contexts,
        "confounding": list(confounding(passports)),
        "relationships": {source.name: source.n_pairs for source in knowledge.relationships},
        "gene_sets": {source.name: len(source.sets) for source in knowledge.gene_sets},
    }


def _lack_of_memory(screen: Screen, representation: Representation) -> str:
    """Say that a map has no room in the memory of this machine; empty where it has."""
    try:
        require_totals_memory(label_rows(screen, most_sampled=0), representation.n_features)
    except InputError as error:
        return f"no map can be made on this machine: {error}"
    return ""


def _describe(report: dict[str, Any]) -> str:
    lines = [f"{report['name']}: {report['title']} ({report['license']})"]
    lines += [f"  note: {note}" for note in report["notes"]]
    for context in report["contexts"]:
        lines.append(
            f"  context {context['name']}: {counted(context['rows'], 'row')}, "
            f"{counted(context['perturbations'], 'perturbation')}, {counted(context['controls'], 'control row')}; "
            f"{context['conditions']}"
        )
        for item in context["representations"]:
            parts = (counted(item["features"], "feature"), item["excluded"], item["problem"])
            lines.append(f"    {item['kind']:8} {item['name']}: {'; '.join(part for part in parts if part)}")
    lines += [f"  contexts: {text}" for text in report["confounding"]]
    lines += [f"  known pairs, {name}: {count:,}" for name, count in report["relationships"].items()]
    lines += [f"  gene sets, {name}: {count:,}" for name, count in report["gene_sets"].items()]
    return "".join(f"{one_line(line)}\n" for line in lines)


def _build(options: argparse.Namespace) -> None:
    check_method(options.align)
    checked_aggregate(options.aggregate)
    check_target(options.out, source=options.path)
    dataset = load_dataset(options.path, roles=roles_of(options), context_column=options.context_column)
    say_notes((*dataset.notes, *_choose_only(options, dataset)))
    screen = load_screen(dataset, options.context)
    source = screen.representation(options.representation)
    with ExitStack() as open_things:
        engine = None
        if options.scheduler is not None:
            from explorer.cluster import connected

            engine = open_things.enter_context(connected(options.scheduler))
        progress = open_things.enter_context(rows_bar(source.n_rows))
        built = build(
            screen,
            options.representation,
            alignment=options.align,
            aggregate=options.aggregate,
            judge=not options.no_activity,
            engine=engine,
            progress=progress,
        )
    made, activity = built.perturbation_map, built.activity
    passport = passport_of_screen(dataset, screen)
    write_map(options.out, made, activity=activity, conditions=passport.to_json())
    say_notes((*made.recipe.notes, *((built.silence,) if activity is None else activity.notes)))
    n_active = None if activity is None else len(activity.active(ACTIVE_Q))
    if options.json:
        print_json(
            {
                "out": str(options.out),
                "representation": made.recipe.representation,
                "context": made.recipe.context,
                "conditions": passport.sentence,
                "fingerprint": made.fingerprint,
                "rows": source.n_rows,
                "perturbations": made.n_perturbations,
                "features": made.profiles.shape[1],
                "active": n_active,
            }
        )
        return
    said = f"{n_active:,} of them active (q below {ACTIVE_Q:g})" if activity is not None else "activity not judged"
    sys.stdout.write(
        one_line(
            f"{options.out.name}: {counted(made.n_perturbations, 'perturbation')} of {counted(source.n_rows, 'row')}, "
            f"{said}"
        )
        + "\n"
        f"{one_line(made.recipe.sentence)}\n"
        f"{one_line(f'{passport.context}: {passport.sentence}')}\n"
    )


def _neighbors(options: argparse.Namespace) -> None:
    check_method(options.align)
    dataset = load_dataset(options.path, roles=roles_of(options), context_column=options.context_column)
    chosen = _choose_only(options, dataset)
    screen = load_screen(dataset, options.context)
    made = build_map(screen, options.representation, alignment=options.align)
    found = neighborhood(made, options.query, k=options.k, opposite=options.opposite)
    active, sentence, silence = _activity_of(screen, options)
    known = knowledge_beside(dataset).sources_of(options.query, found.names)
    cautions = cautions_about(dataset.card.cautions, options.query, found.names)
    say_notes((*dataset.notes, *chosen, *made.recipe.notes, *cautions, *silence))
    passport = passport_of_screen(dataset, screen)
    listed_neighbors = list(zip(found.names, found.similarities.tolist(), known, strict=True))
    neighbors = [
        {"rank": rank, "perturbation": name, "similarity": similarity, "known": sources}
        for rank, (name, similarity, sources) in enumerate(listed_neighbors, start=1)
    ]
    if options.json:
        print_json(
            {
                "query": options.query,
                "representation": options.representation,
                "context": screen.context.name,
                "conditions": passport.sentence,
                "fingerprint": made.fingerprint,
                "active": active,
                "neighbors": neighbors,
            }
        )
        return
    conditions = f"{passport.context}: {passport.sentence}"
    lines = [one_line(line) for line in (made.recipe.sentence, sentence, conditions) if line]
    lines.append(f"{'rank':>4}  {'similarity':>10}  perturbation  known")
    lines += [
        f"{rank:>4}  {similarity:>10.4f}  {one_line(name)}  {', '.join(sources)}".rstrip()
        for rank, (name, similarity, sources) in enumerate(listed_neighbors, start=1)
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _choose_only(options: argparse.Namespace, dataset: Dataset) -> list[str]:
    """Take the only representation where none is named, and say so."""
    if options.representation is not None:
        return []
    names = list(dataset.card.representations)
    if len(names) != 1:
        msg = f"name a representation with --representation: {_offered(dataset)}"
        raise InputError(msg)
    options.representation = names[0]
    return [f"the representation is {shown(names[0])}, the only one"]


def _choose_only_pair(options: argparse.Namespace, dataset: Dataset) -> list[str]:
    """Take the only simple and the only learned representation where they are not named, and say so."""
    notes, missing = [], []
    for kind in ("simple", "learned"):
        if getattr(options, kind) is not None:
            continue
        names = [card.name for card in dataset.card.representations.values() if card.kind == kind]
        if len(names) == 1:
            setattr(options, kind, names[0])
            notes.append(f"the {kind} representation is {shown(names[0])}, the only one")
        else:
            missing.append(f"a {kind} one with --{kind}")
    if missing:
        msg = f"choose two representations, {' and '.join(missing)}: {_offered(dataset)}"
        raise InputError(msg)
    return notes


def _offered(dataset: Dataset) -> str:
    """List the representations of a dataset, each with its kind."""
    return ", ".join(f"{shown(card.name)} ({card.kind})" for card in dataset.card.representations.values())


def _judge(options: argparse.Namespace) -> None:
    dataset = load_dataset(options.path, roles=roles_of(options), context_column=options.context_column)
    context = dataset.context(options.context)
    chosen = _choose_only_pair(options, dataset)
    alignment = options.align or default_alignment(dataset, context)
    files = tuple(map(read_source, options.relationships))
    sources = tuple(options.source) if options.source else () if files else None
    notes = [*dataset.notes, *chosen]
    if options.align is None:
        notes.append(f"both maps have the alignment {alignment!r}, the default here; --align chooses another one")
    with steps_bar() as progress:
        judgement = shared_judgement(
            dataset,
            context,
            simple=options.simple,
            learned=options.learned,
            alignment=alignment,
            sources=sources,
            relationships=files,
            k=options.k,
            budget=options.budget,
            seed=options.seed,
            progress=progress,
        )
    say_notes((*notes, *judgement.notes))
    used = (*(own_sources(dataset) if sources is None else sources), *(source.name for source in files))
    view = JudgeView(
        dataset.name, context, options.simple, options.learned, alignment, used, k=options.k, budget=options.budget
    )
    passport = passport_of(dataset, context)
    if options.json:
        sys.stdout.write(judgement_json(judgement, view, passport=passport))
        return
    print_lines(judgement_text(judgement, view, passport=passport))


def _contexts(options: argparse.Namespace) -> None:
    catalog = catalog_of(options)
    dataset, context = dataset_and_context(catalog, options.context)
    simple, learned = sides(options, dataset)
    alignment = options.align or default_alignment(dataset, context)
    files = tuple(map(read_source, options.relationships))
    here = Place(dataset.name, context, options.representation or simple, alignment)
    same = [place for place in other_places(catalog, here) if place.dataset == dataset.name]
    others = tuple(read_place(catalog, text, like=here) for text in options.other) if options.other else tuple(same)
    if options.query is not None:
        # An unknown one is said before anything is computed.
        shared_map(dataset, context, here.representation, alignment=alignment).position(options.query)
    with steps_bar() as progress:
        report = shared_report(
            catalog,
            here,
            others,
            k=options.k,
            at_least=options.at_least,
            relationships=files,
            seed=options.seed,
            progress=progress,
        )
        overlaps = [
            shared_overlap(
                catalog,
                here,
                other,
                simple=simple,
                learned=learned,
                k=options.k,
                relationships=files,
                seed=options.seed,
                progress=progress,
            )
            for other in others
        ]
    # What the report says of several contexts is not said again of two of them.
    known = {note.rpartition(": ")[2] for note in report.notes}
    said = (note for overlap in overlaps for note in overlap.notes if note.rpartition(": ")[2] not in known)
    say_notes((*dataset.notes, *default_notes(options, alignment), *report.notes, *said))
    if options.query is not None:
        near = report.neighbors_of(options.query).head(report.k)["perturbation"].to_list()
        if options.query in inactive_in(catalog, here):
            say_notes((quiet_sentence(options.query, context),))
        say_notes(cautions_about(dataset.card.cautions, options.query, near))
    if options.json:
        print_json(contexts_json(catalog, report, overlaps, places=(here, *others), seed=options.seed))
        return
    passports, cautions = passports_of(catalog, here, others), dataset.card.cautions
    doubtful = frozenset().union(*(caution.perturbations for caution in cautions))
    print_lines(contexts_text(report, overlaps, passports=passports, query=options.query, doubtful=doubtful))


def _predict(options: argparse.Namespace) -> None:
    catalog = catalog_of(options)
    dataset, context = dataset_and_context(catalog, options.context)
    if options.context is None and options.task != "pairs":
        context = default_target(dataset, source=options.source_context or "")
    plan = default_plan(catalog, dataset.name, context)
    chosen = {
        "task": options.task, "target": options.target, "source": options.source_context, "simple": options.simple,
        "learned": options.learned, "align": options.align, "sources": tuple(options.source or ()) or None,
    }  # fmt: skip
    plan = check_plan(catalog, replace(plan, **{key: value for key, value in chosen.items() if value is not None}))
    files = tuple(map(read_source, options.relationships))
    with steps_bar() as progress:
        prediction = shared_prediction(catalog, plan, relationships=files, seed=options.seed, progress=progress)
    say_notes((*dataset.notes, *default_notes(options, plan.align), *prediction.notes))
    if options.json:
        print_json(prediction_json(prediction, plan))
        return
    print_lines(prediction_text(with_conditions(catalog, plan, prediction)))


def _activity_of(screen: Screen, options: argparse.Namespace) -> tuple[dict[str, Any] | None, str, list[str]]:
    """Judge the query: figures, a sentence, and what the position may explain; or nothing but the reason."""
    try:
        activity = measure_activity(screen, options.representation, alignment=options.align)
        found = activity.of(options.query)
    except InputError as error:
        return None, "", [f"activity not judged: {error}"] if screen.is_control().any() else []
    side = SideActivity(options.representation, found, "", position=activity.position)
    keys = ("p", "q", "basis", "magnitude", "magnitude_p", "n_replicates", "consistency", "consistency_p",
            "mean_average_precision", "normalized_average_precision", "precision_p", "shared_position")  # fmt: skip
    figures = {"verdict": side.verdict} | {key: getattr(found, key) for key in keys}
    return figures, activity_sentence(found.perturbation, [side]), position_sentences([side])


if __name__ == "__main__":
    sys.exit(main())
