import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="explorer: neighbours, side by side")

with app.setup:
    import marimo as mo

    from explorer import catalog as catalogs
    from explorer import (
        charts,
        landing,
        leaving,
        panels,
        portable_view,
        progress,
        side_activity,
        side_by_side,
        side_work,
        wording,
        work,
    )
    from explorer import view as views
    from explorer.card import cautions_about
    from explorer.text import as_sentence, fill


@app.function(hide_code=True)
def rank_table(frame, view, pair, *, what, catalog):
    """Show perturbations with rank and similarity on both sides, and offer them as CSV with the recipes in it."""
    return mo.vstack(
        [
            mo.ui.table(
                frame,
                selection=None,
                page_size=20,
                show_column_summaries=False,
                show_data_types=False,
                show_download=False,
                format_mapping={"left similarity": "{:.3f}", "right similarity": "{:.3f}"},
                column_widths=wording.column_widths(frame.columns),
                wrapped_columns=wording.wrapped_columns(frame.columns),
            ),
            mo.hstack(
                [
                    mo.download(
                        # Written when it is asked for: a brush may hold thousands.
                        lambda: side_by_side.table_csv(frame, view, pair, catalog=catalog).encode(),
                        filename=f"{wording.file_stem(view)}-{what}.csv",
                        mimetype="text/csv",
                        label=f"{what} as CSV, with the recipes in it",
                    )
                ],
                justify="start",
            ),
        ]
    )


@app.cell(hide_code=True)
def title():
    mo.md("""
    ## Who are this perturbation's neighbours, in a simple and in a learned representation?
    """)
    return


