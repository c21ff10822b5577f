"""The server's side: clients' statistics as mixtures of virtual components, and how models are merged by them.

Our reading of the paper's abstract and introduction; sizes and the likelihood are a reconstruction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.engine import federated
from vislab.ops import counter
from vislab.ops.transport import gaussian_distance
from vislab.papers.recognition.fedfusion.card import Config
from vislab.papers.recognition.fedfusion.model import statistics, with_statistics

EPS = 1e-5


@dataclass(frozen=True)
class Mixture:
    """Virtual components of the population's features, and what each client takes of them."""

    share: Float[Tensor, "clients components"]
    """Weights of the components for each client; rows sum to one."""
    mean: Float[Tensor, "components channels"]
    """Mean of each channel in each component."""
    variance: Float[Tensor, "components channels"]
    """Variance of each channel in each component."""


def moments(
    share: Float[Tensor, "*batch components"], mixture_mean: Tensor, mixture_variance: Tensor
) -> tuple[Float[Tensor, "*batch channels"], Float[Tensor, "*batch channels"]]:
    """(mean, variance) of mixtures: sum_m pi_m mu_m, and sum_m pi_m (sigma_m^2 + mu_m^2) minus the mean squared."""
    mean = share @ mixture_mean
    return mean, (share @ (mixture_variance + mixture_mean**2) - mean**2).clamp(min=0)


def pooled(
    mean: Float[Tensor, "clients channels"], variance: Float[Tensor, "clients channels"], size: Sequence[float]
) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Total moments of all clients' data by the law of total variance: the spread between clients counts."""
    share = torch.as_tensor(size, dtype=mean.dtype)
    return moments(share / share.sum(), mean, variance)


