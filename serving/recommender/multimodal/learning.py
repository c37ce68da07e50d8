"""Which users like which features, from what they were shown and clicked on.

A click is a logistic function of profile x weights x features, plus how much the item is clicked on by everybody,
which is for known items alone and thrown away afterwards: taste must not learn what is popular. What was shown and not
clicked on counts as well, so what a shop shows more often does not pass for taste.

Each user is learned from twice: as known by the first half of what they were shown, judged by the second; and as nobody
has met them yet, by what they told alone, judged by all of it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from serving.errors import InvalidInput
from serving.recommender.multimodal.taste import Lesson, profile, traits
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Matrix, index_of

ITEM_L2 = 3e-5
"""On how much an item is clicked on by everybody."""


def learned(lesson: Lesson) -> Matrix:
    """The weights, [profile, width]; the same lesson, the same weights.

    Raises:
        InvalidInput: nothing was shown, or nobody clicked.
    """
    shown, taste, width = lesson.shown, lesson.taste, lesson.told.features.shape[1]
    if not shown.clicked.any():
        why = "nobody clicked on anything that was shown"
        raise InvalidInput("nothing to learn from", where="shown", why=why, next_step="give it a longer span")
    met, unmet, later = _users(lesson)
    features = torch.from_numpy(lesson.told.features)
    user, item = torch.from_numpy(shown.user), torch.from_numpy(shown.item)
    clicked = torch.from_numpy(shown.clicked).float()
    lines = torch.cat([torch.from_numpy(later), len(user) + torch.arange(len(user))])
    rate = float(clicked.mean())
    weights = torch.zeros(met.shape[1], width, requires_grad=True)
    everybody = torch.full((len(features),), float(np.log(rate / max(1 - rate, 1e-6))), requires_grad=True)
    optimizer = torch.optim.Adam([weights, everybody], lr=taste.learning_rate)
    chance = torch.Generator().manual_seed(taste.seed)
    for epoch in range(taste.epochs):
        for group in optimizer.param_groups:
            group["lr"] = taste.learning_rate * (1 - epoch / taste.epochs)
        for chosen in torch.split(lines[torch.randperm(len(lines), generator=chance)], taste.batch):
            row = chosen % len(user)
            who = torch.where((chosen >= len(user))[:, None], unmet[user[row]], met[user[row]])
            logit = ((who @ weights) * features[item[row]]).sum(dim=1) + everybody[item[row]]
            loss = functional.binary_cross_entropy_with_logits(logit, clicked[row])
            loss = loss + taste.l2 * weights.square().sum() + ITEM_L2 * everybody.square().sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return np.asarray(weights.detach().double().numpy())


def _users(lesson: Lesson) -> tuple[Tensor, Tensor, Index]:
    """Profiles of all users by the first half of what they were shown, and by nothing; and the lines of the second."""
    shown, told = lesson.shown, lesson.told
    own = traits([told.people.get(name, ()) for name in shown.user_ids], index_of(told.traits()))
    start = np.searchsorted(shown.user, shown.user)
    length = np.bincount(shown.user, minlength=len(own))[shown.user]
    later = np.arange(len(shown.user)) - start >= length // 2
    lines = np.flatnonzero(~later & shown.clicked)
    table = sparse.csr_matrix(
        (np.ones(len(lines)), (shown.user[lines], shown.item[lines])), (len(own), len(told.item_ids))
    )
    count = np.asarray(table.sum(axis=1)).ravel()
    means = np.asarray(table @ told.features.astype(np.float64)) / np.maximum(count, 1)[:, None]
    prior = lesson.taste.prior
    met, unmet = (profile(means * known, count * known, own, prior) for known in (1.0, 0.0))
    return torch.from_numpy(met).float(), torch.from_numpy(unmet).float(), np.flatnonzero(later)
