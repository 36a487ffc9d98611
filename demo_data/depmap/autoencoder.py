"""The learned representation of the DepMap demo: a denoising autoencoder.

Genes are the samples and cell lines the features. Settings are chosen on held-out cell lines
only: a gene's neighbours, found on the training lines, should still be similar to it on lines
the model never saw. Known relationships are never read here.

``make.py`` calls `choose` and `train`; nothing in this file touches disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Matrix = npt.NDArray[np.float32]

N_LATENTS = 32
N_NEIGHBORS = 10
BATCH = 256
# Epochs at which the held-out score is read, so one run gives the whole curve.
CHECKPOINTS = (10, 20, 40, 80, 160, 320, 480)
N_SPLITS = 3
HELD_OUT = 1 / 3


@dataclass(frozen=True, slots=True)
class Settings:
    """What the grid varies: mask rate, width of the hidden layers, AdamW's two rates."""

    mask: float
    hidden: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2


# A wider first pass, by the same held-out score, also had mask 0.2, width 128 and weight decay 0.3.
GRID = (
    Settings(mask=0.4, hidden=256),
    Settings(mask=0.6, hidden=256),
    Settings(mask=0.8, hidden=256),
    Settings(mask=0.9, hidden=256),
    Settings(mask=0.6, hidden=512),
    Settings(mask=0.8, hidden=512),
)


def double_center(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Subtract each row's mean and then each column's; both are zero afterwards."""
    rows_done = matrix - matrix.mean(axis=1, keepdims=True, dtype=np.float64)
    return rows_done - rows_done.mean(axis=0)


def scale(matrix: npt.NDArray[np.floating]) -> Matrix:
    """Divide by the standard deviation of all entries: one factor, so no profile turns."""
    return (matrix / matrix.std()).astype(np.float32)


def neighbors(profiles: npt.NDArray[np.floating], k: int = N_NEIGHBORS) -> npt.NDArray[np.intp]:
    """Find each row's ``k`` most similar other rows by cosine, shape (n_rows, k)."""
    distance = -cosine(profiles)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argpartition(distance, k, axis=1)[:, :k]
    order = np.argsort(np.take_along_axis(distance, nearest, axis=1), axis=1)
    return np.take_along_axis(nearest, order, axis=1)


def cosine(profiles: npt.NDArray[np.floating]) -> Matrix:
    """Compute the cosine of every pair of rows; a row of zeros has cosine 0 with all."""
    length = np.linalg.norm(profiles, axis=1, keepdims=True)
    unit = (profiles / np.where(length > 0, length, 1)).astype(np.float32)
    return unit @ unit.T


def held_out_score(profiles: npt.NDArray[np.floating], held_out: npt.NDArray[np.floating]) -> float:
    """Average the cosine, over held-out lines, of each gene with its ``N_NEIGHBORS`` neighbours.

    Higher is better; random neighbours score about 0.
    """
    return float(np.take_along_axis(cosine(held_out), neighbors(profiles), axis=1).mean())


def overlap(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> float:
    """Average share of a gene's ``N_NEIGHBORS`` neighbours that two representations have in common."""
    pairs = zip(neighbors(left), neighbors(right), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / N_NEIGHBORS for a, b in pairs]))


def principal_components(centered: npt.NDArray[np.floating], n: int) -> npt.NDArray[np.float64]:
    """Compute PCA scores; each component's largest loading is positive, so signs never flip."""
    left, singular, right = np.linalg.svd(centered.astype(np.float64), full_matrices=False)
    largest = np.abs(right).argmax(axis=1)
    sign = np.sign(right[np.arange(len(right)), largest])
    return (left * singular * sign)[:, :n]