class FusionVAE(nn.Module):
    """Encodes a client's standardised statistics; decodes weights over `components` whose parameters all clients share."""

    def __init__(self, channels: int, components: int, hidden: int = 128, latent: int = 16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Linear(latent, components)
        self.mean = nn.Parameter(torch.zeros(components, channels))
        self.log_std = nn.Parameter(torch.zeros(components, channels))

    def encode(
        self, x: Float[Tensor, "clients statistics"]
    ) -> tuple[Float[Tensor, "clients latent"], Float[Tensor, "clients latent"]]:
        """Mean and log variance of q(z | s)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def share(self, z: Float[Tensor, "clients latent"]) -> Float[Tensor, "clients components"]:
        """Weights over the components."""
        return self.decoder(z).softmax(dim=1)


@dataclass(frozen=True)
class Scales:
    """Centres and spreads over clients by which statistics are standardised, channel by channel."""

    centre: Float[Tensor, " statistics"]
    spread: Float[Tensor, " statistics"]

    def apply(self, mean: Tensor, variance: Tensor) -> Float[Tensor, "clients statistics"]:
        """[mu, log sigma] standardised."""
        return (torch.cat([mean, 0.5 * (variance + EPS).log()], dim=1) - self.centre) / self.spread

    def undo(self, mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, variance) in the network's units of standardised means and logarithms."""
        values = torch.cat([mean, log_std], dim=1) * self.spread + self.centre
        mean, log_std = values.chunk(2, dim=1)
        return mean, (2 * log_std).exp()


def scales(mean: Float[Tensor, "clients channels"], variance: Float[Tensor, "clients channels"]) -> Scales:
    """Mean and standard deviation over clients of [mu, log sigma]."""
    values = torch.cat([mean, 0.5 * (variance + EPS).log()], dim=1)
    return Scales(values.mean(dim=0), (values.var(dim=0, unbiased=False) + EPS).sqrt())


def spread_out(x: Float[Tensor, "clients statistics"], count: int) -> Int[Tensor, " count"]:
    """Clients to start components from: the one nearest to the middle, then always the one farthest from those chosen."""
    chosen = [int(x.norm(dim=1).argmin())]
    while len(chosen) < count:
        chosen.append(int(torch.cdist(x, x[chosen]).min(dim=1).values.argmax()))
    return torch.tensor(chosen)


def vae_losses(
    vae: FusionVAE,
    mean: Float[Tensor, "clients channels"],
    variance: Float[Tensor, "clients channels"],
    size: Float[Tensor, " clients"],
    noise: Float[Tensor, "clients latent"],
) -> tuple[Tensor, Tensor]:
    """(reconstruction, divergence), means over clients weighted by `size`.

    The reconstruction is half the squared error of the mixture's standardised moments, a Gaussian negative log-likelihood of unit variance.
    The divergence is KL(q(z | s) || N(0, I)).
    """
    scale = scales(mean, variance)
    x = scale.apply(mean, variance)
    centre, log_variance = vae.encode(x)
    share = vae.share(centre + (0.5 * log_variance).exp() * noise)
    found = scale.apply(*moments(share, *scale.undo(vae.mean, vae.log_std)))
    weight = size / size.sum()
    divergence = 0.5 * (centre**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
    return (weight * 0.5 * ((found - x) ** 2).sum(dim=1)).sum(), (weight * divergence).sum()


def fit_vae(
    vae: FusionVAE, mean: Tensor, variance: Tensor, size: Sequence[float], config: Config, seed: int, number: int
) -> Mixture:
    """Go on training the autoencoder on the statistics of round `number`, its divergence phased in; then its mixture."""
    weight = torch.as_tensor(size, dtype=mean.dtype)
    if number == 0:
        with torch.no_grad():
            x = scales(mean, variance).apply(mean, variance)
            # near the middle: components that start far apart are driven onto one of them by the variance between them
            start, log_std = (0.1 * x[spread_out(x, len(vae.mean))]).chunk(2, dim=1)
            vae.mean.copy_(start)
            vae.log_std.copy_(log_std)
    optimizer = torch.optim.Adam(vae.parameters(), config.fusion_learning_rate)
    shape = (config.fusion_steps, len(mean), config.latent)
    noise = counter.normal(seed, "noise", torch.tensor([number]), f"fusion {config.fusion_draw}", shape)[0].to(mean)
    for k in range(config.fusion_steps):
        fit, divergence = vae_losses(vae, mean, variance, weight, noise[k])
        loss = fit + config.weight_divergence * min(1.0, 2 * k / config.fusion_steps) * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scale = scales(mean, variance)
        share = vae.share(vae.encode(scale.apply(mean, variance))[0])
        return Mixture(share, *scale.undo(vae.mean, vae.log_std))


def grouped(share: Tensor, mean: Tensor, variance: Tensor, size: Sequence[float]) -> Mixture:
    """The mixture whose components pool the clients that belong to them."""
    held = share * torch.as_tensor(size, dtype=mean.dtype)[:, None]
    held = (held / held.sum(dim=0).clamp(min=1e-12)).T
    return Mixture(share, *moments(held, mean, variance))


def fit_gaussians(mean: Tensor, variance: Tensor, size: Sequence[float], config: Config, seed: int) -> Mixture:
    """In place of the autoencoder: expectation maximisation of a Gaussian mixture over the standardised statistics."""
    from sklearn.mixture import GaussianMixture

    x = scales(mean, variance).apply(mean, variance).cpu().numpy()
    model = GaussianMixture(
        min(config.components, len(x)), covariance_type="diag", reg_covar=0.1, random_state=seed + config.fusion_draw
    )
    return grouped(torch.from_numpy(model.fit(x).predict_proba(x)).to(mean), mean, variance, size)


def fit_mixture(
    config: Config,
    vae: FusionVAE | None,
    mean: Float[Tensor, "clients channels"],
    variance: Float[Tensor, "clients channels"],
    size: Sequence[float],
    domain: Int[Tensor, " clients"],
    seed: int,
    number: int,
) -> Mixture:
    """The clients' mixture by `config.fusion`; `domain` is looked at by "known" alone, the oracle."""
    if config.fusion == "vae":
        return fit_vae(vae, mean, variance, size, config, seed, number)
    if config.fusion == "gaussians":
        return fit_gaussians(mean, variance, size, config, seed)
    share = torch.nn.functional.one_hot(domain, max(1, config.domains)).to(mean)
    return grouped(share, mean, variance, size)


def divergence(mean_a: Tensor, variance_a: Tensor, mean_b: Tensor, variance_b: Tensor) -> Float[Tensor, " batch"]:
    """KL of Gaussians a from b, mean over channels."""
    a, b = variance_a + EPS, variance_b + EPS
    return 0.5 * ((b / a).log() + (a + (mean_a - mean_b) ** 2) / b - 1).mean(dim=-1)


def client_weights(config: Config, mixture: Mixture, size: Sequence[float]) -> Float[Tensor, " clients"]:
    """How much each client's weights count, summing to one.

    "size" is federated averaging.
    "distance" is n_k exp(-d_k / temperature), with the distance of the client's mixture from everybody's.
    "component" gives every virtual component an equal say, divided among clients by what they hold of it.
    """
    count = torch.as_tensor(size, dtype=mixture.share.dtype)
    if config.weighting == "distance":
        mean, variance = moments(mixture.share, mixture.mean, mixture.variance)
        everybody = moments((count / count.sum()) @ mixture.share, mixture.mean, mixture.variance)
        if config.distance == "kl":
            apart = divergence(mean, variance, *everybody)
        else:
            unit = everybody[1] + EPS
            both = mean / unit.sqrt(), variance / unit, everybody[0] / unit.sqrt(), everybody[1] / unit
            apart = (gaussian_distance(*both) / mean.shape[1]).sqrt()
        count = count * (-apart / config.temperature).exp()
    elif config.weighting == "component":
        held = count[:, None] * mixture.share
        total = held.sum(dim=0)
        used = total > 0.01 * total.sum()
        count = (held / total)[:, used].sum(dim=1)
    return count / count.sum()


def merge(
    config: Config, states: Sequence[Mapping[str, Tensor]], size: Sequence[float], mixture: Mixture | None
) -> tuple[dict[str, Tensor], list[float]]:
    """The next global state and each client's weight in it: weights by `config.weighting`, statistics by `config.statistics`."""
    weights = [n / sum(size) for n in size] if mixture is None else client_weights(config, mixture, size).tolist()
    merged = federated.average(states, weights)
    if config.statistics == "averaged" or config.statistics == "own":
        return merged, weights
    if config.statistics == "fused":
        by_size = config.weighting != "component"
        held = torch.tensor(size if by_size else weights, dtype=mixture.share.dtype)
        found = moments((held / held.sum()) @ mixture.share, mixture.mean, mixture.variance)
    else:
        mean, variance = uploaded(states)
        found = pooled(mean, variance, size)
    return with_statistics(merged, *found), weights


def uploaded(
    states: Sequence[Mapping[str, Tensor]],
) -> tuple[Float[Tensor, "clients channels"], Float[Tensor, "clients channels"]]:
    """The statistics of every client's network."""
    mean, variance = zip(*(statistics(s) for s in states), strict=True)
    return torch.stack(mean), torch.stack(variance)
