import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="explorer: what to test next")

with app.setup:
    import marimo as mo

    from explorer import catalog as catalogs
    from explorer import (
        charts,
        digits,
        landing,
        portable_shortlist,
        progress,
        proposed,
        proposed_tables,
        returned,
        shortlist_charts,
        shortlist_exports,
        wording_shortlist,
        work,
    )
    from explorer import view as views
    from explorer.text import as_sentence, fill


@app.function(hide_code=True)
def pair_table(frame, *, selection=None):
    """Show a table of pairs; in the list a click on a row asks about it."""
    return mo.ui.table(
        frame,
        selection=selection,
        page_size=25,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=frame.height > 25,
        # As the sentences beside it write them.
        format_mapping=digits.cells(proposed_tables.FORMATS),
        column_widths={name: width for name, width in proposed_tables.COLUMN_WIDTHS.items() if name in frame.columns},
    )


@app.cell(hide_code=True)
def title():
    mo.md("""
    ## What should I test next, and what did my last list teach me?

    <small>First the list, then its files; results of an earlier list are read further down, where *results come back*.</small>
    """)
    return


@app.cell(hide_code=True)
def elsewhere(context_control, first):
    # On a shared server: the way back, and the same data in the other apps.
    mo.md(
        " · ".join(
            fill("[{label}]({address})", label=label, address=address)
            for label, address in landing.links_from(
                "shortlist", dataset=first.plan.dataset, context=str(context_control.value)
            )
        )
    ) if catalogs.served_path() else None
    return


@app.cell(hide_code=True)
def cannot_open(catalog_problem):
    mo.callout(
        mo.md(fill("{problem}", problem=as_sentence(catalog_problem))), kind="danger"
    ) if catalog_problem else None
    return


