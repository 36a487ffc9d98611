import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="explorer: does it predict?")

with app.setup:
    import marimo as mo

    from explorer import catalog as catalogs
    from explorer import (
        charts,
        digits,
        landing,
        portable_predict,
        predicted,
        prediction_charts,
        prediction_exports,
        progress,
        wording_predict,
        work,
    )
    from explorer import view as views
    from explorer.text import as_sentence, fill


@app.function(hide_code=True)
def small_table(frame, *, formats, **options):
    """Show a table; what may be selected in it, and what follows then, is for the options to say."""
    return mo.ui.table(
        frame,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=frame.height > 10,
        # As the sentences beside it write them.
        format_mapping=digits.cells(formats),
        **{"selection": None, "page_size": 10, **options},
    )


@app.cell(hide_code=True)
def title():
    mo.md("""
    ## Does it predict a perturbation nobody has made yet, better than a mean?
    """)
    return


@app.cell(hide_code=True)
def elsewhere(context_control, first):
    # On a shared server: the way back, and the same data in the other apps.
    mo.md(
        " · ".join(
            fill("[{label}]({address})", label=label, address=address)
            for label, address in landing.links_from(
                "predict", dataset=first.plan.dataset, context=str(context_control.value)
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
    context_control,
    dataset_control,
    learned_control,
    predict_button,
    simple_control,
    source_control,
    target_control,
    task_control,
):
    # Pairs are predicted from their own singles.
    _from = [] if predicted.is_pairs(task_control.value) else [source_control, simple_control, learned_control]
    mo.vstack(
        [
            mo.hstack(
                [task_control, dataset_control, context_control, target_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack([*_from, align_control, predict_button], justify="start", align="center", gap=1, wrap=True),
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
def cannot_predict(view_problem):
    mo.callout(mo.md(fill("{problem}", problem=as_sentence(view_problem))), kind="danger") if view_problem else None
    return


@app.cell(hide_code=True)
def waited(cancel_button, ticker, ticket):
    ticker.value, cancel_button.value
    mo.stop(ticket is None)
    mo.stop(
        not ticket.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(ticket, ticker, cancel_button, heading="Predicting"),
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
def verdict(answer, catalog, link_warning, tried_sentence):
    mo.vstack(
        [
            mo.callout(mo.md(fill("{text}", text=as_sentence(link_warning))), kind="warn") if link_warning else "",
            mo.callout(
                mo.md(
                    fill(
                        "# {head}\n\n### {said}\n\n{meaning}",
                        head=wording_predict.head(answer),
                        said=wording_predict.verdict_sentence(answer),
                        meaning=wording_predict.meaning_sentence(answer),
                    )
                ),
                kind=wording_predict.tone(answer),
            ),
            mo.md(
                "\n".join(
                    fill("- **{word}.** {text}", word=word, text=text)
                    for word, text in wording_predict.evidence(answer)
                )
            ),
            mo.md(
                fill(
                    "<small>{context}<br>{tried}</small>",
                    context=wording_predict.context_line(catalog, answer),
                    tried=tried_sentence,
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def differences(answer):
    forest_frame = predicted.forest_table(answer.prediction)
    forest = prediction_charts.differences(forest_frame) if forest_frame.height else None
    mo.vstack(
        [
            mo.md("## Every difference, with its 95 % interval"),
            charts.Displayed(forest),
            mo.md(fill("<small>{text}</small>", text=wording_predict.FOREST_NOTE)),
        ]
    ) if forest is not None else None
    return forest, forest_frame


@app.cell(hide_code=True)
def predictors(answer):
    _prediction = answer.prediction
    mo.vstack(
        [
            mo.md("## Every predictor"),
            charts.Displayed(prediction_charts.score_bars(_prediction.scores, ceiling=_prediction.ceiling)),
            small_table(predicted.score_table(_prediction), formats=predicted.SCORE_FORMATS, page_size=25),
            mo.md(fill("<small>{text}</small>", text=wording_predict.SCORE_NOTE)),
        ]
    ) if _prediction.scores.height else None
    return


@app.cell(hide_code=True)
def one_perturbation(answer, perturbation, perturbation_control, perturbation_notice):
    mo.stop(not perturbation)
    _frame = predicted.feature_table(answer.prediction, perturbation)
    scatter = prediction_charts.profile_scatter(
        _frame,
        names={"simple": answer.prediction.simple, "learned": answer.prediction.learned},
        scores=predicted.scores_of(answer.prediction, perturbation),
    )
    mo.vstack(
        [
            mo.md("## Predicted against measured, one perturbation"),
            perturbation_control,
            mo.callout(mo.md(fill("{text}", text=as_sentence(perturbation_notice))), kind="warn")
            if perturbation_notice
            else "",
            mo.md(fill("{text}", text=wording_predict.perturbation_sentence(answer, perturbation))),
            charts.Displayed(scatter),
            mo.md(fill("<small>{text}</small>", text=wording_predict.scatter_note(answer.prediction))),
        ]
    )
    return (scatter,)


@app.cell(hide_code=True)
def best_and_worst(answer, best_list, worst_list):
    mo.vstack(
        [
            mo.md("## Predicted best, and worst"),
            mo.md(fill("{text}", text=wording_predict.lists_sentence(answer.prediction))),
            mo.md("### Best"),
            best_list,
            mo.md("### Worst"),
            worst_list,
            mo.md(fill("<small>{text}</small>", text=wording_predict.LIST_NOTE)),
            mo.hstack(
                [
                    mo.download(
                        lambda: prediction_exports.labelled_csv(
                            predicted.perturbation_table(answer.prediction), answer
                        ).encode(),
                        filename=f"{predicted.file_stem(answer.plan)}-perturbations.csv",
                        mimetype="text/csv",
                        label="all perturbations as CSV, with the recipes and conditions in it",
                    )
                ],
                justify="start",
            ),
        ]
    ) if answer.prediction.perturbations.height else None
    return


@app.cell(hide_code=True)
def conditions(answer):
    _warnings = wording_predict.condition_warnings(answer)
    mo.vstack(
        [
            mo.md("## What it hangs on"),
            mo.md(
                "\n".join(
                    fill("- **{heading}.** {text}", heading=heading, text=text)
                    for heading, text in wording_predict.conditions(answer)
                )
            ),
            mo.callout(mo.vstack([mo.md(fill("{text}", text=as_sentence(text))) for text in _warnings]), kind="warn")
            if _warnings
            else "",
        ]
    )
    return


@app.cell(hide_code=True)
def downloads(answer, catalog, perturbation):
    # Each is made when it is asked for.
    _stem = predicted.file_stem(answer.plan)
    mo.vstack(
        [
            mo.md("## Take it away"),
            mo.hstack(
                [
                    mo.download(
                        lambda: portable_predict.predict_page(catalog, answer, perturbation=perturbation).encode(),
                        filename=f"{_stem}.html",
                        mimetype="text/html",
                        label="this page as one HTML file: opens offline, interactive",
                    ),
                    mo.download(
                        lambda: predicted.written_json(answer).encode(),
                        filename=f"{_stem}.json",
                        mimetype="application/json",
                        label="the prediction as JSON",
                    ),
                    mo.download(
                        lambda: prediction_exports.tables_zip(answer, perturbation=perturbation),
                        filename=f"{_stem}-tables.zip",
                        mimetype="application/zip",
                        label="all tables as CSV (zip)",
                    ),
                    mo.download(
                        lambda: prediction_exports.figures_zip(answer, perturbation=perturbation),
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
            "About this dataset, the known groups, and the recipes": mo.md(
                "\n\n".join(
                    fill("**{heading}.** {text}", heading=heading, text=text)
                    for heading, text in wording_predict.about_rows(catalog, answer)
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
    the link asks for (*start*), the controls (*choices*, *source_choice*, *side_choice*), the work (*asked*) and the perturbation that is
    drawn (*chosen*).</small>
    """) if mo.app_meta().mode == "edit" else None
    return


@app.cell
def source():
    # `marimo run apps/predict.py -- --data PATH` shows a dataset folder, a catalog of them, or one file.
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
    linked_view, problems = predicted.read_predict_view(mo.query_params().to_dict(), catalog)
    get_wished, set_wished = mo.state(linked_view.perturbation)
    # What this session has looked at.
    tried = predicted.Tried()
    return get_wished, linked_view, problems, set_wished, tried


@app.cell
def dataset_choice(catalog, linked_view):
    dataset_control = mo.ui.dropdown(catalog.names, value=linked_view.plan.dataset, label="Dataset")
    return (dataset_control,)


@app.cell
def first_view(catalog, dataset_control, linked_view):
    first = predicted.first_predict_view(dataset_control.value, linked_view, catalog)
    return (first,)


@app.cell
def choices(catalog, first):
    _plan = first.plan
    _dataset = catalog.dataset(_plan.dataset)
    task_control = mo.ui.dropdown(predicted.TASKS, value=predicted.option_of_task(_plan.task), label="Predict")
    context_control = mo.ui.dropdown(_dataset.contexts, value=_plan.context, label="Target context")
    target_control = mo.ui.dropdown(
        predicted.target_options(catalog, _plan), value=_plan.target or None, label="Target features"
    )
    align_control = mo.ui.dropdown(views.METHODS, value=_plan.align, label="Alignment")
    predict_button = mo.ui.run_button(label="Predict", tooltip="Runs by itself; here to begin again after Cancel")
    kept = predicted.Kept()
    return align_control, context_control, kept, predict_button, target_control, task_control


@app.cell
def source_choice(catalog, context_control, first, kept):
    source_control = mo.ui.dropdown(
        predicted.source_options(catalog, first.plan.dataset),
        value=predicted.first_source(catalog, first.plan, context_control.value, kept=kept),
        label="Source context",
        on_change=kept.keeper("source"),
    )
    return (source_control,)


@app.cell
def side_choice(catalog, first, kept, source_control):
    # The source may be of another dataset, which has other representations.
    _plan = predicted.first_sides(catalog, first.plan, source_control.value, kept=kept)
    simple_control, learned_control = (
        mo.ui.dropdown(
            predicted.side_options(catalog, _plan, side), value=name, label=label, on_change=kept.keeper(side)
        )
        for side, name, label in (("simple", _plan.simple, "Simple"), ("learned", _plan.learned, "Learned"))
    )
    return learned_control, simple_control


@app.cell
def asked(
    align_control,
    catalog,
    context_control,
    first,
    learned_control,
    predict_button,
    simple_control,
    source_control,
    target_control,
    task_control,
):
    predict_button.value
    # A browser can send any value, so each is checked again against what exists.
    ticket, view_problem = views.attempt(
        lambda: predicted.start_predicting(
            catalog,
            predicted.checked_plan(
                catalog,
                task=task_control.value,
                dataset=first.plan.dataset,
                context=context_control.value,
                target=target_control.value,
                source=source_control.value,
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
def counted(answer, linked_view, tried):
    link_warning = predicted.predict_link_warning(linked_view, answer)
    tried_sentence = wording_predict.tried_sentence(tried.add(answer))
    return link_warning, tried_sentence


@app.cell
def chosen(answer, catalog, get_wished):
    # Empty where nothing was predicted.
    perturbation, perturbation_notice = predicted.chosen_perturbation(catalog, answer, get_wished())
    return perturbation, perturbation_notice


@app.cell
def search(answer, perturbation, set_wished):
    mo.stop(not perturbation)
    perturbation_control = mo.ui.dropdown(
        predicted.perturbation_options(answer.prediction),
        value=perturbation,
        searchable=True,
        allow_select_none=False,
        label="Perturbation",
        on_change=set_wished,
    )
    return (perturbation_control,)


@app.cell
def lists(answer, set_wished):
    _best, _worst = predicted.extreme_tables(answer.prediction)
    best_list, worst_list = (
        small_table(
            frame,
            formats=predicted.LIST_FORMATS,
            selection="single",
            wrapped_columns=["groups"],
            column_widths={name: predicted.LIST_WIDTHS[name] for name in frame.columns},
            # A row that is let go of leaves what is drawn as it is.
            on_change=lambda rows: set_wished(lambda former: predicted.picked_name(rows) or former),
        )
        for frame in (_best, _worst)
    )
    return best_list, worst_list


@app.cell
def remember(answer, perturbation):
    # The whole view is in the address, so a link reopens exactly what was seen.
    for _name, _value in predicted.predict_link(
        answer.plan, perturbation=perturbation, recipes=predicted.recipes_predicted(answer.prediction)
    ).items():
        mo.query_params().set(_name, _value)
    return


if __name__ == "__main__":
    app.run()
