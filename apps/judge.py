import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="explorer: is it worth it?")

with app.setup:
    import marimo as mo

    from explorer import catalog as catalogs
    from explorer import (
        charts,
        digits,
        judge_charts,
        judge_details,
        judge_exports,
        judged,
        landing,
        map_card,
        portable_judge,
        progress,
        wording_checks,
        wording_judge,
        work,
    )
    from explorer import view as views
    from explorer.text import as_sentence, fill


@app.function(hide_code=True)
def small_table(frame, *, formats):
    """Show a table that is read and not worked with."""
    return mo.ui.table(
        frame,
        selection=None,
        page_size=10,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=frame.height > 10,
        # As the sentences beside it write them.
        format_mapping=digits.cells(formats),
    )


@app.cell(hide_code=True)
def title():
    mo.md("""
    ## Is the learned representation worth it, at my budget?
    """)
    return


@app.cell(hide_code=True)
def elsewhere(context_control, first):
    # On a shared server: the way back, and the same data in the other app.
    mo.md(
        " · ".join(
            fill("[{label}]({address})", label=label, address=address)
            for label, address in landing.links_from("judge", dataset=first.dataset, context=str(context_control.value))
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
    budget_control,
    context_control,
    dataset_control,
    judge_button,
    k_control,
    learned_control,
    simple_control,
    sources_control,
):
    mo.vstack(
        [
            mo.hstack(
                [dataset_control, context_control, simple_control, learned_control],
                justify="start",
                align="center",
                gap=1,
                wrap=True,
            ),
            mo.hstack(
                [align_control, sources_control, budget_control, k_control, judge_button],
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
def cannot_judge(view_problem):
    mo.callout(mo.md(fill("{problem}", problem=as_sentence(view_problem))), kind="danger") if view_problem else None
    return


@app.cell(hide_code=True)
def waited(cancel_button, ticker, ticket):
    ticker.value, cancel_button.value
    mo.stop(ticket is None)
    mo.stop(
        not ticket.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(ticket, ticker, cancel_button, heading="Judging"),
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
def verdict(answer, catalog, link_warning, meter):
    _found, _view = answer.judgement, answer.view
    mo.vstack(
        [
            mo.callout(mo.md(fill("{text}", text=as_sentence(link_warning))), kind="warn") if link_warning else "",
            mo.callout(
                mo.md(
                    fill(
                        "# {head}\n\n### {said}\n\n{meaning}",
                        head=wording_judge.head(answer),
                        said=wording_judge.verdict_sentence(_found, _view),
                        meaning=wording_judge.meaning_sentence(_found),
                    )
                ),
                kind=wording_judge.tone(_found),
            ),
            mo.md(
                "\n".join(
                    fill("- **{word}.** {text}", word=word, text=text) for word, text in wording_judge.evidence(_found)
                )
            ),
            mo.md(
                fill(
                    "<small>{meter}<br>{context}</small>",
                    meter=meter,
                    context=wording_judge.context_line(catalog, _view),
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def differences(answer):
    forest_frame = judged.forest_table(answer.judgement)
    forest = judge_charts.forest(forest_frame) if forest_frame.height else None
    mo.vstack(
        [
            mo.md("## Every difference, with its 95 % interval"),
            charts.Displayed(forest),
            mo.md(fill("<small>{text}</small>", text=wording_checks.FOREST_NOTE)),
        ]
    ) if forest is not None else None
    return forest, forest_frame


@app.cell(hide_code=True)
def at_my_budget(answer, budget_cancel, budget_ticker, budget_work, catalog):
    budget_ticker.value, budget_cancel.value
    mo.stop(
        not budget_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(budget_work, budget_ticker, budget_cancel, heading="At my budget"),
    )
    at_budget = budget_work.result
    mo.stop(at_budget is None, progress.problem_of(budget_work))
    mo.vstack(
        [
            mo.md("## At my budget"),
            mo.md("\n".join(fill("- {text}", text=text) for text in wording_checks.budget_sentences(answer.judgement))),
            mo.md(fill("<small>{text}</small>", text=wording_judge.HITS_NOTE)),
            charts.Displayed(
                judge_charts.budget_curve(at_budget.curve, budget=answer.view.budget, names=judged.sides(answer))
            ),
            mo.md(fill("<small>{text}</small>", text=wording_checks.CURVE_NOTE)),
            mo.md("### Pairs on which the two lists disagree"),
            small_table(at_budget.pairs, formats=judge_details.PAIR_FORMATS),
            mo.hstack(
                [
                    mo.download(
                        judge_exports.labelled_csv(at_budget.pairs, answer, catalog=catalog).encode(),
                        filename=f"{judged.file_stem(answer.view)}-disagreement.csv",
                        mimetype="text/csv",
                        label="these pairs as CSV, with the recipes in it",
                    )
                ],
                justify="start",
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def attribution(answer, grid_button, grid_cancel, grid_ticker, grid_work):
    grid_ticker.value, grid_cancel.value
    mo.stop(
        grid_work is None,
        mo.vstack(
            [
                mo.md("## What learning adds, and what alignment adds"),
                mo.md(fill("{text}", text=wording_checks.GRID_OFFER)),
                grid_button,
            ]
        ),
    )
    mo.stop(
        not grid_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(
            grid_work, grid_ticker, grid_cancel, heading="What learning adds, and what alignment adds"
        ),
    )
    mo.stop(grid_work.result is None, mo.vstack([progress.problem_of(grid_work), grid_button]))
    mo.vstack(
        [
            mo.md("## What learning adds, and what alignment adds"),
            charts.Displayed(
                judge_charts.grid_heat(grid_work.result, marked=judged.sides(answer), alignment=answer.view.align)
            ),
            mo.md(fill("<small>{text}</small>", text=wording_checks.grid_note(grid_work.result, answer.view))),
        ]
    )
    return


@app.cell(hide_code=True)
def owed_to(answer, check_cancel, check_ticker, check_work):
    check_ticker.value, check_cancel.value
    mo.stop(
        not check_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(check_work, check_ticker, check_cancel, heading="Is it only effect size, or popularity?"),
    )
    checks = check_work.result
    mo.stop(checks is None, progress.problem_of(check_work))
    _names, _replicates = judged.sides(answer), judge_details.replicate_table(checks)
    mo.vstack(
        [
            mo.md("## Is it only effect size, or popularity?"),
            mo.md(fill("{text}", text=wording_checks.MATCHED_NOTE)),
            charts.Displayed(judge_charts.matched_recall(judged.source_table(answer.judgement), names=_names)),
            mo.md("### Within strata"),
            mo.md(fill("{text}", text=wording_checks.strata_sentence(checks, answer.judgement))),
            charts.Displayed(judge_charts.strata_chart(checks.strata, names=_names))
            if checks.strata is not None
            else "",
            mo.md("### Does similarity say how likely a pair is to be known?"),
            mo.md(fill("{text}", text=wording_checks.reliability_sentence(checks, answer.judgement))),
            charts.Displayed(judge_charts.reliability_chart(judge_details.reliability_frame(checks), names=_names)),
            mo.md("### Do replicates repeat better?"),
            mo.md(fill("{text}", text=wording_checks.replicates_sentence(checks))),
            small_table(_replicates, formats=judge_details.REPLICATE_FORMATS) if _replicates.height else "",
            mo.md(fill("{text}", text=wording_checks.exchange_sentence(checks))),
            mo.md("### What noise allows"),
            mo.md(
                "\n".join(
                    fill("- {text}", text=text) for text in wording_checks.noise_sentences(checks, answer.judgement)
                )
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def groups(answer):
    mo.vstack(
        [
            mo.md("## Which groups gain, and which lose"),
            mo.md(fill("{text}", text=wording_checks.groups_sentence(answer.judgement))),
            small_table(judged.group_table(answer.judgement), formats=judged.GROUP_FORMATS),
        ]
    ) if answer.judgement.units.height else None
    return


@app.cell(hide_code=True)
def change(answer):
    _plan = judged.plan_table(answer.judgement)
    mo.vstack(
        [
            mo.md("## What would change the verdict"),
            mo.md(fill("{text}", text=wording_judge.change_sentence(answer.judgement))),
            small_table(_plan, formats=judged.PLAN_FORMATS) if _plan.height else "",
            mo.md(fill("<small>{text}</small>", text=wording_checks.PLAN_NOTE)) if _plan.height else "",
        ]
    )
    return


@app.cell(hide_code=True)
def before_the_screen(power_button, power_controls):
    mo.vstack(
        [
            mo.md("## Before a screen: could a judge tell?"),
            mo.md(fill("{text}", text=wording_checks.POWER_NOTE)),
            mo.hstack(
                [*power_controls.elements.values(), power_button], justify="start", align="center", gap=1, wrap=True
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def power_found(power_cancel, power_problem, power_ticker, power_work):
    power_ticker.value, power_cancel.value
    mo.stop(bool(power_problem), mo.callout(mo.md(fill("{problem}", problem=as_sentence(power_problem))), kind="warn"))
    mo.stop(power_work is None)
    mo.stop(
        not power_work.wait_at_first(work.patience(mo.app_meta().mode)),
        progress.progress_of(power_work, power_ticker, power_cancel, heading="Simulating"),
    )
    mo.stop(power_work.result is None, progress.problem_of(power_work))
    mo.md(fill("**{text}**", text=wording_checks.power_sentence(power_work.result)))
    return


@app.cell(hide_code=True)
def downloads(answer, catalog, meter):
    # Each is made when it is asked for, of what there is by then.
    _stem = judged.file_stem(answer.view)
    mo.vstack(
        [
            mo.md("## Take it away"),
            mo.hstack(
                [
                    mo.download(
                        lambda: portable_judge.judge_page(catalog, answer, meter=meter).encode(),
                        filename=f"{_stem}.html",
                        mimetype="text/html",
                        label="this page as one HTML file: opens offline, interactive",
                    ),
                    mo.download(
                        lambda: map_card.map_card(catalog, answer).encode(),
                        filename=f"{_stem}-map-card.html",
                        mimetype="text/html",
                        label="map card: one page, works offline",
                    ),
                    mo.download(
                        lambda: judge_exports.written_json(catalog, answer).encode(),
                        filename=f"{_stem}.json",
                        mimetype="application/json",
                        label="the judgement as JSON",
                    ),
                    mo.download(
                        lambda: judge_exports.tables_zip(catalog, answer),
                        filename=f"{_stem}-tables.zip",
                        mimetype="application/zip",
                        label="all tables as CSV (zip)",
                    ),
                    mo.download(
                        lambda: judge_exports.figures_zip(catalog, answer),
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
            "About this dataset, what is known of it, and the two recipes": mo.md(
                "\n\n".join(
                    fill("**{heading}.** {text}", heading=heading, text=text)
                    for heading, text in wording_judge.about_rows(catalog, answer)
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
    the link asks for (*start*), the controls (*choices*), the work (*asked*) and what is begun after it.</small>
    """) if mo.app_meta().mode == "edit" else None
    return


@app.cell
def source():
    # `marimo run apps/judge.py -- --data PATH` shows a dataset folder, a catalog of them, or one file.
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
    linked_view, problems = judged.read_judge_view(mo.query_params().to_dict(), catalog)
    # What this session has looked at.
    looked = judged.Looked()
    return linked_view, looked, problems


@app.cell
def dataset_choice(catalog, linked_view):
    dataset_control = mo.ui.dropdown(catalog.names, value=linked_view.dataset, label="Dataset")
    return (dataset_control,)


@app.cell
def first_view(catalog, dataset_control, linked_view):
    first = judged.first_judge_view(dataset_control.value, linked_view, catalog)
    return (first,)


@app.cell
def choices(catalog, first):
    _dataset = catalog.dataset(first.dataset)
    context_control = mo.ui.dropdown(_dataset.contexts, value=first.context, label="Context")
    simple_control = mo.ui.dropdown(judged.simple_names(_dataset), value=first.simple, label="Simple")
    learned_control = mo.ui.dropdown(judged.learned_names(_dataset), value=first.learned, label="Learned")
    align_control = mo.ui.dropdown(views.METHODS, value=first.align, label="Alignment")
    sources_control = mo.ui.multiselect(judged.source_names(_dataset), value=first.sources, label="Known from")
    budget_control = mo.ui.slider(
        steps=judged.budget_steps(first.budget),
        value=first.budget,
        debounce=True,
        show_value=True,
        label="Pairs to test (budget)",
    )
    k_control = mo.ui.dropdown(judged.neighbor_steps(first.k), value=str(first.k), label="Neighbours (k)")
    judge_button = mo.ui.run_button(label="Judge", tooltip="Runs by itself; here to begin again after Cancel")
    return (
        align_control,
        budget_control,
        context_control,
        judge_button,
        k_control,
        learned_control,
        simple_control,
        sources_control,
    )


@app.cell
def asked(
    align_control,
    budget_control,
    catalog,
    context_control,
    first,
    judge_button,
    k_control,
    learned_control,
    simple_control,
    sources_control,
):
    judge_button.value
    # A browser can send any value, so each is checked again against what exists.
    ticket, view_problem = views.attempt(
        lambda: judged.start_judging(
            catalog,
            judged.checked_judge_view(
                catalog,
                dataset=first.dataset,
                context=context_control.value,
                simple=simple_control.value,
                learned=learned_control.value,
                align=align_control.value,
                sources=sources_control.value,
                k=k_control.value,
                budget=budget_control.value,
            ),
        )
    )
    cancel_button = mo.ui.button(label="Cancel", on_click=lambda _: ticket.cancel())
    ticker = mo.ui.refresh(default_interval=1)
    return cancel_button, ticker, ticket, view_problem


@app.cell
def counted(answer, linked_view, looked):
    meter = wording_judge.meter_sentence(answer, looked, n_looked=looked.add(answer))
    link_warning = judged.judge_link_warning(linked_view, answer)
    return link_warning, meter


@app.cell
def budget_begun(answer, catalog):
    mo.stop(answer.judgement.verdict == "locked")
    budget_work = judge_details.start_budget(catalog, answer.view)
    budget_cancel = mo.ui.button(label="Cancel", on_click=lambda _: budget_work.cancel())
    budget_ticker = mo.ui.refresh(default_interval=1)
    return budget_cancel, budget_ticker, budget_work


@app.cell
def checks_begun(answer, catalog):
    mo.stop(answer.judgement.verdict == "locked")
    check_work = judge_details.start_checks(catalog, answer.view)
    check_cancel = mo.ui.button(label="Cancel", on_click=lambda _: check_work.cancel())
    check_ticker = mo.ui.refresh(default_interval=1)
    return check_cancel, check_ticker, check_work


@app.cell
def grid_choice():
    grid_button = mo.ui.run_button(label="Score every representation under every alignment")
    return (grid_button,)


@app.cell
def grid_begun(answer, catalog, grid_button):
    grid_work = judge_details.grid_of(catalog, answer.view, begin=bool(grid_button.value))
    grid_cancel = mo.ui.button(label="Cancel", on_click=lambda _: grid_work.cancel())
    grid_ticker = mo.ui.refresh(default_interval=1)
    return grid_cancel, grid_ticker, grid_work


@app.cell
def planned():
    power_controls = mo.ui.dictionary(
        {
            name: mo.ui.number(*judge_details.POWER_LIMITS[name], step=1, value=value, label=label)
            for name, (label, value) in judge_details.POWER_CONTROLS.items()
        }
    )
    power_button = mo.ui.run_button(label="Simulate")
    return power_button, power_controls


@app.cell
def power_begun(power_button, power_controls):
    # Changing a number alone begins nothing.
    power_work, power_problem = (
        views.attempt(lambda: judge_details.start_power(**power_controls.value)) if power_button.value else (None, "")
    )
    power_cancel = mo.ui.button(label="Cancel", on_click=lambda _: power_work.cancel())
    power_ticker = mo.ui.refresh(default_interval=1)
    return power_cancel, power_problem, power_ticker, power_work


@app.cell
def remember(answer):
    # The whole view is in the address, so a link reopens exactly what was seen.
    for _name, _value in judged.judge_link(answer.view, recipes=judged.recipes_judged(answer.judgement)).items():
        mo.query_params().set(_name, _value)
    return


if __name__ == "__main__":
    app.run()
