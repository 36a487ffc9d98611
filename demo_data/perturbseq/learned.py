"""The learned representation of the simulated screen: latents of scVI.

Settings are the defaults of scvi-tools but for 20 latents. The number of epochs was fixed before any map was
looked at: on a pilot simulation (design seed 100, shipped nowhere) the held-out loss stopped falling at about
epoch 85 of 240.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from explorer.simulate import SimulatedScreen

N_LATENTS = 20
EPOCHS = 100
HELD_OUT = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Latents of every cell, shape (n_cells, 20), and the loss (negative ELBO) of the held-out cells."""

    latents: npt.NDArray[np.float32]
    held_out: float


def train(simulated: SimulatedScreen, *, seed: int, batch_aware: bool) -> Trained:
    """Train scVI on all cells of one context, on one thread, and return the latents.

    It sees counts and, if `batch_aware`, the batch of each cell; never a perturbation or guide.
    """
    with warnings.catch_warnings():
        # None of these is about the result: a retired name inside lightning, its advice on data loading, and
        # anndata's on how its next version writes zarr.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*num_workers.*")
        warnings.filterwarnings("ignore", message=".*zarr.*")
        warnings.filterwarnings("ignore", message=".*__version__.*deprecated.*")
        import anndata
        import pandas as pd
        import scvi
        import torch

        torch.set_num_threads(1)
        for library in ("lightning.pytorch", "lightning.fabric"):
            # Advice on hardware and services, which scvi-tools switches on when it is imported.
            logging.getLogger(library).setLevel(logging.ERROR)
        scvi.settings.verbosity = logging.ERROR
        scvi.settings.seed = seed
        cells = anndata.AnnData(
            X=simulated.counts.astype(np.float32),
            # Text from the start, so that anndata has no index to convert.
            obs=pd.DataFrame(
                {"batch": pd.Categorical(simulated.cells["batch"].to_list())},
                index=pd.Index(simulated.cells["cell"].to_list(), dtype=object),
            ),
        )
        scvi.model.SCVI.setup_anndata(cells, batch_key="batch" if batch_aware else None)
        model = scvi.model.SCVI(cells, n_latent=N_LATENTS)
        model.train(
            max_epochs=EPOCHS,
            accelerator="cpu",
            train_size=1 - HELD_OUT,
            check_val_every_n_epoch=EPOCHS,
            enable_progress_bar=False,
        )
        held_out = float(model.history["elbo_validation"].iloc[-1, 0])
        return Trained(np.asarray(model.get_latent_representation(), dtype=np.float32), held_out)