def line_splits(n_lines: int) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Split the lines into training and held-out ones, ``N_SPLITS`` times."""
    n_held_out = round(n_lines * HELD_OUT)
    for split in range(N_SPLITS):
        order = np.random.default_rng(split).permutation(n_lines)
        yield np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def choose(raw: Matrix, complete: npt.NDArray[np.bool_], report: Callable[[str], None] = print) -> dict[str, object]:
    """Choose settings and epochs for one context on held-out cell lines.

    Parameters
    ----------
    raw
        Gene effects, shape (n_genes, n_lines). Training and held-out lines are double-centred
        each on their own, so nothing of the held-out lines reaches the model but through filled gaps.
    complete
        Genes measured in every line, shape (n_genes,). Only they are scored: genes filled in the
        same lines look alike there, seen and held out, for no reason but the filling.
    report
        Where progress goes.

    Returns
    -------
    dict
        ``settings`` and ``epochs`` chosen, the ``grid`` with its mean held-out curves and
        reconstruction errors, and what simple representations score by the same measure
        (PCA with as many components as the training lines allow, at most ``N_LATENTS``).
    """
    splits = [
        (double_center(raw[:, train]), double_center(raw[:, held])[complete])
        for train, held in line_splits(raw.shape[1])
    ]
    components = [principal_components(seen, min(N_LATENTS, seen.shape[1] - 1)) for seen, _ in splits]
    simple = {
        "double-centered": [held_out_score(seen[complete], held) for seen, held in splits],
        f"pca-{N_LATENTS}": [
            held_out_score(scores[complete], held) for scores, (_, held) in zip(components, splits, strict=True)
        ],
    }
    rows = []
    for settings in GRID:
        runs = [
            [(held_out_score(latents[complete], held), error) for _, latents, error in fit(scale(seen), settings, seed)]
            for seed, (seen, held) in enumerate(splits)
        ]
        scores, errors = np.moveaxis(np.array(runs), -1, 0)
        rows.append(
            {
                "settings": asdict(settings),
                "held_out": scores.mean(axis=0).round(4).tolist(),
                "held_out_by_split": scores.round(4).tolist(),
                "error": errors.mean(axis=0).round(4).tolist(),
            }
        )
        report(f"{settings} {rows[-1]['held_out']} {rows[-1]['error']}")
    best = max(rows, key=lambda row: max(row["held_out"]))
    at = int(np.argmax(best["held_out"]))
    return {
        "settings": best["settings"],
        "epochs": CHECKPOINTS[at],
        "held_out": best["held_out"][at],
        "simple_held_out": {name: round(float(np.mean(scores)), 4) for name, scores in simple.items()},
        "simple_held_out_by_split": {name: np.round(scores, 4).tolist() for name, scores in simple.items()},
        "checkpoints": list(CHECKPOINTS),
        "grid": rows,
    }


def train(centered: npt.NDArray[np.floating], settings: Settings, epochs: int, seed: int) -> Matrix:
    """Train on all lines of one context and return the latents, shape (n_genes, N_LATENTS)."""
    *_, (_, latents, _) = fit(scale(centered), settings, seed, (epochs,))
    return latents


def fit(
    profiles: Matrix, settings: Settings, seed: int, checkpoints: tuple[int, ...] = CHECKPOINTS
) -> Iterator[tuple[int, Matrix, float]]:
    """Train once; at each checkpoint yield epoch, latents and error on uncorrupted input.

    Deterministic for one seed on one thread.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = torch.from_numpy(profiles)
    n_genes, n_lines = data.shape
    encoder = nn.Sequential(nn.Linear(n_lines, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, N_LATENTS))
    decoder = nn.Sequential(nn.Linear(N_LATENTS, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, n_lines))
    model = nn.Sequential(encoder, decoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for start, stop in pairwise((0, *checkpoints)):
        model.train()
        for _ in range(start, stop):
            for rows in torch.randperm(n_genes).split(BATCH):
                clean = data[rows]
                # Masked entries are 0, the mean of double-centred data; the rest grows to keep its total.
                kept = torch.rand(clean.shape) >= settings.mask
                loss = nn.functional.mse_loss(model(clean * kept / (1 - settings.mask)), clean)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            latents = encoder(data)
            error = nn.functional.mse_loss(decoder(latents), data)
        yield stop, latents.numpy().copy(), float(error)
