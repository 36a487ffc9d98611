"""What the published packages do in each benchmark, by their own functions; runs in their own environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from data import CONTROL, SOURCE, read_groups, read_profiles, read_replicates, read_rows
from worker import Action, Prepared, run_child

Size = Mapping[str, int]
# Of the plain loop that p are compared with.
_PERMUTATIONS = 300
LABELS = {"pert_col": "perturbation", "control_key": CONTROL}


def _rows(folder: Path, size: Size) -> tuple[Any, Any]:
    import pandas as pd

    values, perturbation, batch = read_rows(folder, size["rows"])
    return values, pd.DataFrame({"perturbation": perturbation.astype(object), "batch": batch.astype(object)})


def aggregate_efaar(folder: Path, size: Size) -> Prepared:
    """EFAAR: centre-scale on the controls of each batch, and the mean of each perturbation."""
    from efaar_benchmarking.efaar import aggregate, centerscale_on_controls

    values, table = _rows(folder, size)

    def run() -> Any:
        aligned = centerscale_on_controls(values, table, batch_col="batch", **LABELS)
        return aggregate(aligned, table, pert_col="perturbation", keys_to_remove=[CONTROL])

    return run, lambda found: {
        "profiles": found.features.to_numpy(),
        "names": found.metadata["perturbation"].to_numpy().astype(str),
    }


def aggregate_scanpy(folder: Path, size: Size) -> Prepared:
    """The mean of each perturbation by scanpy, without any alignment."""
    import anndata
    import scanpy

    values, table = _rows(folder, size)
    table.index = table.index.astype(str)
    rows = anndata.AnnData(values, obs=table.astype("category"))

    def answers(found: Any) -> dict[str, Any]:
        kept = np.asarray(found.obs_names) != CONTROL
        return {"plain": np.asarray(found.layers["mean"])[kept]}

    return lambda: scanpy.get.aggregate(rows, by="perturbation", func="mean"), answers


def aggregate_polars(folder: Path, size: Size) -> Prepared:
    """The mean of each perturbation by polars, without any alignment."""
    import polars as pl

    values, table = _rows(folder, size)
    frame = pl.DataFrame(values).insert_column(
        0, pl.Series("perturbation", table["perturbation"], dtype=pl.Categorical)
    )

    def answers(found: Any) -> dict[str, Any]:
        kept = found.with_columns(pl.col("perturbation").cast(pl.String)).filter(pl.col("perturbation") != CONTROL)
        return {"plain": kept.sort("perturbation").drop("perturbation").to_numpy()}

    return lambda: frame.group_by("perturbation").mean(), answers


def aggregate_pandas(folder: Path, size: Size) -> Prepared:
    """The mean of each perturbation by pandas, without any alignment."""
    import pandas as pd

    values, table = _rows(folder, size)
    frame, labels = pd.DataFrame(values, copy=False), table["perturbation"].astype("category")
    return (
        lambda: frame.groupby(labels, observed=True).mean(),
        lambda found: {"plain": found.drop(index=CONTROL).sort_index().to_numpy()},
    )


def stream_anndata(folder: Path, size: Size) -> Prepared:
    """The mean of each perturbation from a backed AnnData, a chunk at a time, without any alignment."""
    import anndata
    from scipy import sparse

    def run() -> Any:
        backed = anndata.read_h5ad(folder / "rows.h5ad", backed="r")
        column = backed.obs["perturbation"].astype("category")
        codes, names = column.cat.codes.to_numpy(), column.cat.categories.to_numpy()
        sums = np.zeros((len(names), backed.n_vars))
        for chunk, start, stop in backed.chunked_X(50_000):
            picks = sparse.csr_matrix(
                (np.ones(stop - start, dtype=np.float32), (codes[start:stop], np.arange(stop - start))),
                shape=(len(names), stop - start),
            )
            sums += picks @ chunk
        backed.file.close()
        return names, sums / np.bincount(codes, minlength=len(names))[:, None]

    return run, lambda found: {"plain": found[1][found[0] != CONTROL]}


def tvn_efaar(folder: Path, size: Size) -> Prepared:
    """EFAAR: TVN with CORAL, and the mean of each perturbation."""
    from efaar_benchmarking.efaar import aggregate, centerscale_on_controls, tvn_on_controls

    values, table = _rows(folder, size)

    def run(rows: Any = values) -> Any:
        aligned = tvn_on_controls(rows, table, batch_col="batch", **LABELS)
        return aggregate(aligned, table, pert_col="perturbation", keys_to_remove=[CONTROL]).features.to_numpy()

    def answers(_: Any) -> dict[str, Any]:
        # Its own functions, with the scaling of each batch first that ours begins with: its global scaling, which
        # follows, then finds nothing left to do.
        return {"profiles": run(centerscale_on_controls(values, table, batch_col="batch", **LABELS))}

    return run, answers


def knn_sklearn(folder: Path, size: Size) -> Prepared:
    """Brute-force cosine neighbours by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=size["k"], metric="cosine", algorithm="brute", n_jobs=-1)
    search.fit(read_profiles(folder, size["rows"]))
    return search.kneighbors, lambda found: {"rows": found[1], "similarities": 1 - found[0]}