@app.cell(hide_code=True)
def elsewhere(context_control, first):
    # On a shared server: the way back, and the same data in the other app.
    mo.md(
        " · ".join(
            fill("[{label}]({address})", label=label, address=address)
            for label, address in landing.links_from(
                "explore", dataset=first.dataset, context=str(context_control.value)
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
    among_control,
    context_control,
    dataset_control,
    direction_control,
    k_control,
    left_control,
    right_control,
    swap_button,
):
    mo.vstack(
        [
            mo.hstack(
                [dataset_control, context_control, align_control, k_control, among_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack(
                [left_control, swap_button, right_control, direction_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def notices(cautions, link_notice, link_warning, list_notice, positions, problems, query_problem):
    _every = (*problems, query_problem, link_warning, list_notice, link_notice, *cautions, *positions)
    _said = [sentence for sentence in _every if sentence]
    mo.callout(
        mo.vstack([mo.md(fill("{text}", text=as_sentence(text))) for text in _said]), kind="warn"
    ) if _said else None
    return


@app.cell(hide_code=True)
def waited(asked_view, catalog, get_pictures, map_cancel, map_ticker, map_work):
    map_ticker.value, map_cancel.value, get_pictures()
    mo.stop(
        not map_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(map_work, map_ticker, map_cancel, heading="Making the maps"),
    )
    found_answer, view_problem = side_work.answer_of(map_work, catalog, asked_view)
    maps_made = map_work
    return found_answer, maps_made, view_problem


@app.cell(hide_code=True)
def cannot_show(again_button, maps_made, view_problem):
    mo.vstack(
        [
            mo.callout(mo.md(fill("{problem}", problem=as_sentence(view_problem))), kind="danger"),
            again_button if maps_made.may_work_again else "",
        ]
    ) if view_problem else None
    return


@app.cell(hide_code=True)
def answer(active_sentence, agree_sentence, catalog, context_sentence, known_sentence, only_sentence, view):
    _examples = [
        fill("[{label}]({address})", label=label, address=address)
        for label, address, _ in wording.example_links(catalog, view)
    ]
    mo.md(
        "".join(
            [
                fill("{active}<br>", active=active_sentence),
                fill("**{agree}** {known} {only}", agree=agree_sentence, known=known_sentence, only=only_sentence),
                fill("<br><small>{context}", context=context_sentence),
                " Worth a look: " if _examples else "",
                " · ".join(_examples),
                "</small>",
            ]
        )
    )
    return


@app.cell(hide_code=True)
def maps(catalog, widget):
    # Wrapped where it is shown, so that a click or a brush runs only the cells that name `linked`. The catalog is
    # named so that nothing is shown without a dataset.
    catalog
    linked = mo.ui.anywidget(widget)
    linked
    return (linked,)


@app.cell(hide_code=True)
def caption(list_control, pair, umap_button):
    mo.vstack(
        [
            list_control,
            mo.md(fill("<small>{text}</small>", text=wording.picture_caption(pair))),
            umap_button if side_by_side.lacks_umap(pair) else "",
        ]
    )
    return


@app.cell(hide_code=True)
def pictures_waited(set_pictures, umap_cancel, umap_ticker, umap_work):
    umap_ticker.value, umap_cancel.value
    mo.stop(umap_work is None)
    mo.stop(
        not umap_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(umap_work, umap_ticker, umap_cancel, heading="Making UMAP pictures"),
    )
    # The maps are shown again, with the new pictures.
    set_pictures(umap_work.state)
    progress.problem_of(umap_work) if umap_work.problem else None
    return


@app.cell(hide_code=True)
def own_list(catalog, comparison, highlighted, pair, view):
    _found = side_by_side.selection_table(list(highlighted), comparison)
    mo.vstack(
        [mo.md("### Your list"), rank_table(_found, view, pair, what="list", catalog=catalog)]
    ) if highlighted else None
    return


@app.cell(hide_code=True)
def brushed(catalog, comparison, linked, pair, view, widget):
    linked.value
    _names = pair.names_of(widget.selected)
    mo.vstack(
        [
            mo.md(fill("### Selected in the maps: {count}", count=len(_names))),
            rank_table(side_by_side.selection_table(_names, comparison), view, pair, what="selection", catalog=catalog),
        ]
    ) if _names else None
    return


@app.cell(hide_code=True)
def activity(judged, view):
    _table = wording.activity_lines(judged)
    mo.vstack(
        [
            mo.md(fill("## Does {query} do anything?", query=view.query)),
            mo.ui.table(
                _table,
                selection=None,
                show_column_summaries=False,
                show_data_types=False,
                show_download=False,
                show_search=False,
                text_justify_columns={"replicates": "right", "value": "right", "p": "right", "q": "right"},
            ),
            mo.md(fill("<small>{note}</small>", note=wording.activity_note(judged))),
        ]
    ) if _table.height else None
    return


@app.cell(hide_code=True)
def details_waited(again_button, detail_cancel, detail_ticker, detail_work):
    detail_ticker.value, detail_cancel.value
    mo.stop(
        not detail_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(detail_work, detail_ticker, detail_cancel, heading="Comparing all neighbourhoods"),
    )
    mo.stop(bool(detail_work.problem), mo.vstack([progress.problem_of(detail_work), again_button]))
    details_made = True
    return (details_made,)


@app.cell(hide_code=True)
def ladder_and_strip(comparison, distribution, found_yardsticks, table, titles, view):
    ladder = charts.rank_ladder(table, titles=titles, k=view.k)
    strip = charts.overlap_strip(
        charts.overlap_counts(distribution.overlaps),
        query=view.query,
        overlap=comparison.agreement.overlap,
        chance=distribution.chance,
        yardsticks=side_by_side.yardstick_marks(found_yardsticks),
    )
    mo.vstack(
        [
            mo.md("## How far do they agree?"),
            mo.md(fill("{sentence}", sentence=wording.agreement_details(comparison, distribution))),
            charts.Displayed(strip),
            mo.md(fill("{sentence}", sentence=wording.yardstick_sentence(found_yardsticks, comparison))),
            mo.md("## The two neighbourhoods, rank by rank"),
            charts.Displayed(ladder),
            mo.md(
                "<small>A line joins a shared neighbour; a ring marks a known relationship; numbers are cosines.</small>"
            ),
        ]
    )
    return ladder, strip


@app.cell(hide_code=True)
def neighbor_table(catalog, pair, table, view):
    mo.vstack(
        [
            mo.md("## All neighbours, to sort and take away"),
            rank_table(table, view, pair, what="neighbours", catalog=catalog),
            mo.md(fill("<small>{note}</small>", note=wording.elsewhere_note(catalog, view))),
        ]
    )
    return


@app.cell(hide_code=True)
def gene_sets(catalog, gene_set_table, view):
    mo.vstack(
        [
            mo.md("## What the neighbours have in common"),
            mo.md(fill("{sentence}", sentence=wording.gene_set_sentence(gene_set_table, view, catalog=catalog))),
            mo.ui.table(
                gene_set_table,
                selection=None,
                page_size=10,
                show_column_summaries=False,
                show_data_types=False,
                show_download=False,
                format_mapping={"left q": "{:.2g}", "right q": "{:.2g}"},
                wrapped_columns=["gene set"],
            )
            if gene_set_table.height
            else "",
        ]
    )
    return


@app.cell(hide_code=True)
def downloads(
    catalog,
    comparison,
    distribution,
    found_yardsticks,
    gene_set_table,
    judged,
    ladder,
    pair,
    strip,
    table,
    titles,
    view,
):
    # Each figure is drawn when it is asked for.
    _figures = {
        "maps": lambda: charts.static_pair(
            side_by_side.figure_frame(view, pair, comparison, table=table),
            titles=titles,
            captions=tuple(layout.caption for layout in pair.layouts),
        ),
        "neighbourhoods": lambda: ladder,
        "agreement": lambda: strip,
    }
    _pictures = [
        mo.download(
            lambda draw=draw, file_format=file_format: charts.figure_bytes(
                draw(), file_format, heading=wording.figure_heading(view, pair, catalog=catalog)
            ),
            filename=f"{wording.file_stem(view)}-{name}.{file_format}",
            label=f"{name} as {file_format.upper()}",
        )
        for name, draw in _figures.items()
        for file_format in ("svg", "png")
    ]
    _page = mo.download(
        lambda: portable_view.explore_page(
            catalog,
            view,
            pair,
            comparison=comparison,
            table=table,
            gene_sets=gene_set_table,
            activity=judged,
            distribution=distribution,
            yardsticks=found_yardsticks,
        ).encode(),
        filename=f"{wording.file_stem(view)}.html",
        mimetype="text/html",
        label="this page as one HTML file: opens offline, interactive",
    )
    mo.hstack([_page, *_pictures], justify="start", wrap=True)
    return


@app.cell(hide_code=True)
def about(catalog, pair, view):
    mo.accordion(
        {
            "About this dataset, and the two recipes": mo.md(
                "\n\n".join(
                    fill("**{heading}.** {text}", heading=heading, text=text)
                    for heading, text in wording.about_rows(catalog, view, pair)
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
    the link asks for (*start*), the controls (*choices*), their answer (*asked*, *answered*), its sentences, and last the
    maps (*paint*) and what takes longer (*details_begun*, *umap_begun*). The cells above only show what these make.</small>
    """) if mo.app_meta().mode == "edit" else None
    return


@app.cell
def source():
    # `marimo run apps/explore.py -- --data PATH` shows a dataset folder, a catalog of them, or one file.
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
    linked_view, problems = views.read_view(mo.query_params().to_dict(), catalog)
    return linked_view, problems


@app.cell
def dataset_choice(catalog, linked_view):
    dataset_control = mo.ui.dropdown(catalog.names, value=linked_view.dataset, label="Dataset")
    return (dataset_control,)


@app.cell
def first_view(catalog, dataset_control, linked_view):
    first = views.first_view(dataset_control.value, linked_view, catalog)
    return (first,)


@app.cell
def choices(catalog, first):
    context_control = mo.ui.dropdown(catalog.dataset(first.dataset).contexts, value=first.context, label="Context")
    align_control = mo.ui.dropdown(views.METHODS, value=first.align, label="Alignment")
    k_control = mo.ui.slider(1, views.MOST_NEIGHBORS, value=first.k, debounce=True, show_value=True, label="Neighbours")
    direction_control = mo.ui.dropdown(views.DIRECTIONS, value=first.direction, label="Show the most")
    among_control = mo.ui.dropdown(
        views.AMONG_OPTIONS, value=side_by_side.option_of(views.AMONG_OPTIONS, first.among), label="Among"
    )
    list_control = mo.ui.text_area(
        value=" ".join(first.highlights),
        placeholder="your own list, highlighted in both maps: paste names here",
        rows=2,
        full_width=True,
    )
    get_sides, set_sides = mo.state((first.left, first.right))
    get_query, set_query = mo.state(first.query)
    return (
        align_control,
        among_control,
        context_control,
        direction_control,
        get_query,
        get_sides,
        k_control,
        list_control,
        set_query,
        set_sides,
    )


@app.cell
def sides(catalog, first, get_sides):
    _options = side_by_side.representation_options(catalog, first.dataset)
    _left, _right = (side_by_side.option_of(_options, name) for name in get_sides())
    left_control = mo.ui.dropdown(_options, value=_left, label="Left")
    right_control = mo.ui.dropdown(_options, value=_right, label="Right")
    return left_control, right_control


@app.cell
def swap(left_control, right_control, set_sides):
    swap_button = mo.ui.button(label="⇄ swap", on_click=lambda _: set_sides((right_control.value, left_control.value)))
    return (swap_button,)


@app.cell
def umap_choice():
    umap_button = mo.ui.run_button(
        label="Make UMAP pictures", tooltip="Takes seconds to minutes, beside the page; kept for the next time"
    )
    get_pictures, set_pictures = mo.state("")
    wished = side_work.Wished()
    return get_pictures, set_pictures, umap_button, wished


@app.cell
def again_choice():
    again_button = mo.ui.run_button(label="Begin again")
    return (again_button,)


@app.cell
def asked(
    again_button,
    align_control,
    among_control,
    catalog,
    context_control,
    direction_control,
    first,
    get_query,
    k_control,
    left_control,
    list_control,
    right_control,
):
    again_button.value
    # A browser can send any value, so each is checked again against what exists.
    asked_view, _problem = views.attempt(
        lambda: views.checked_view(
            catalog,
            dataset=first.dataset,
            context=context_control.value,
            query=get_query(),
            left=left_control.value,
            right=right_control.value,
            align=align_control.value,
            k=k_control.value,
            direction=direction_control.value,
            among=among_control.value,
            highlights=views.read_names(list_control.value),
        )
    )
    # Finished already where the maps stand ready, as they do after a click.
    map_work = side_work.start_maps(catalog, asked_view) if asked_view else side_work.refused(_problem)
    map_cancel = mo.ui.button(label="Cancel", on_click=lambda _: map_work.cancel())
    map_ticker = mo.ui.refresh(default_interval=1)
    return asked_view, map_cancel, map_ticker, map_work


@app.cell
def answered(found_answer):
    mo.stop(found_answer is None)
    view, pair, comparison = found_answer.view, found_answer.pair, found_answer.comparison
    query_problem = found_answer.notice
    return comparison, pair, query_problem, view


@app.cell
def details_begun(catalog, painted, pair, view):
    painted
    detail_work = side_work.start_details(catalog, view, pair)
    detail_cancel = mo.ui.button(label="Cancel", on_click=lambda _: detail_work.cancel())
    detail_ticker = mo.ui.refresh(default_interval=1)
    return detail_cancel, detail_ticker, detail_work


@app.cell
def umap_begun(catalog, painted, umap_button, view, wished):
    painted
    umap_work = side_work.umaps_of(catalog, view, wished, begin=bool(umap_button.value))
    umap_cancel = mo.ui.button(label="Cancel", on_click=lambda _: umap_work.cancel())
    umap_ticker = mo.ui.refresh(default_interval=1)
    return umap_cancel, umap_ticker, umap_work


@app.cell
def tabulated(catalog, comparison, details_made, view):
    details_made
    table = side_by_side.table_of(catalog, view, comparison)
    gene_set_table = side_by_side.shared_gene_sets(catalog, view, comparison)
    return gene_set_table, table


@app.cell
def judged_sides(catalog, view):
    judged = side_activity.activity_of(catalog, view)
    active_sentence = wording.activity_sentence(view.query, judged)
    positions = wording.position_sentences(judged)
    return active_sentence, judged, positions


@app.cell
def sentences(catalog, comparison, linked_view, pair, view):
    agree_sentence, known_sentence = wording.answer_sentences(catalog, view, comparison)
    only_sentence = wording.difference_sentence(comparison, view)
    context_sentence = wording.context_sentence(catalog, view)
    cautions = cautions_about(catalog.dataset(view.dataset).card.cautions, view.query, comparison.sides)
    titles = wording.panel_titles(catalog, view)
    recipes = views.recipes_of(pair.left, pair.right)
    link_warning = views.recipe_warning(linked_view, view, recipes=recipes)
    link_notice = views.link_notice(view)
    highlighted, list_notice = views.found_in_map(view.highlights, pair.left)
    return (
        agree_sentence,
        cautions,
        context_sentence,
        highlighted,
        known_sentence,
        link_notice,
        link_warning,
        list_notice,
        only_sentence,
        recipes,
        titles,
    )


@app.cell
def linked_maps():
    # Built once, so that camera and selection survive every change of the controls.
    widget = panels.LinkedMaps(height=380)
    widget_end = leaving.ClosedWithPage(widget)
    return widget, widget_end


@app.cell
def follow_clicks(set_query, widget):
    widget.on_query(set_query)
    return


@app.cell
def cleared(view_problem, widget):
    # The marks of another view must not stand below an error.
    widget.clear() if view_problem else None
    return


@app.cell
def place_points(pair, widget):
    widget.show(pair.names, *(layout.coordinates for layout in pair.layouts))
    return


@app.cell
def paint(catalog, comparison, highlighted, pair, titles, view, widget):
    widget.set_titles(*titles)
    widget.set_categories(charts.side_codes(pair.names, comparison.sides), charts.side_palette(), charts.side_labels())
    widget.set_marks(**side_by_side.marks_of(catalog, view, pair, comparison=comparison, highlighted=highlighted))
    # Cells that take longer name this, so that the maps are repainted before they begin.
    painted = True
    return (painted,)


@app.cell
def among_all(catalog, details_made, pair, view):
    details_made
    distribution = side_by_side.distribution_of(view, pair)
    found_yardsticks = side_by_side.yardsticks(catalog, view, pair)
    return distribution, found_yardsticks


@app.cell
def remember(recipes, view):
    # The whole view is in the address, so a link reopens exactly what was seen.
    for _name, _value in views.link_parameters(view, recipes=recipes).items():
        mo.query_params().set(_name, _value)
    return


if __name__ == "__main__":
    app.run()
