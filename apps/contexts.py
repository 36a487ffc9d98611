import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="explorer: what holds elsewhere")

with app.setup:
    import marimo as mo

    from explorer import catalog as catalogs
    from explorer import (
        charts,
        context_charts,
        context_exports,
        digits,
        held,
        held_tables,
        landing,
        portable_contexts,
        progress,
        wording_contexts,
        work,
    )
    from explorer import view as views
    from explorer.text import as_sentence, fill


@app.function(hide_code=True)
def named_table(frame, *, formats, page_size):
    """Show a table in which a click on a name asks about it."""
    return mo.ui.table(
        frame,
        selection="single-cell",
        page_size=page_size,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=frame.height > page_size,
        # As the sentences beside it write them.
        format_mapping=digits.cells(formats),
        column_widths={name: width for name, width in held_tables.COLUMN_WIDTHS.items() if name in frame.columns},
    )


@app.cell(hide_code=True)
def title():
    mo.md("""
    ## What of this map holds in another cell system, time or technique?
    """)
    return


@app.cell(hide_code=True)
def elsewhere(context_control, first):
    # On a shared server: the way back, and the same data in the other apps.
    mo.md(
        " · ".join(
            fill("[{label}]({address})", label=label, address=address)
            for label, address in landing.links_from(
                "contexts", dataset=first.dataset, context=str(context_control.value)
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
    align_control,
    ask_button,
    context_control,
    dataset_control,
    learned_control,
    others_control,
    representation_control,
    simple_control,
):
    mo.vstack(
        [
            mo.hstack(
                [dataset_control, context_control, others_control, representation_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack(
                [align_control, simple_control, learned_control, ask_button],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
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
        progress.progress_of(ticket, ticker, cancel_button, heading="Asking the other contexts"),
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
def query_shown(query_control):
    query_control
    return


@app.cell(hide_code=True)
def sentence(answer, catalog, link_warning, query, query_problem):
    _warned = [
        text
        for text in (
            link_warning,
            query_problem,
            wording_contexts.inactive_sentence(answer, query),
            *wording_contexts.caution_sentences(answer, query),
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
                            *(
                                fill("## {said}\n\n", said=said)
                                for said in wording_contexts.query_sentences(answer, query)
                            ),
                            fill("<small>{note}</small>\n\n", note=held_tables.DECOYS_NOTE),
                            fill("{both}\n\n", both=wording_contexts.general_sentence(answer, query)),
                            fill("{layout}", layout=" ".join(wording_contexts.layout_sentences(answer))),
                        ]
                    )
                ),
                kind=wording_contexts.tone(answer, query),
            ),
            mo.md(
                "".join(
                    [
                        fill("<small>{line}", line=wording_contexts.context_line(catalog, answer)),
                        *(
                            fill("<br>**{name}**: {said}", name=name, said=said)
                            for name, said in wording_contexts.passport_rows(answer)
                        ),
                        *(
                            fill("<br>{differs} {warned}", differs=differs, warned=warned)
                            for differs, warned in wording_contexts.difference_rows(answer)
                        ),
                        "</small>",
                    ]
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def neighbors_shown(neighbor_table, query):
    mo.vstack(
        [
            mo.md(fill("## {query}'s neighbours", query=query)),
            neighbor_table,
            mo.md(
                fill(
                    "<small>{click} {note}</small>",
                    click=wording_contexts.CLICK_NOTE,
                    note=wording_contexts.LABELS_NOTE,
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def whole_map(answer):
    labels_chart = context_charts.label_bars(held_tables.counts_table(answer.report))
    mo.vstack(
        [
            mo.md("## The whole map"),
            mo.md(
                "\n".join(
                    fill("- **In {context}.** {said}", context=context, said=said)
                    for context, said in wording_contexts.map_sentences(answer)
                )
            ),
            mo.md(fill("{both}", both=wording_contexts.general_sentence(answer))),
            charts.Displayed(labels_chart),
        ]
    )
    return


@app.cell(hide_code=True)
def edges_shown(answer, at_least_control, edge_table, edges, known_control):
    mo.vstack(
        [
            mo.md("## The edges that hold"),
            mo.hstack([at_least_control, known_control], justify="start", align="center", gap=1, wrap=True),
            mo.md(
                fill(
                    "{said} {click}",
                    said=wording_contexts.edges_sentence(answer, edges, at_least=at_least_control.value),
                    click=wording_contexts.CLICK_NOTE,
                )
            ),
            edge_table if edges.height else "",
            mo.hstack(
                [
                    mo.download(
                        lambda: context_exports.labelled_csv(edges, answer).encode(),
                        filename=f"{held.file_stem(answer.view)}-edges.csv",
                        mimetype="text/csv",
                        label="these edges as CSV, with passports and recipes in it",
                    )
                ],
                justify="start",
            ),
            mo.md(fill("<small>{note}</small>", note=wording_contexts.EDGES_NOTE)),
        ]
    )
    return


@app.cell(hide_code=True)
def overlaps_shown(answer, overlap_cancel, overlap_ticker, overlap_work):
    overlap_ticker.value, overlap_cancel.value
    mo.stop(
        not overlap_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(overlap_work, overlap_ticker, overlap_cancel, heading="Learned against simple"),
    )
    overlaps = overlap_work.result
    mo.stop(overlaps is None, progress.problem_of(overlap_work))
    overlap_frame = held_tables.overlap_table(answer.report, overlaps)
    _pair = held.sides(answer.view)
    mo.vstack(
        [
            mo.md("## Learned against simple: whose neighbourhoods hold better?"),
            mo.md(
                "\n".join(fill("- {said}", said=said) for said in wording_contexts.overlap_sentences(answer, overlaps))
            ),
            charts.Displayed(context_charts.overlap_intervals(overlap_frame, marked=_pair)),
            mo.md(fill("<small>{note}</small>", note=wording_contexts.OVERLAP_NOTE)),
            mo.md("### Where the raw overlap comes from"),
            charts.Displayed(context_charts.overlap_parts(overlap_frame, marked=_pair)),
            mo.md(
                fill(
                    "<small>{note} {further}</small>",
                    note=wording_contexts.PARTS_NOTE,
                    further=" ".join(wording_contexts.overlap_notes(overlaps)),
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def limits(answer):
    mo.vstack(
        [
            mo.md("## What this can't say"),
            mo.md(
                "\n".join(
                    fill("- **{word}.** {said}", word=word, said=said) for word, said in wording_contexts.limits(answer)
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def downloads(answer, catalog, query):
    # Each is made when it is asked for, of what there is by then.
    _stem = held.file_stem(answer.view)
    mo.vstack(
        [
            mo.md("## Take it away"),
            mo.hstack(
                [
                    mo.download(
                        lambda: portable_contexts.contexts_page(catalog, answer, query=query).encode(),
                        filename=f"{_stem}.html",
                        mimetype="text/html",
                        label="this page as one HTML file: opens offline, interactive",
                    ),
                    mo.download(
                        lambda: context_exports.contexts_text(catalog, answer).encode(),
                        filename=f"{_stem}.json",
                        mimetype="application/json",
                        label="all of it as JSON",
                    ),
                    mo.download(
                        lambda: context_exports.tables_zip(catalog, answer, query=query),
                        filename=f"{_stem}-tables.zip",
                        mimetype="application/zip",
                        label="all tables as CSV (zip)",
                    ),
                    mo.download(
                        lambda: context_exports.figures_zip(catalog, answer),
                        filename=f"{_stem}-figures.zip",
                        mimetype="application/zip",
                        label="all figures as SVG and PNG (zip)",
                    ),
                ],
                justify="start",
                wrap=True,
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def about(answer, catalog):
    mo.accordion(
        {
            "About these contexts, what is known of them, and the recipes": mo.md(
                "\n\n".join(
                    fill("**{heading}.** {text}", heading=heading, text=text)
                    for heading, text in wording_contexts.about_rows(catalog, answer)
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
    the link asks for (*start*), the controls (*choices*), the work (*asked*), the query (*queried*) and its tables.</small>
    """) if mo.app_meta().mode == "edit" else None
    return


@app.cell
def source():
    # `marimo run apps/contexts.py -- --data PATH` shows a dataset folder, a catalog of them, or one file.
    # A shared server (`explorer serve`) shows its catalog and nothing else.
    data_path = catalogs.served_path() or mo.cli_args().get("data") or mo.notebook_dir().parent / "demo_data"
    return (data_path,)


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
    linked_view, problems = held.read_held_view(mo.query_params().to_dict(), catalog)
    return linked_view, problems


@app.cell
def dataset_choice(catalog, linked_view):
    dataset_control = mo.ui.dropdown(catalog.names, value=linked_view.dataset, label="Dataset")
    return (dataset_control,)


@app.cell
def first_view(catalog, dataset_control, linked_view):
    first = held.first_held_view(dataset_control.value, linked_view, catalog)
    return (first,)


@app.cell
def choices(catalog, first):
    _dataset = catalog.dataset(first.dataset)
    context_control = mo.ui.dropdown(_dataset.contexts, value=first.context, label="Context")
    representation_control = mo.ui.dropdown(
        list(_dataset.card.representations), value=first.representation, label="Representation"
    )
    align_control = mo.ui.dropdown(views.METHODS, value=first.align, label="Alignment")
    simple_control = mo.ui.dropdown(held.simple_names(_dataset), value=first.simple, label="Compare simple")
    learned_control = mo.ui.dropdown(held.learned_names(_dataset), value=first.learned, label="with learned")
    ask_button = mo.ui.run_button(label="Ask", tooltip="Runs by itself; here to begin again after Cancel")
    get_query, set_query = mo.state(first.query)
    return (
        align_control,
        ask_button,
        context_control,
        get_query,
        learned_control,
        representation_control,
        set_query,
        simple_control,
    )


@app.cell
def others_choice(catalog, context_control, first):
    _options, _chosen = held.chosen_others(catalog, first, context_control.value)
    others_control = mo.ui.multiselect(_options, value=_chosen, label="Does it hold in")
    return (others_control,)


@app.cell
def asked(
    align_control,
    ask_button,
    catalog,
    context_control,
    first,
    learned_control,
    others_control,
    representation_control,
    simple_control,
):
    ask_button.value
    # A browser can send any value, so each is checked again against what exists.
    ticket, view_problem = views.attempt(
        lambda: held.start_report(
            catalog,
            held.checked_held_view(
                catalog,
                dataset=first.dataset,
                context=context_control.value,
                others=others_control.value,
                representation=representation_control.value,
                simple=simple_control.value,
                learned=learned_control.value,
                align=align_control.value,
            ),
        )
    )
    cancel_button = mo.ui.button(label="Cancel", on_click=lambda _: ticket.cancel())
    ticker = mo.ui.refresh(default_interval=1)
    return cancel_button, ticker, ticket, view_problem


@app.cell
def queried(answer, catalog, get_query):
    query, query_problem = held.checked_query(catalog, answer, get_query())
    return query, query_problem


@app.cell
def query_choice(answer, query, set_query):
    query_control = (
        mo.ui.dropdown(
            answer.report.names, value=query, label="Whose neighbours?", searchable=True, on_change=set_query
        )
        if held.lists_names(answer)
        else mo.ui.text(value=query, label="Whose neighbours?", on_change=set_query)
    )
    return (query_control,)


@app.cell
def neighbors_found(answer, query):
    neighbor_table = named_table(
        held_tables.neighbor_table(answer.report, query, doubtful=answer.doubtful),
        formats=held_tables.EDGE_FORMATS,
        page_size=10,
    )
    return (neighbor_table,)


@app.cell
def neighbor_clicked(answer, neighbor_table, set_query):
    set_query(held.clicked_name(neighbor_table.value, answer)) if held.clicked_name(
        neighbor_table.value, answer
    ) else None
    return


@app.cell
def edge_choices(answer):
    at_least_control = mo.ui.dropdown(
        held_tables.steps_of(answer.report), value=held_tables.first_step(answer.report), label="Edges that hold"
    )
    known_control = mo.ui.dropdown(held_tables.KNOWN_OPTIONS, value="all edges", label="Show")
    return at_least_control, known_control


@app.cell
def edges_found(answer, at_least_control, known_control):
    edges = held_tables.edge_table(
        answer.report, at_least=at_least_control.value, known=known_control.value, doubtful=answer.doubtful
    )
    edge_table = named_table(edges, formats=held_tables.EDGE_FORMATS, page_size=10)
    return edge_table, edges


@app.cell
def edge_clicked(answer, edge_table, set_query):
    set_query(held.clicked_name(edge_table.value, answer)) if held.clicked_name(edge_table.value, answer) else None
    return


@app.cell
def counted(answer, linked_view):
    link_warning = held.held_link_warning(linked_view, answer)
    return (link_warning,)


@app.cell
def overlaps_begun(answer, catalog):
    overlap_work = held.start_overlaps(catalog, answer.view)
    overlap_cancel = mo.ui.button(label="Cancel", on_click=lambda _: overlap_work.cancel())
    overlap_ticker = mo.ui.refresh(default_interval=1)
    return overlap_cancel, overlap_ticker, overlap_work


@app.cell
def remember(answer, query):
    # The whole view is in the address, so a link reopens exactly what was seen.
    for _name, _value in held.linked(answer, query).items():
        mo.query_params().set(_name, _value)
    return


if __name__ == "__main__":
    app.run()