def query_sklearn(folder: Path, size: Size) -> Prepared:
    """One brute-force cosine query by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    profiles = read_profiles(folder, size["rows"])
    search = NearestNeighbors(n_neighbors=size["k"] + 1, metric="cosine", algorithm="brute", n_jobs=-1).fit(profiles)
    return lambda: search.kneighbors(profiles[7:8]), lambda found: {"similarities": 1 - found[0][0, 1:]}


def query_efaar(folder: Path, size: Size) -> Prepared:
    """As EFAAR looks neighbours up: all n × n cosines, then one line of them."""
    from sklearn.metrics.pairwise import cosine_similarity

    profiles = read_profiles(folder, size["rows"])

    def run() -> Any:
        return np.sort(np.delete(cosine_similarity(profiles, profiles)[7], 7))[::-1][: size["k"]]

    return run, lambda found: {"similarities": found}


def consistency_efaar(folder: Path, size: Size) -> Prepared:
    """EFAAR: perturbation signal consistency, in one process."""
    import pandas as pd
    from efaar_benchmarking.benchmarking import pert_signal_consistency_benchmark

    values, owner = read_replicates(folder, size)
    names = np.array([f"P{number:06d}" for number in range(size["perturbations"])], dtype=object)
    table = pd.DataFrame({"perturbation": names[owner]})
    silent = names[: size["perturbations"] // 10].tolist()

    def run() -> Any:
        return pert_signal_consistency_benchmark(
            values, table, pert_col="perturbation", neg_ctrl_perts=silent, n_jobs=1
        )

    def answers(found: Any) -> dict[str, Any]:
        found = found.sort_values("pert")
        return {"consistency": found["avgcossim"].to_numpy(), "p": found["pval"].to_numpy()}

    return run, answers


def replicate_map_copairs(folder: Path, size: Size) -> Prepared:
    """copairs: average precision of each replicate."""
    import pandas as pd
    from copairs.map import average_precision

    values, owner = read_replicates(folder, size)
    table = pd.DataFrame({"perturbation": owner})

    def run() -> Any:
        return average_precision(
            table,
            values,
            pos_sameby=["perturbation"],
            pos_diffby=[],
            neg_sameby=[],
            neg_diffby=["perturbation"],
            progress_bar=False,
        )

    return run, lambda found: {"average_precision": found["average_precision"].to_numpy()}


def _cells(folder: Path, size: Size) -> Any:
    import anndata
    import pandas as pd

    controls, groups = read_groups(folder, size)
    # In the order of their names: pertpy 1.0.3 gives a p to another group where groups first appear in another.
    labels = [f"P{number:06d}" for number, group in enumerate(groups) for _ in range(len(group))]
    labels += [CONTROL] * len(controls)
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[str(row) for row in range(len(labels))])
    return anndata.AnnData(obs=obs, obsm={"X_pca": np.concatenate([*groups, controls])})


def energy_pertpy(folder: Path, size: Size) -> Prepared:
    """pertpy: energy distance of every group from the controls."""
    import pertpy

    controls, groups = read_groups(folder, size)
    distance, mean = (pertpy.tl.Distance(metric, obsm_key="X_pca") for metric in ("edistance", "mean_pairwise"))

    def answers(found: Any) -> dict[str, Any]:
        # pertpy's is the V-statistic: the mean distance within a group counts the zeros from a row to itself.
        # From its own mean pairwise distances, without them:
        def within(rows: Any) -> float:
            return float(mean(rows, rows)) * len(rows) / (len(rows) - 1)

        unbiased = [2 * float(mean(group, controls)) - within(group) - within(controls) for group in groups]
        return {"v_statistic": found, "distance": unbiased}

    return lambda: [distance(group, controls) for group in groups], answers


def energy_permuted_pertpy(folder: Path, size: Size) -> Prepared:
    """pertpy: E-test of every group against the controls."""
    import pertpy

    cells = _cells(folder, size)
    test = pertpy.tl.DistanceTest("edistance", n_perms=size["permutations"], obsm_key="X_pca")
    controls, groups = read_groups(folder, size)

    def answers(found: Any) -> dict[str, Any]:
        v_statistic = found.drop(index=CONTROL).sort_index()["pvalue"].to_numpy()
        return {"p_of_v_statistic": v_statistic, "p": [_p_of_u(group, controls) for group in groups]}

    return lambda: test(cells, groupby="perturbation", contrast=CONTROL, show_progressbar=False), answers


def _p_of_u(group: Any, controls: Any) -> float:
    """p of the U-statistic in a plain loop; that of the V-statistic, which weights spreads differently, may differ."""
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(np.concatenate([group, controls]))
    inside = np.arange(len(distances)) < len(group)

    def statistic(one: Any) -> float:
        n, m = int(one.sum()), int((~one).sum())
        own, other = distances[one][:, one].sum() / (n * (n - 1)), distances[~one][:, ~one].sum() / (m * (m - 1))
        return float(2 * distances[one][:, ~one].mean() - own - other)

    rng, observed = np.random.default_rng(5), statistic(inside)
    reached = sum(statistic(rng.permutation(inside)) >= observed - 1e-12 for _ in range(_PERMUTATIONS))
    return (1 + reached) / (1 + _PERMUTATIONS)


def known_recall_efaar(folder: Path, size: Size) -> Prepared:
    """EFAAR: read pairs from files and measure how many lie in the tails of all cosines."""
    import pandas as pd
    from efaar_benchmarking.benchmarking import get_benchmark_relationships, known_relationship_benchmark
    from sklearn.utils import Bunch

    profiles = read_profiles(folder, size["rows"])
    names = [f"P{row:06d}" for row in range(len(profiles))]
    sources = [SOURCE.format(source) for source in range(size["sources"])]
    made = Bunch(features=pd.DataFrame(profiles), metadata=pd.DataFrame({"perturbation": names}))

    def run() -> Any:
        return known_relationship_benchmark(
            made,
            "perturbation",
            benchmark_sources=sources,
            recall_thr_pairs=[(0.05, 0.95)],
            benchmark_data_dir=str(folder),
        )

    def answers(found: Any) -> dict[str, Any]:
        pairs = [len(get_benchmark_relationships(str(folder), source)) for source in sources]
        return {"recall": found["recall_0.05_0.95"].to_numpy(), "pairs": pairs}

    return run, answers


def start_scanpy(folder: Path, size: Size) -> Prepared:
    """Start Python and import scanpy and umap."""
    return lambda: run_child("import scanpy, umap"), lambda _: {}


ACTIONS: dict[str, Action] = {
    "aggregate_efaar": aggregate_efaar,
    "aggregate_scanpy": aggregate_scanpy,
    "aggregate_polars": aggregate_polars,
    "aggregate_pandas": aggregate_pandas,
    "stream_anndata": stream_anndata,
    "tvn_efaar": tvn_efaar,
    "knn_sklearn": knn_sklearn,
    "query_sklearn": query_sklearn,
    "query_efaar": query_efaar,
    "consistency_efaar": consistency_efaar,
    "replicate_map_copairs": replicate_map_copairs,
    "energy_pertpy": energy_pertpy,
    "energy_permuted_pertpy": energy_permuted_pertpy,
    "known_recall_efaar": known_recall_efaar,
    "start_scanpy": start_scanpy,
}