@app.cell(hide_code=True)
def controls(
    active_control,
    align_control,
    completeness_control,
    context_control,
    dataset_control,
    holds_control,
    interest_control,
    learned_control,
    list_button,
    others_control,
    simple_control,
    sources_control,
    trusted_control,
):
    mo.vstack(
        [
            mo.hstack(
                [dataset_control, context_control, others_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack(
                [simple_control, learned_control, align_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack(
                [sources_control, completeness_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack(
                [active_control, trusted_control, holds_control],
                justify="start",
                align="center",
                gap=1.5,
                wrap=True,
            ),
            interest_control,
            list_button,
        ]
    )
    return


@app.cell(hide_code=True)
def modes(budget_control, mode_control):
    mo.vstack(
        [
            mo.md("### Find hits, or compare the maps?"),
            mo.md(
                "\n".join(
                    fill("- **{mode}.** {said}", mode=mode, said=said)
                    for mode, said in wording_shortlist.mode_rows(proposed.budget_or_usual(budget_control.value))
                )
            ),
            mo.hstack([mode_control, budget_control], justify="start", align="center", gap=2, wrap=True),
        ]
    )
    return


@app.cell(hide_code=True)
def notices(problems):
    mo.callout(
        mo.vstack([mo.md(fill("{text}", text=as_sentence(text))) for text in problems]), kind="warn"
    ) if problems else None
    return


@app.cell(hide_code=True)
def cannot_ask(view_problem):
    mo.callout(mo.md(fill("{problem}", problem=as_sentence(view_problem))), kind="danger") if view_problem else None
    return


@app.cell(hide_code=True)
def waited(cancel_button, ticker, ticket):
    ticker.value, cancel_button.value
    mo.stop(ticket is None)
    mo.stop(
        not ticket.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(ticket, ticker, cancel_button, heading="Making the list"),
    )
    finished = ticket
    return (finished,)


@app.cell(hide_code=True)
def answered(finished):
    mo.stop(
        finished.result is None,
        mo.callout(mo.md(fill("{problem}", problem=as_sentence(finished.problem))), kind="danger"),
    )
    answer = finished.result
    return (answer,)


@app.cell(hide_code=True)
def sentence(answer, catalog, linked_view):
    _warned = [
        text
        for text in (
            *proposed.link_warnings(linked_view, answer),
            wording_shortlist.unknown_sentence(answer),
            wording_shortlist.impossible_sentence(answer.found.expectation),
        )
        if text
    ]
    mo.vstack(
        [
            mo.callout(mo.vstack([mo.md(fill("{text}", text=as_sentence(text))) for text in _warned]), kind="warn")
            if _warned
            else "",
            mo.callout(
                mo.md(
                    "".join(
                        [
                            fill("## {head}\n\n", head=wording_shortlist.head(answer)),
                            fill("{said}\n\n", said=wording_shortlist.expectation_sentence(answer.found.expectation)),
                            fill("{census} ", census=wording_shortlist.census_sentence(answer.found)),
                            fill("{units}", units=wording_shortlist.units_sentence(answer.found)),
                        ]
                    )
                ),
                kind="neutral",
            ),
            mo.md(
                "".join(
                    [
                        fill("<small>{line}", line=wording_shortlist.context_line(catalog, answer.found)),
                        *(
                            fill("<br>**{name}**: {said}", name=name, said=said)
                            for name, said in wording_shortlist.passport_rows(answer.found)
                        ),
                        fill("<br>{said} ", said=wording_shortlist.filter_sentence(answer.found)),
                        fill("{said}", said=wording_shortlist.counts_sentence(answer.found)),
                        *(fill("<br>{note}", note=note) for note in wording_shortlist.notes_of(answer)),
                        "</small>",
                    ]
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def blind_shown(answer):
    mo.vstack(
        [
            mo.md("## The pairs, blind"),
            mo.md(fill("{note}", note=wording_shortlist.BLIND_NOTE)),
            pair_table(proposed_tables.blind_table(answer.found)),
        ]
    ) if answer.is_blind else None
    return


@app.cell(hide_code=True)
def list_shown(answer, list_rows):
    mo.vstack(
        [
            mo.md("## The list"),
            list_rows,
            mo.md(
                fill(
                    "<small>{click} {order}</small>",
                    click=wording_shortlist.CLICK_NOTE,
                    order=wording_shortlist.LIST_NOTE,
                )
            ),
        ]
    ) if not answer.is_blind else None
    return


@app.cell(hide_code=True)
def evidence_waited(evidence_cancel, evidence_ticker, evidence_work, get_evidence, set_evidence):
    evidence_ticker.value, evidence_cancel.value
    mo.stop(evidence_work is None)
    mo.stop(
        not evidence_work.is_finished,
        progress.progress_of(
            evidence_work, evidence_ticker, evidence_cancel, heading="Gathering what stands beside each pair"
        ),
    )
    set_evidence(evidence_work.result) if get_evidence() is not evidence_work.result else None
    progress.problem_of(evidence_work) if evidence_work.problem else None
    return


@app.cell(hide_code=True)
def evidence_noted(answer, get_evidence, list_frame):
    mo.vstack(
        [
            mo.md(
                "\n".join(
                    fill("- <small>**{name}**: {said}</small>", name=name, said=said)
                    for name, said in wording_shortlist.column_rows(list_frame)
                )
            ),
            mo.accordion(
                {
                    "What to know of these columns": mo.md(
                        "\n".join(
                            fill("- {note}", note=note)
                            for note in wording_shortlist.evidence_notes(answer, get_evidence())
                        )
                    )
                }
            )
            if get_evidence().notes
            else "",
        ]
    ) if get_evidence() is not None else None
    return


@app.cell(hide_code=True)
def pair_shown(answer, get_evidence, get_row, pair_control):
    mo.vstack(
        [
            mo.md("### One pair"),
            pair_control,
            mo.md(
                "\n".join(
                    fill("- **{word}.** {said}", word=word, said=said)
                    for word, said in wording_shortlist.pair_rows(answer, get_evidence(), get_row())
                )
            ),
            mo.md(
                " · ".join(
                    fill("[{label}]({address})", label=label, address=address)
                    for name in wording_shortlist.pair_names(answer, get_row())
                    for label, address in proposed.page_links(answer.found.plan, name)
                )
            )
            if catalogs.served_path()
            else "",
        ]
    ) if not answer.is_blind else None
    return


@app.cell(hide_code=True)
def apart_shown(answer):
    _apart = proposed_tables.apart_table(answer.found)
    mo.accordion(
        {
            "Annotated apart: the first pairs that a source places in different groups": mo.vstack(
                [mo.md(fill("{note}", note=wording_shortlist.APART_NOTE)), pair_table(_apart)]
            )
        }
    ) if _apart.height else None
    return


@app.cell(hide_code=True)
def charts_shown(answer):
    _drawn = shortlist_exports.figures(answer)
    mo.vstack(
        [
            mo.md("## Where they stand in both maps"),
            charts.Displayed(_drawn["both-maps"]),
            mo.md(fill("<small>{note}</small>", note=wording_shortlist.MAPS_NOTE)),
            charts.Displayed(_drawn["expected-hits"]) if "expected-hits" in _drawn else "",
            mo.md(fill("<small>{note}</small>", note=wording_shortlist.EXPECTED_NOTE))
            if "expected-hits" in _drawn
            else "",
        ]
    ) if "both-maps" in _drawn else None
    return


@app.cell(hide_code=True)
def downloads(answer, catalog, track_path):
    # Each is made when it is asked for, of what there is by then.
    _stem = proposed.file_stem(answer.found.plan)
    mo.vstack(
        [
            mo.md("## Take it away"),
            mo.md(
                "".join(
                    [
                        fill("{note}", note=wording_shortlist.FREEZE_NOTE),
                        fill(" {note}", note=wording_shortlist.KEY_NOTE if answer.is_blind else ""),
                    ]
                )
            ),
            mo.hstack(
                [
                    mo.download(
                        lambda: returned.frozen_zip(
                            answer.found, proposed.found_evidence(catalog, answer), track=track_path
                        ),
                        filename=f"{_stem}.zip",
                        mimetype="application/zip",
                        label="Freeze this list: list, sheet and key (zip)"
                        if answer.is_blind
                        else "Freeze this list: list and sheet (zip)",
                    )
                ],
                justify="start",
            ),
            mo.hstack(
                [
                    mo.download(
                        lambda: portable_shortlist.shortlist_page(
                            catalog, answer, proposed.found_evidence(catalog, answer)
                        ).encode(),
                        filename=f"{_stem}.html",
                        mimetype="text/html",
                        label="this page as one HTML file: opens offline, interactive",
                    ),
                    mo.download(
                        lambda: shortlist_exports.list_text(answer, proposed.found_evidence(catalog, answer)).encode(),
                        filename=f"{_stem}.json",
                        mimetype="application/json",
                        label="all of it as JSON",
                    ),
                    mo.download(
                        lambda: shortlist_exports.tables_zip(answer, proposed.found_evidence(catalog, answer)),
                        filename=f"{_stem}-tables.zip",
                        mimetype="application/zip",
                        label="all tables as CSV (zip)",
                    ),
                    mo.download(
                        lambda: shortlist_exports.figures_zip(answer),
                        filename=f"{_stem}-figures.zip",
                        mimetype="application/zip",
                        label="all figures as SVG and PNG (zip)",
                    )
                    if not answer.is_blind
                    else "",
                ],
                justify="start",
                wrap=True,
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def results_asked(key_upload, list_upload, results_upload):
    mo.vstack(
        [
            mo.md("## Results come back"),
            mo.md(
                "".join(
                    [
                        fill("{note} ", note=wording_shortlist.RESULTS_NOTE),
                        fill("{note}", note=wording_shortlist.RESULTS_KEY_NOTE),
                    ]
                )
            ),
            mo.hstack([list_upload, results_upload, key_upload], justify="start", gap=1, wrap=True),
            mo.accordion({"What a file of results looks like": mo.plain_text(wording_shortlist.RESULTS_FORM)}),
        ]
    )
    return


@app.cell(hide_code=True)
def results_refused(came_back):
    mo.callout(
        mo.vstack([mo.md(fill("{text}", text=as_sentence(text))) for text in came_back.problems]), kind="danger"
    ) if came_back is not None and came_back.problems else None
    return


@app.cell(hide_code=True)
def results_shown(came_back):
    mo.stop(came_back is None or came_back.frozen is None)
    mo.callout(
        mo.md(
            "".join(
                [
                    fill("## {head}\n\n", head=wording_shortlist.results_head(came_back.score)),
                    *(fill("- {said}\n", said=said) for said in wording_shortlist.returned_sentences(came_back)),
                    fill("\n<small>{line}</small>", line=wording_shortlist.frozen_line(came_back.frozen)),
                ]
            )
        ),
        kind=wording_shortlist.results_tone(came_back.score),
    )
    return


@app.cell(hide_code=True)
def results_taken(came_back):
    mo.stop(came_back is None or came_back.score is None)
    mo.hstack(
        [
            mo.download(
                lambda: returned.results_json(came_back).encode(),
                filename=f"{returned.results_stem(came_back)}.json",
                mimetype="application/json",
                label="what came of it, as JSON",
            ),
            mo.download(
                lambda: returned.opened_key_text(came_back).encode(),
                filename="LIST-key.json",
                mimetype="application/json",
                label="the key, marked as opened: keep it in place of the other",
            )
            if came_back.is_opened
            else "",
        ],
        justify="start",
        wrap=True,
    )
    return


@app.cell(hide_code=True)
def record_shown(came_back, record, record_button, record_problem, record_said, track_path):
    mo.vstack(
        [
            mo.md("## Track record: all your lists together"),
            mo.md(fill("{how}", how=wording_shortlist.record_how(is_served=bool(catalogs.served_path()))))
            if track_path is None
            else "",
            record_button if track_path is not None and came_back is not None and came_back.can_be_recorded else "",
            mo.md(fill("**{said}**", said=record_said)) if record_said else "",
            mo.callout(mo.md(fill("{problem}", problem=as_sentence(record_problem))), kind="danger")
            if record_problem
            else "",
            mo.md("\n".join(fill("- {said}", said=said) for said in wording_shortlist.record_rows(record)))
            if record is not None
            else "",
        ]
    )
    return


@app.cell(hide_code=True)
def record_drawn(record):
    mo.vstack(
        [
            charts.Displayed(shortlist_charts.record_points(record.table)),
            mo.md(fill("<small>{note}</small>", note=wording_shortlist.RECORD_NOTE)),
            mo.ui.table(
                proposed_tables.record_table(record),
                selection=None,
                page_size=10,
                show_column_summaries=False,
                show_data_types=False,
                show_download=False,
                format_mapping=digits.cells(proposed_tables.RECORD_FORMATS),
            ),
        ]
    ) if record is not None and record.table.height else None
    return


@app.cell(hide_code=True)
def limits(answer):
    mo.vstack(
        [
            mo.md("## What this can't say"),
            mo.md(
                "\n".join(
                    fill("- **{word}.** {said}", word=word, said=said)
                    for word, said in wording_shortlist.limits(answer)
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def about(answer, catalog):
    mo.accordion(
        {
            "About this data, what is known of it, and the recipes": mo.md(
                "\n\n".join(
                    fill("**{heading}.** {text}", heading=heading, text=text)
                    for heading, text in wording_shortlist.about_rows(catalog, answer.found)
                )
            )
        }
    )
    return


@app.cell(hide_code=True)
def plumbing():
    mo.md("""
    ---
    <small>Below this line is the plumbing, each step one call into the package: where the data comes from (*source*), what
    the link asks for (*start*), the controls (*choices*), the work (*asked*), the list and its evidence, and what came
    back.</small>
    """) if mo.app_meta().mode == "edit" else None
    return


@app.cell
def source():
    # `marimo run apps/shortlist.py -- --data PATH` shows a dataset folder, a catalog of them, or one file.
    # A shared server (`explorer serve`) shows its catalog and nothing else.
    data_path = catalogs.served_path() or mo.cli_args().get("data") or mo.notebook_dir().parent / "demo_data"
    return (data_path,)


@app.cell
def kept():
    # `--track FOLDER` keeps a track record there: never on a shared server, and never where a browser says.
    track_path = returned.track_folder(mo.cli_args().get("track"), is_served=bool(catalogs.served_path()))
    return (track_path,)


@app.cell
def opened(data_path):
    # `--context-column NAME`: of a single file, the column whose values are its contexts.
    found_catalog, catalog_problem = views.attempt(
        lambda: catalogs.open_catalog(str(data_path), context_column=mo.cli_args().get("context-column"))
    )
    return catalog_problem, found_catalog


@app.cell
def usable(found_catalog):
    mo.stop(found_catalog is None)
    catalog = found_catalog
    return (catalog,)


@app.cell
def start(catalog):
    linked_view, problems = proposed.read_list_view(mo.query_params().to_dict(), catalog)
    return linked_view, problems


@app.cell
def dataset_choice(catalog, linked_view):
    dataset_control = mo.ui.dropdown(catalog.names, value=linked_view.plan.dataset, label="Dataset")
    return (dataset_control,)


@app.cell
def first_view(catalog, dataset_control, linked_view):
    first = proposed.first_list_view(dataset_control.value, linked_view, catalog)
    return (first,)


@app.cell
def choices(catalog, first):
    _dataset = catalog.dataset(first.plan.dataset)
    context_control = mo.ui.dropdown(_dataset.contexts, value=first.plan.context, label="Context")
    simple_control = mo.ui.dropdown(proposed.simple_names(_dataset), value=first.plan.simple, label="Simple")
    learned_control = mo.ui.dropdown(proposed.learned_names(_dataset), value=first.plan.learned, label="Learned")
    align_control = mo.ui.dropdown(views.METHODS, value=first.plan.align, label="Alignment")
    sources_control = mo.ui.multiselect(
        proposed.source_names(_dataset), value=list(first.plan.sources), label="What is known"
    )
    completeness_control = mo.ui.dropdown(
        proposed.COMPLETENESS_OPTIONS,
        value=proposed.completeness_name(first.plan.completeness),
        label="The annotation holds about",
    )
    list_button = mo.ui.run_button(label="List", tooltip="Runs by itself; here to begin again after Cancel")
    return (
        align_control,
        completeness_control,
        context_control,
        learned_control,
        list_button,
        simple_control,
        sources_control,
    )


@app.cell
def mode_choices(first):
    mode_control = mo.ui.radio(proposed.MODE_OPTIONS, value=proposed.mode_name(first.plan.mode), label="Mode")
    budget_control = mo.ui.number(
        start=1, stop=proposed.MOST_BUDGET, step=1, value=first.plan.budget, label="Pairs to test"
    )
    return budget_control, mode_control


@app.cell
def filter_choices(catalog, first):
    active_control = mo.ui.checkbox(value=first.plan.only_active, label="not inactive in both maps")
    trusted_control = mo.ui.checkbox(
        value=first.plan.only_trusted,
        label="not distrusted by the card",
        disabled=not proposed.has_cautions(catalog, first),
    )
    holds_control = mo.ui.checkbox(value=first.plan.only_holding, label="holds in another context")
    interest_control = mo.ui.text_area(
        value=proposed.interest_text(first.plan),
        label="Only pairs with one of",
        placeholder="names, with blanks, commas or line breaks between them; empty for all",
        rows=2,
        full_width=True,
    )
    return active_control, holds_control, interest_control, trusted_control


@app.cell
def others_choice(catalog, context_control, first):
    _options, _chosen = proposed.chosen_contexts(catalog, first, context_control.value)
    others_control = mo.ui.multiselect(_options, value=_chosen, label="Count in")
    return (others_control,)


@app.cell
def asked(
    active_control,
    align_control,
    budget_control,
    catalog,
    completeness_control,
    context_control,
    first,
    holds_control,
    interest_control,
    learned_control,
    list_button,
    mode_control,
    others_control,
    simple_control,
    sources_control,
    trusted_control,
):
    list_button.value
    # A browser can send any value, so each is checked again against what exists.
    ticket, view_problem = views.attempt(
        lambda: proposed.start_list(
            catalog,
            proposed.checked_list_view(
                catalog,
                dataset=first.plan.dataset,
                context=context_control.value,
                others=others_control.value,
                simple=simple_control.value,
                learned=learned_control.value,
                align=align_control.value,
                mode=mode_control.value,
                budget=budget_control.value,
                sources=sources_control.value,
                completeness=completeness_control.value,
                active=active_control.value,
                trusted=trusted_control.value,
                holds=holds_control.value,
                interest=interest_control.value,
            ),
        )
    )
    cancel_button = mo.ui.button(label="Cancel", on_click=lambda _: ticket.cancel())
    ticker = mo.ui.refresh(default_interval=1)
    return cancel_button, ticker, ticket, view_problem


@app.cell
def evidence_begun(answer, catalog):
    # Of a blind list nothing is gathered: it would tell who proposed what.
    evidence_work = None if answer.is_blind else proposed.start_evidence(catalog, answer)
    get_evidence, set_evidence = mo.state(proposed.at_first(evidence_work, work.patience(mo.app_meta().mode)))
    evidence_cancel = mo.ui.button(label="Cancel", on_click=lambda _: evidence_work.cancel())
    evidence_ticker = mo.ui.refresh(default_interval=1)
    return (
        evidence_cancel,
        evidence_ticker,
        evidence_work,
        get_evidence,
        set_evidence,
    )


@app.cell
def row_state(answer):
    get_row, set_row = mo.state(proposed.chosen_row(0, answer.found.rows.height))
    return get_row, set_row


@app.cell
def list_made(answer, get_evidence):
    list_frame = None if answer.is_blind else proposed_tables.list_table(answer.found, get_evidence())
    list_rows = None if answer.is_blind else pair_table(list_frame, selection="single-cell")
    return list_frame, list_rows


@app.cell
def row_clicked(answer, list_rows, set_row):
    _row = None if list_rows is None else proposed.clicked_row(list_rows.value, answer.found.rows.height)
    set_row(_row) if _row is not None else None
    return


@app.cell
def pair_choice(answer, get_row, set_row):
    pair_control = (
        None
        if answer.is_blind
        else mo.ui.dropdown(
            proposed.pair_options(answer),
            value=proposed.pair_option(answer, get_row()),
            label="Pair",
            searchable=True,
            on_change=lambda value: set_row(proposed.chosen_row(value, answer.found.rows.height)),
        )
    )
    return (pair_control,)


@app.cell
def uploads():
    list_upload = mo.ui.file(
        filetypes=[".csv", ".parquet"], max_size=returned.MOST_BYTES, label="The frozen list (parquet or CSV)"
    )
    results_upload = mo.ui.file(
        filetypes=[".csv", ".tsv", ".txt"], max_size=returned.MOST_BYTES, label="Its results (CSV)"
    )
    key_upload = mo.ui.file(filetypes=[".json"], max_size=returned.MOST_BYTES, label="Of a blind list, its key")
    return key_upload, list_upload, results_upload


@app.cell
def looks():
    # Which keys this session has opened, and for which results.
    openings = returned.Openings()
    return (openings,)


@app.cell
def came(key_upload, list_upload, openings, results_upload):
    # Nothing of a file is believed before it was checked; none is written anywhere.
    came_back = returned.read_back(list_upload.value, results_upload.value, key_upload.value, openings=openings)
    return (came_back,)


@app.cell
def record_choice(came_back):
    came_back
    record_button = mo.ui.run_button(label="Add to my track record")
    return (record_button,)


@app.cell
def recorded(came_back, record_button, track_path):
    record_said, _refused = (
        views.attempt(lambda: returned.add_to_record(track_path, came_back)) if record_button.value else ("", "")
    )
    record, _unread = (None, "") if track_path is None else views.attempt(lambda: returned.read_record(track_path))
    record_problem = _refused or _unread
    return record, record_problem, record_said


@app.cell
def remember(answer):
    # The whole view is in the address, so a link reopens exactly what was seen.
    for _name, _value in proposed.linked(answer).items():
        mo.query_params().set(_name, _value)
    return


if __name__ == "__main__":
    app.run()
